"""Labelled chips: folders and zips of images by class, tables of labelled pixels, the embedded digits.

    scene = open_chips("EuroSAT/2750")                       # CLASS/name.jpg
    scene = open_chips(["cifar_train.zip", "cifar_test.zip"])   # train/CLASS/name.jpg, test/CLASS/name.jpg
    scene = open_pixels("HSI_TrSet.mat", "TrLabel.mat")
    scene = digits()

gives `image (sample, band, y, x)` float32 in [0, 1], lazily (pixels: `hsi (sample, band, y, x)` with y = x = 1),
`label (sample)` int64 with `attrs["names"]`, the coordinate `sample` (the relative path, the same on every machine) and,
where folders name it, `split (sample)`: train, val or test.

A collection of many files is identified by one SHA-256: that of the text with a line "SHA-256 of the file, two spaces,
relative path, newline" for every image, sorted by path as UTF-8 - what `sha256sum` prints for the sorted list.

Nothing is unpacked to disk. A dangerous zip is refused before it is read: paths outside the folder, encrypted
members, members that unpack to a hundred times their size or to more than `MAX_MEMBER` bytes, zips above `MAX_TOTAL`.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.data.readers.files import HEAD, kind_of, not_read, visible_below, walk
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_ORIENTATION = 0x0112  # tag of EXIF
CHUNK = 64  # chips decoded at once
MAX_MEMBER = 64 * 2**20  # bytes of one image, unpacked
MAX_TOTAL = 8 * 2**30  # bytes of one zip, unpacked
MAX_RATIO = 100  # unpacked to packed; JPEG and PNG are near 1
MAX_PIXELS = 2**25  # of one chip

Source = tuple[Path, str | None]  # a file, or a zip and the name of its member


# --- opening ----------------------------------------------------------------------------------------------------------


def open_chips(
    path: str | Path | Sequence[str | Path], *, names: Mapping[str, str] | None = None, verify: str | None = None
) -> xr.Dataset:
    """The scene of a folder of class folders, of a zip of the same, or of several of these together.

    An image belongs to the class its folder is named after; a folder train, val or test above it gives the split. All
    images must have the size of the first; colours are kept, other modes become grey or RGB.
    names: folder -> name of the class, where folders are numbered. verify: SHA-256 that the collection must have.

    Raises InputError for a folder without images, images outside a class folder, one class only, a dangerous or damaged
    zip, another SHA-256; reading an image that is damaged or of another size raises one that names it.
    """
    import dask.array as da
    import xarray as xr

    paths = [Path(p).expanduser() for p in ([path] if isinstance(path, str | Path) else path)]
    images: dict[str, Source] = {}
    others: list[Path] = []
    for p in paths:
        members = _zip_members(p) if p.is_file() else _folder_members(p, others)
        twice = next((m for m in members if m in images), None)
        if twice is not None:
            raise InputError(f"The image {twice} is in two of the given collections; give each only once.")
        images.update(members)
    where = ", ".join(p.name or p.resolve().name for p in paths)  # "." has no name
    ids = sorted(images)
    if not ids:
        raise InputError(
            f"{where} has no images ({', '.join(SUFFIXES)}); expected is CLASS/name.jpg or train/CLASS/name.jpg."
        )
    sha256 = listing_sha256(images)
    if verify is not None and sha256 != verify:
        raise InputError(
            f"{where} is not the collection of the catalogue: the SHA-256 of its listing is {sha256}, not {verify}. "
            "Remove or replace it, or open it by its path to use it as it is."
        )
    _no_annotations(ids, others, where)
    folders = [_class_of(i, where) for i in ids]
    _no_pairs(ids, folders, images, where)
    classes = sorted(set(folders))
    if len(classes) < 2:
        raise InputError(f"{where} has images of one class only ({classes[0]}); expected is one folder for each class.")
    notes = _told_classes(ids, folders)
    first = decode(ids[0], content(images[ids[0]]), None, None)
    stack = _Stack([(i, images[i]) for i in ids], first.shape)
    image = da.from_array(
        stack,
        chunks=(CHUNK, *first.shape),
        name=f"chips-{sha256}",
        asarray=True,
        fancy=False,
        meta=np.empty((0,) * 4, np.float32),
    )
    scene = _scene("image", image, [classes.index(f) for f in folders], [(names or {}).get(c, c) for c in classes], ids)
    splits = [next((SPLITS[p.lower()] for p in PurePosixPath(i).parts[:-2] if p.lower() in SPLITS), "") for i in ids]
    notes += [*not_read(others, f"of {where}"), *turned([images[i][0] for i in ids if images[i][1] is None])]
    if all(splits):
        scene = scene.assign_coords(split=("sample", np.array(splits)))
    elif any(splits):
        notes.append(
            f"no split was taken: only {sum(map(bool, splits))} of {len(ids)} images are in folders train, val or test"
        )
    title = f"{len(ids)} chips of {len(classes)} classes in {where}"
    scene.attrs = {
        "id": paths[0].stem,
        "title": title,
        "source": f"files in {where}",
        "sha256": sha256,
        "simulated": "",
        "notes": "\n".join(notes),
    }
    assert isinstance(scene, xr.Dataset)
    return scene


def open_pixels(
    values: str | Path,
    labels: str | Path,
    *,
    keys: tuple[str | None, str | None] = (None, None),
    names: Sequence[str] = (),
    variable: str = "hsi",
    window: int = 1,
) -> xr.Dataset:
    """The scene of a table of labelled spectra in two MATLAB 5 files: values (N, bands), labels (N,) from 1.

    Gives `hsi (sample, band, y, x)` float32 with y = x = 1 and identifiers `pixel-00000`: such tables keep no positions.
    keys: names of the two arrays, where a file holds several. names: of the classes 1, 2, ...
    variable: "hsi" or "lidar"; `lidar` has its own dim `lidar_band`. window: y = x of windows around the pixels; a row of the
        table is then (band, y, x), x fastest.
    """
    import dask.array as da

    table, truth = (_mat(Path(p).expanduser(), k) for p, k in zip((values, labels), keys, strict=True))
    truth = truth.reshape(-1)
    if table.ndim != 2 or len(table) != len(truth):
        raise InputError(
            f"{Path(values).name} must hold (pixels, bands) for the {len(truth)} labels of {Path(labels).name}; it holds "
            f"{' x '.join(map(str, table.shape))}."
        )
    if table.shape[1] % window**2:
        raise InputError(
            f"{Path(values).name} has {table.shape[1]} values a pixel, which do not fit windows of {window} x {window}."
        )
    numbers = np.unique(truth)
    if numbers.min() < 1 or not np.array_equal(numbers, numbers.astype(int)):
        raise InputError(
            f"Labels of pixels are whole numbers from 1; {Path(labels).name} has {numbers[0]} to {numbers[-1]}."
        )
    known = [names[int(c) - 1] if int(c) <= len(names) else str(int(c)) for c in numbers]
    ids = [f"pixel-{i:05d}" for i in range(len(truth))]
    cubes = da.from_array(table.astype(np.float32).reshape(len(table), -1, window, window), chunks=(4096, -1, -1, -1))
    scene = _scene(variable, cubes, np.searchsorted(numbers, truth), known, ids)
    sha256 = listing_sha256({Path(p).name: (Path(p).expanduser(), None) for p in (values, labels)})
    scene.attrs = {
        "id": Path(values).stem,
        "title": f"{len(ids)} labelled pixels, {cubes.shape[1]} bands",
        "source": f"files {Path(values).name}, {Path(labels).name}",
        "sha256": sha256,
        "simulated": "",
    }
    return scene


def with_lidar(scene: xr.Dataset, values: str | Path, window: int) -> xr.Dataset:
    """The scene of `open_pixels` with `lidar (sample, lidar_band, y, x)`, windows around the same pixels, row for row.

    The spectra of single pixels are repeated over the window: y and x are those of both sensors. Raises InputError for a table with
    another number of rows, or of values that do not fit the window.
    """
    import dask.array as da

    table = _mat(Path(values).expanduser(), None)
    if table.ndim != 2 or len(table) != scene.sizes["sample"] or table.shape[1] % window**2:
        raise InputError(
            f"{Path(values).name} must hold {scene.sizes['sample']} rows of windows of {window} x {window}; it holds "
            f"{' x '.join(map(str, table.shape))}."
        )
    cubes = da.from_array(table.astype(np.float32).reshape(len(table), -1, window, window), chunks=(4096, -1, -1, -1))
    spectra = scene["hsi"]
    wide = da.broadcast_to(spectra.data, (*spectra.shape[:2], window, window))
    kept = scene.drop_vars([n for n in ("hsi", "y", "x") if n in scene.variables])
    return kept.assign(
        hsi=(spectra.dims, wide, spectra.attrs),
        lidar=(("sample", "lidar_band", "y", "x"), cubes, {"long_name": "LiDAR profiles, scaled"}),
    )


def digits() -> xr.Dataset:
    """1797 real handwritten digits of 8 x 8 pixels in ten classes, included in scikit-learn; no download.

    C. Kaynak, "Methods of Combining Multiple Classifiers and Their Applications to Handwritten Digit Recognition", MSc
    thesis, Bogazici University, 1995; UCI repository, "Optical Recognition of Handwritten Digits".
    """
    import dask.array as da

    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError(
            "The digits come with scikit-learn, which is not installed; run: pip install scikit-learn."
        ) from None
    data = load_digits()
    values = (data.images / 16).astype(np.float32)[:, None]  # 0..16 -> 0..1
    ids = [f"digit-{i:04d}" for i in range(len(values))]
    scene = _scene(
        "image", da.from_array(values, chunks=(CHUNK * 8, 1, 8, 8)), data.target, [str(i) for i in range(10)], ids
    )
    digest = hashlib.sha256(values.tobytes() + data.target.astype("<i8").tobytes()).hexdigest()
    scene.attrs = {
        "id": "digits",
        "title": "1797 handwritten digits",
        "source": "scikit-learn",
        "sha256": digest,
        "simulated": "",
    }
    return scene


def listing_sha256(members: Mapping[str, Source]) -> str:
    """SHA-256 over "<SHA-256>  <path>" lines sorted by path; the empty listing gives e3b0c442..."""
    lines = sorted((name.encode(), hashlib.sha256(content(source)).hexdigest().encode()) for name, source in members.items())
    return hashlib.sha256(b"".join(digest + b"  " + name + b"\n" for name, digest in lines)).hexdigest()


def _scene(name: str, values: Any, label: Any, names: Sequence[str], ids: Sequence[str]) -> xr.Dataset:
    import xarray as xr

    _, bands, height, width = values.shape
    band = "lidar_band" if name == "lidar" else "band"
    return xr.Dataset(
        {
            name: (("sample", band, "y", "x"), values),
            "label": ("sample", np.asarray(label, np.int64), {"names": list(names)}),
        },
        coords={
            "sample": np.array(ids),
            band: np.arange(bands),
            "y": np.arange(height, dtype=np.float64),
            "x": np.arange(width, dtype=np.float64),
        },
    )


_PARTS = re.compile(  # names of folders that hold parts of samples, not classes
    r"(?:jpeg|png|tiff?|rgb|nir|sar|optical|pre|post)?_?(?:images?|imgs?|masks?|labels?|gts?|gt_.*|groundtruths?|truths?|annotations?|semantic.*|"
    r"segmentations?|(?:labels?|masks?)_?[a-z0-9]*|(?:images?|imgs?|ims?)_?[12ab])"
)


def _no_pairs(ids: Sequence[str], folders: Sequence[str], images: Mapping[str, Source], where: str) -> None:
    """Raise InputError where the folders hold parts of the same samples (images and masks, two dates) rather than classes: files of
    the same names, and a folder that is named after such a part or holds only masks of two values.
    """
    stems: dict[str, set[str]] = {}
    for identifier, folder in zip(ids, folders, strict=True):
        stems.setdefault(folder, set()).add(PurePosixPath(identifier).stem)
    alike = [f for f, s in stems.items() if any(2 * len(s & o) > max(len(s), len(o)) for g, o in stems.items() if g != f)]
    if not alike:
        return
    named = [f for f in alike if _PARTS.fullmatch(f.lower())]
    if not named:
        named = [f for f in alike if _only_masks([images[i] for i, g in zip(ids, folders, strict=True) if g == f][:3])]
        named = named if len(named) < len(alike) else []
    if named:
        found = ", ".join(f"{f} ({len(stems[f])} files)" for f in sorted(stems)[:8])
        raise InputError(
            f"{where} is not a collection of class folders: its folders hold files of the same names, and {', '.join(sorted(named)[:3])} "
            f"{'are' if len(named) > 1 else 'is'} no class; found: {found}. For pairs name the folders A, B and label (or t1, "
            "t2, label); boxes "
            "need annotations (VOC, COCO, DOTA)."
        )


def _no_annotations(ids: Sequence[str], others: Sequence[Path], where: str) -> None:
    """Raise InputError where more than half of the images have a text file of their name: such a folder holds boxes or outlines."""
    stems = {p.stem: p for p in others if p.suffix.lower() in (".txt", ".xml", ".json", ".csv")}
    alike = sorted({PurePosixPath(i).stem for i in ids} & set(stems))
    if 2 * len(alike) > len(ids):
        raise InputError(
            f"{where} is not a collection of class folders: {len(alike)} of its {len(ids)} images have a file of their own name "
            f"({stems[alike[0]].name}), but in no layout of boxes that can be read (VOC, COCO, DOTA). Convert them, for example YOLO's "
            "text files to COCO; or move them away, if the folders are classes."
        )


def _only_masks(sources: Sequence[Source]) -> bool:
    """Whether these images are grey with 0 and at most one other value, and some with both, as masks are."""
    from PIL import Image

    values: set[int] = set()
    try:
        for source in sources:
            with Image.open(io.BytesIO(content(source))) as image:
                if image.width * image.height > MAX_PIXELS or image.mode not in ("1", "L"):
                    return False
                values |= {int(v) for _, v in image.getcolors(256) or ()}  # type: ignore[arg-type]
    except (OSError, SyntaxError, ValueError, InputError):
        return False
    return len(values) == 2 and 0 in values


def _told_classes(ids: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Notes on classes in folders of folders, and on names that differ only in case. Raises InputError where folders of one name stand in
    several others (cat/2019, dog/2019): then the outer ones are the classes.
    """
    above: dict[str, set[str]] = {}
    for identifier, folder in zip(ids, folders, strict=True):
        parts = [p for p in PurePosixPath(identifier).parts[:-2] if p.lower() not in SPLITS]
        above.setdefault(folder, set()).add(parts[-1] if parts else "")
    twice = next((f for f, outer in above.items() if len(outer) > 1), None)
    if twice is not None:
        outer = sorted(above[twice])
        raise InputError(
            f"The folder {twice} stands in several others ({', '.join(o or 'the collection itself' for o in outer[:3])}), so it is not "
            "clear which are the classes. An image belongs to the folder that it is in: move the images up, or rename the inner folders."
        )
    outer = sorted({o for one in above.values() for o in one if o})
    notes = []
    if len(outer) > 1:
        notes.append(f"classes are named after the innermost folders; these stand in {', '.join(outer[:4])}")
    small = [f.lower() for f in above]
    alike = sorted(f for f in above if small.count(f.lower()) > 1)
    if alike:
        notes.append(
            f"classes whose names differ only in capital letters: {', '.join(alike[:4])}; if they are one class, rename the "
            "folders"
        )
    return notes


def turned(files: Sequence[Path]) -> list[str]:
    """A note on JPEG pictures that say that they are to be shown turned (EXIF); they are read as stored. Looks at about 500."""
    from PIL import Image

    jpegs = [f for f in files if f.suffix.lower() in (".jpg", ".jpeg")]
    found = []
    for path in jpegs[:: max(1, len(jpegs) // 500)]:
        try:
            with Image.open(path) as image:
                if image.getexif().get(_ORIENTATION, 1) not in (0, 1):
                    found.append(path.name)
        except (OSError, SyntaxError, ValueError):  # a damaged picture: reading it raises the error
            continue
    if not found:
        return []
    return [
        f"{len(found)} pictures say that they are to be shown turned (EXIF orientation, such as {found[0]}); they are read as stored, so "
        "boxes that were drawn on the turned picture do not fit. Turn the files first (exiftran -a)"
    ]


def _class_of(identifier: str, where: str) -> str:
    parts = PurePosixPath(identifier).parts
    if len(parts) < 2 or parts[-2].lower() in SPLITS:
        raise InputError(
            f"The image {identifier} in {where} is not in a class folder; expected is CLASS/name.jpg or train/CLASS/name.jpg."
        )
    return parts[-2]


# --- folders, zips, images --------------------------------------------------------------------------------------------


def _folder_members(folder: Path, others: list[Path]) -> dict[str, Source]:
    """Path below the folder -> image. Other files are added to `others`."""
    if not folder.is_dir():
        raise InputError(f"There is no folder or zip {folder}; check the path.")
    files = list(walk(folder))
    others += [p for p in files if p.suffix.lower() not in SUFFIXES]
    return {p.relative_to(folder).as_posix(): (p, None) for p in files if p.suffix.lower() in SUFFIXES}


def _zip_members(path: Path) -> dict[str, Source]:
    """Every image of a zip, after all members were checked; raises InputError for a dangerous one."""
    members = _archive(path, path.stat().st_mtime_ns).infolist()
    seen: set[str] = set()
    for member in members:
        why = "occurs twice" if member.filename in seen else _dangerous(member)
        if why:
            raise InputError(f"{path.name} is refused: its member {member.filename!r} {why}. Nothing was unpacked.")
        seen.add(member.filename)
    total = sum(m.file_size for m in members)
    if total > MAX_TOTAL:
        raise InputError(
            f"{path.name} is refused: it unpacks to {total / 2**30:.1f} GiB, more than {MAX_TOTAL / 2**30:.0f}. "
            "Unpack it yourself if you trust it, and give the folder."
        )
    images = [m.filename for m in members if m.filename.lower().endswith(SUFFIXES) and not m.is_dir()]
    return {name: (path, name) for name in images if visible_below(PurePosixPath(name).parts)}


@lru_cache(maxsize=4)
def _archive(path: Path, changed: int) -> zipfile.ZipFile:
    """The open zip: its list of members is read once, and several threads may read from it."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise InputError(
            f"{path.name} cannot be read as a zip ({error}); get it again, or unpack it and give the folder."
        ) from None


def content(source: Source) -> bytes:
    """The bytes of an image."""
    path, member = source
    try:
        return path.read_bytes() if member is None else _archive(path, path.stat().st_mtime_ns).read(member)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, KeyError, EOFError, RuntimeError) as error:
        raise InputError(f"The image {member or path} cannot be read ({error}); get the collection again.") from None


def _dangerous(member: zipfile.ZipInfo) -> str | None:
    name = member.orig_filename
    if name.startswith(("/", "\\")) or "\\" in name or ":" in name or "\0" in name or ".." in PurePosixPath(name).parts:
        return "has a path that leaves the folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.file_size > MAX_MEMBER:
        return f"unpacks to {member.file_size / 2**20:.0f} MiB"
    if member.file_size > 2**20 and member.file_size > MAX_RATIO * max(member.compress_size, 1):
        return f"unpacks to {member.file_size / max(member.compress_size, 1):.0f} times its size"
    return None


class _Stack:
    """Many images as one array (sample, band, y, x); an image is decoded when it is read."""

    dtype, ndim = np.dtype(np.float32), 4

    def __init__(self, sources: Sequence[tuple[str, Source]], shape: tuple[int, ...]) -> None:
        self.sources, self.shape = list(sources), (len(sources), *shape)

    def __getitem__(self, key: tuple[slice | int, ...]) -> np.ndarray:
        first = self.sources[0][0]
        if not isinstance(key[0], slice):
            name, source = self.sources[key[0]]
            return decode(name, content(source), self.shape[1:], first)[key[1:]]
        chips = [decode(name, content(source), self.shape[1:], first) for name, source in self.sources[key[0]]]
        stack = np.stack(chips) if chips else np.empty((0, *self.shape[1:]), np.float32)
        return stack[(slice(None), *key[1:])]


def decode(name: str, content: bytes, shape: tuple[int, ...] | None, like: str | None) -> np.ndarray:
    """One image -> (band, y, x) float32 in [0, 1]; `shape` is the required size, `like` the name of the image that has it."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise InputError(f"The image {name} has {width} x {height} pixels; chips have at most {MAX_PIXELS} in all.")
            if shape is not None and (height, width) != shape[1:]:
                raise InputError(
                    f"The image {name} has {height} x {width} pixels, but {like} has {shape[1]} x {shape[2]}; chips of one "
                    "collection must be of one size."
                )
            if image.mode == "F":
                raise InputError(
                    f"The image {name} holds decimal numbers; chips are pictures of 8 or 16 bits. Open such rasters one by "
                    "one, by their path."
                )
            deep = image.mode.startswith("I")
            clear = _transparent(image)
            want = "L" if image.mode in ("1", "L", "LA") else "RGB"
            if shape is not None and not deep:
                want = "L" if shape[0] == 1 else "RGB"
            values = np.asarray(image if deep else image.convert(want))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        if kind_of(content[:HEAD]) == "TIFF":
            raise InputError(
                f"The TIFF {name} is damaged, or of a kind that pictures do not have, such as more than four bands; chips are grey or "
                "coloured pictures. Save three of its bands as a picture, or open such files one by one, by their path."
            ) from None
        raise InputError(
            f"The image {name} cannot be read ({error}); it is damaged or not an image. Remove or replace it."
        ) from None
    values = values.astype(np.float32) / (65535 if deep else 255)
    if clear is not None:
        values[clear] = np.nan
    return np.ascontiguousarray(values[None] if values.ndim == 2 else values.transpose(2, 0, 1))


def _transparent(image: Any) -> np.ndarray | None:
    """(y, x) bool, where an image is transparent; None where it has no transparent pixel."""
    if image.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and "transparency" not in image.info:
        return None
    clear = np.asarray(image.convert("RGBA"))[..., 3] == 0
    return clear if clear.any() else None


def _mat(path: Path, key: str | None) -> np.ndarray:
    import scipy.io

    if not path.is_file():
        raise InputError(f"There is no file {path}; check the path.")
    try:
        arrays = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__") and isinstance(v, np.ndarray)}
    except Exception as error:  # scipy raises many exception types on damaged input
        raise InputError(f"{path.name} cannot be read as MATLAB 5 ({type(error).__name__}: {error}).") from None
    if key is None and len(arrays) != 1:
        raise InputError(f"{path.name} holds {', '.join(arrays) or 'no array'}; name the one to use with keys=.")
    if key is not None and key not in arrays:
        raise InputError(f"{path.name} has no array {key!r}; it has {', '.join(arrays)}.")
    values = arrays[key or next(iter(arrays))]
    if values.dtype.kind not in "buif":
        raise InputError(f"{path.name} must hold real numbers; it holds {values.dtype}.")
    return values
