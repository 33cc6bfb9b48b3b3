"""Published sets of several sensors, as folders of MATLAB files: Houston 2013, Trento, MUUFL, Augsburg, and others of the same layout.

    scene = open_fusion_set("Houston2013")        # HSI.mat, LiDAR.mat, TRLabel.mat, TSLabel.mat
    scene = open_fusion_set("HS-SAR-DSM Augsburg")  # data_HS_LR.mat, data_SAR_HR.mat, data_DSM.mat, TrainImage.mat, TestImage.mat

A file is recognised by its name, whatever its case; the name of the array in it does not matter. With labels for training and for
testing in two files, the scene has their split. The sets are not in the catalogue: their publishers allow no mirrors, or they are too
large.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.data.fetch import sha256
from workbench.data.readers import hdf5, matlab
from workbench.data.readers.cube import as_scene, size
from workbench.data.readers.files import Look, inside, not_read
from workbench.data.readers.mask_files import class_numbers
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

# what a file holds -> stems of files that hold it, in small letters
ROLES: Mapping[str, tuple[str, ...]] = {
    "hsi": ("hsi", "data_hs_lr", "italy_hsi", "houston_hsi"),
    "lidar": ("lidar", "data_dsm", "italy_lidar", "dsm", "houston_lidar"),
    "sar": ("data_sar_hr", "sar"),
    "train": ("trlabel", "trainimage", "muufl_tr"),
    "test": ("tslabel", "testimage", "muufl_ts"),
    "truth": ("gt", "allgrd", "gt_trento", "houston_gt"),
}
HOUSTON = (
    "healthy grass", "stressed grass", "synthetic grass", "trees", "soil", "water", "residential", "commercial", "road", "highway",
    "railway", "parking lot 1", "parking lot 2", "tennis court", "running track",
)  # fmt: skip
TRENTO = ("apple trees", "buildings", "ground", "woods", "vineyard", "roads")
MUUFL = (
    "trees", "mostly grass", "mixed ground surface", "dirt and sand", "road", "water", "building shadow", "building", "sidewalk",
    "yellow curb", "cloth panels",
)  # fmt: skip
AUGSBURG = ("forest", "residential area", "industrial area", "low plants", "allotment", "commercial area", "water")
# rows and columns -> title, names of the classes 1, 2, ..., citation
KNOWN: Mapping[tuple[int, int], tuple[str, tuple[str, ...], str]] = {
    (349, 1905): (
        "Houston 2013: CASI cube and LiDAR heights",
        HOUSTON,
        "C. Debes et al., Hyperspectral and LiDAR data fusion: outcome of the 2013 GRSS data fusion contest, IEEE JSTARS 7(6), 2014",
    ),
    (166, 600): (
        "Trento: AISA Eagle cube and LiDAR heights",
        TRENTO,
        "M. Dalla Mura, University of Trento; see B. Rasti et al., IEEE TGRS 55(7), 2017",
    ),
    (325, 220): (
        "MUUFL Gulfport: CASI cube and LiDAR heights",
        MUUFL,
        "P. Gader et al., MUUFL Gulfport, University of Florida, REP-2013-570, 2013; labels: X. Du, A. Zare, 20170417, 2017",
    ),
    (332, 485): (
        "Augsburg: HySpex cube, Sentinel-1 and heights",
        AUGSBURG,
        "D. Hong et al., Multimodal remote sensing benchmark datasets for land cover classification, ISPRS JPRS 178, 2021",
    ),
}


def parts_of(folder: Path) -> dict[str, Path]:
    """role -> file of a folder with the layout of such a set; empty where it has not a cube and labels."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".mat" and p.is_file()) if folder.is_dir() else []
    found: dict[str, Path] = {}
    for role, stems in ROLES.items():
        for path in files:
            if path.stem.lower() in stems:
                found.setdefault(role, path)
    labelled = "truth" in found or {"train", "test"} <= set(found)
    return found if "hsi" in found and labelled else {}


def open_fusion_set(folder: str | Path, chunks: Any = "auto") -> xr.Dataset:
    """`hsi (band, y, x)`, `lidar (lidar_band, y, x)` and `sar (sar_band, y, x)` as far as there are files, `truth (y, x)`, and with two
    files of labels the coordinate `split (y, x)`: 0 training, 1 test, -1 neither.

    Names of the classes come from the publication where size and number of classes are those of a known set; else they are numbered. A
    SAR file holds features: channels with negative values, such as the parts of a covariance, are no intensity and are left out. Every
    decision is a line in `attrs["notes"]`.

    Raises InputError for a folder without cube and labels, files of other sizes, labels that are not whole numbers, and a pixel that has
    one class for training and another for testing.
    """
    place = Path(folder).expanduser()
    parts = parts_of(place)
    if not parts:
        raise InputError(
            f"{place} has not the layout of a set of several sensors: a MATLAB file called {' or '.join(ROLES['hsi'])}, and labels in "
            f"{' or '.join(ROLES['train'])} and {' or '.join(ROLES['test'])}, or in {' or '.join(ROLES['truth'])}."
        )
    with Look(parts["hsi"]) as look:
        scene = as_scene(_reader(look)(look, {}, "none"), parts["hsi"].name, chunks)
    shape = (scene.sizes["y"], scene.sizes["x"])
    notes = [n for n in str(scene.attrs.get("notes", "")).splitlines() if n]
    notes += not_read((p for p in inside(place) if p not in parts.values() and p.is_file()), f"of {place.name}")
    if "lidar" in parts:
        heights = _layers(parts["lidar"], shape)
        scene["lidar"] = (("lidar_band", "y", "x"), heights, {"long_name": "height", "units": "m"})
    if "sar" in parts:
        _add_sar(scene, parts["sar"], shape, notes)
    labels = _labels(parts, shape, notes)
    scene["truth"] = (("y", "x"), np.where(labels[0] > 0, labels[0], -1).astype(np.int16))
    if labels[1] is not None:
        scene = scene.assign_coords(split=(("y", "x"), labels[1]))
    count = int(labels[0].max())
    title, names, citation = KNOWN.get(shape, ("", (), ""))
    if len(names) == count:
        notes.append(
            f"taken for {title.partition(':')[0]} by its size and number of classes; the classes are named accordingly"
        )
        scene.attrs |= {"title": title, "citation": citation}
    else:
        names = tuple(f"class {n}" for n in range(1, count + 1))
        notes.append(f"no known set has {size(shape)} pixels and {count} classes, so the classes are numbered")
    scene["truth"].attrs["names"] = ["not labelled", *names]
    digest = hashlib.sha256("\n".join(f"{role} {sha256(path)}" for role, path in parts.items()).encode()).hexdigest()
    scene.attrs |= {"sha256": digest, "simulated": "", "notes": "\n".join(notes)}
    return scene


def _reader(look: Look) -> Any:
    look.begin(1)
    return matlab.read_v73 if hdf5.is_hdf5(look) else matlab.read_v5


def _layers(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(layers, y, x) float32 of a file with one 2-D array, or with one 3-D array (y, x, layers)."""
    try:
        values = np.asarray(matlab.read_mask(path, None, shape)[0], np.float32)[None]
    except InputError:
        with Look(path) as look:
            values = np.asarray(_reader(look)(look, {}, "none").pixels[:, :, :], np.float32)
    if values.shape[1:] != shape:
        raise InputError(
            f"{path.name} has {size(values.shape[1:])} pixels, the cube {size(shape)} (rows x columns); the files of one set have one size."
        )
    return values


def _add_sar(scene: xr.Dataset, path: Path, shape: tuple[int, int], notes: list[str]) -> None:
    values = _layers(path, shape)
    positive = np.nanmin(values, axis=(1, 2)) >= 0
    if not positive.all():
        left = ", ".join(str(n + 1) for n in np.flatnonzero(~positive))
        notes.append(
            f"{path.name}: the channels {left} have negative values and were left out, because they are no intensities"
        )
    if positive.any():
        about = {"long_name": "radar features without negative values, taken as intensity"}
        scene["sar"] = (("sar_band", "y", "x"), values[positive], about)


def _labels(parts: Mapping[str, Path], shape: tuple[int, int], notes: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """(y, x) class numbers, 0 where there is none; and the split, if the labels are in two files."""
    if not {"train", "test"} <= set(parts):
        return _class_map(parts["truth"], shape), None
    train, test = (_class_map(parts[role], shape) for role in ("train", "test"))
    both = (train > 0) & (test > 0)
    if (train[both] != test[both]).any():
        raise InputError(
            f"{int((train != test)[both].sum())} pixels have one class in {parts['train'].name} and another in {parts['test'].name}; get "
            "the files of one split."
        )
    if both.any():
        notes.append(f"{int(both.sum())} pixels are for training and for testing; they were taken for training only")
    split = np.full(shape, -1, np.int8)
    split[test > 0], split[train > 0] = 1, 0
    notes.append(f"split of the publisher: {int((split == 0).sum())} training and {int((split == 1).sum())} test pixels")
    return np.where(train > 0, train, test), split


def _class_map(path: Path, shape: tuple[int, int]) -> np.ndarray:
    values, name = matlab.read_mask(path, None, shape)
    return np.maximum(class_numbers(values, name, shape), 0)
