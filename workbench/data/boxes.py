"""Chips with boxes: VOC, COCO, one XML for many images, rotated boxes of DOTA and VEDAI, masks of instances.

    scene = open_folder(Path("SSDD"))                                     # the layout is recognised from the files
    scene = open_folder(Path("SSDD"), keys={"annotations": "coco/train.json"})

gives `image (sample, band, y, x)` float32 in [0, 1], lazy, and a flat table of objects: `box (object, edge)` float32 with
edges x0 y0 x1 y1 in pixels, half-open, origin at the top left corner of the top left pixel; `box_sample (object)`, the
identifier of its image; `box_label (object)` int64 with `attrs["names"]`; where the format has them `box_difficult
(object)` bool and, for rotated boxes, `box_corners (object, corner, xy)` (then `box` is the upright box around the corners).
`split (sample)` where lists such as `ImageSets/Main/train.txt` name every image.

Chips of different sizes share one array: each is in the top left corner of an array of the largest size, NaN beyond its own
`height (sample)` and `width (sample)`. An array of one chip without the padding is `chip(scene, identifier)`.

Origin of the coordinates in each format, and the conversion (the notes of a scene say which was done):

    VOC, merged XML   corners of the first and last pixel, counted from 1 (VOC development kit), from 0 by some tools:
                      x0 = xmin - 1, x1 = xmax from 1; x0 = xmin, x1 = xmax + 1 from 0. Decided by the key `convention`,
                      else by the annotations: a corner at 0 means from 0, one at the full width from 1; else from 1.
    COCO              left, top, width, height, continuous from the top left corner: x1 = x + width
    DOTA              four corners, continuous; `difficult` kept
    VEDAI             four corners, counted from 1; colour and near infrared of an image are its bands
    masks             the pixels of an instance: x0 is its first column, x1 its last plus one
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.data import chips, rle, split_lists, vedai
from workbench.data.readers import safexml, text
from workbench.data.readers.files import inside, not_read, walk
from workbench.errors import InputError, did_you_mean
from workbench.runs.loader import json_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    import xarray as xr

KEYS = ("annotations", "convention")
CONVENTIONS = ("one-based", "zero-based")
MAX_JSON = 256 * 2**20  # bytes; COCO of a whole benchmark is about 20 MB
MAX_OBJECTS = 5_000_000
MASK = re.compile(r"_instance_(id|color)_RGB$")


@dataclass(frozen=True)
class Object:
    """One box in pixels, half-open."""

    label: str
    box: tuple[float, float, float, float]
    difficult: bool | None = None
    corners: tuple[tuple[float, float], ...] | None = None


@dataclass
class Annotated:
    """The boxes of one image `name`; `size` is (width, height) as the annotation states them."""

    name: str
    objects: list[Object] = field(default_factory=list)
    size: tuple[int, int] | None = None
    gsd: float | None = None
    file: str = ""  # name of a file that annotates this image only, without suffix


def sees(folder: Path) -> bool:
    """Whether a folder holds images with boxes in one of the layouts."""
    return folder.is_dir() and bool(layouts(folder))


def layouts(folder: Path) -> dict[str, str]:
    """Path of the annotations below the folder -> format: voc, coco, merged, dota, vedai or masks; in this order of preference."""
    formats: dict[str, str] = {}
    for path in _within(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            if path.name.lower() == "labeltxt" and any(p.suffix.lower() == ".txt" for p in inside(path)):
                formats[name] = "dota"
            elif _first_root(path) == "annotation":
                formats[name] = "voc"
        elif path.suffix.lower() == ".json" and _is_coco(path):
            formats[name] = "coco"
        elif path.suffix.lower() == ".xml" and safexml.root_tag(path) == "annotations":
            formats[name] = "merged"
        elif vedai.LIST.fullmatch(path.name):
            formats[name] = "vedai"
        elif path.suffix.lower() == ".png" and MASK.search(path.stem):
            formats["."] = "masks"
    if _first_root(folder) == "annotation":  # images and their annotations in one folder
        formats.setdefault(".", "voc")
    order = ("voc", "coco", "merged", "dota", "vedai", "masks")
    return dict(sorted(formats.items(), key=lambda item: (order.index(item[1]), item[0].count("/"), item[0])))


def open_folder(
    path: Path, *, truth: str | Path | None = None, keys: Mapping[str, str] | None = None, chunks: Any = "auto"
) -> xr.Dataset:
    """The scene of a folder of images with boxes; see the module.

    keys: `annotations`, a path of `layouts(path)` where there are several; `convention`, one-based or zero-based, for VOC.
    chunks: "auto", one image in a dask chunk; or a mapping with `sample`. None is not supported: compressed images cannot
    be read in windows.

    Raises InputError for annotations that are damaged or match no image; reading a damaged image raises one that names it.
    """
    path, keys = Path(path).expanduser(), dict(keys or {})
    if truth is not None:
        raise InputError(f"{path.name} contains its own boxes; leave truth out.")
    for key in keys:
        if key not in KEYS:
            raise InputError(f"Chips with boxes have no key {key!r}; use {', '.join(KEYS)}.{did_you_mean(key, KEYS)}")
    convention = keys.get("convention")
    if convention is not None and convention not in CONVENTIONS:
        raise InputError(f"There is no convention {convention!r}; use {' or '.join(CONVENTIONS)}.")
    formats = layouts(path)
    if not formats:
        raise InputError(
            f"{path} has no annotations: expected is Annotations/*.xml (VOC), a .json (COCO), one .xml with <annotations>, "
            f"labelTxt/*.txt (DOTA), annotation512.txt (VEDAI), or *_instance_id_RGB.png; "
            f"found: {', '.join(p.name for p in inside(path)[:8]) or 'nothing'}."
        )
    images = _images(path)
    chosen = keys.get("annotations")
    if chosen is None:
        chosen = max(
            formats,
            key=lambda name: (-list(formats.values()).index(formats[name]), _covers(path / name, formats[name], images)),
        )
    if chosen not in formats:
        raise InputError(
            f"{path.name} has no annotations {chosen!r}; it has {', '.join(formats)}.{did_you_mean(chosen, formats)}"
        )
    notes: list[str] = []
    others = [name for name in formats if name != chosen]
    if others:
        notes.append(f"boxes from {chosen}; there are also {', '.join(others)} (key annotations=)")
    lists = split_lists.lists_of(path)
    notes += not_read((p for p in walk(path) if p not in lists and not _belongs(p, path, formats)), f"of {path.name}")
    if formats[chosen] == "voc":
        listed = _voc([(p.name, p) for p in inside(path / chosen) if p.suffix.lower() == ".xml"], convention, notes)
    elif formats[chosen] == "merged":
        listed = _merged(path / chosen, convention, notes)
    elif formats[chosen] == "coco":
        listed = _coco(path / chosen, notes)
    elif formats[chosen] == "dota":
        listed = _dota(path / chosen, notes)
    elif formats[chosen] == "vedai":
        listed = _vedai(path / chosen, notes)
        suffixes = {s: n for s, n in vedai.BANDS.items() if any(PurePosixPath(i).stem.endswith(s) for i in images)}
        if suffixes:
            return _scene(path, listed, _parts(path, suffixes), notes, chunks, tuple(suffixes.values()))
    else:
        listed = _instances(path, images, notes)
    return _scene(path, listed, {name: [file] for name, file in images.items()}, notes, chunks)


def open_images(path: Path, parts: Mapping[str, int] | None = None, chunks: Any = "auto") -> xr.Dataset:
    """The scene of a folder of images without labels: `image (sample, band, y, x)`.

    parts: the endings of the files that make up one sample, and how many bands (1 or 3) to take from each, as {"_co": 3,
        "_ir": 1}: their bands are stacked in this order, and the sample is named by the file name without the ending. None:
        one file, one sample.
    """
    members = _parts(path, parts or {"": 0})
    return _assemble(path, {name: members[name] for name in sorted(members)}, chunks, tuple((parts or {}).values()))


def _parts(path: Path, suffixes: Mapping[str, int]) -> dict[str, list[Path]]:
    """The files of each sample of a folder, in the order of their endings."""
    members = {p.relative_to(path).as_posix(): p for p in walk(path) if p.suffix.lower() in chips.SUFFIXES}
    groups: dict[str, dict[str, Path]] = {}
    for name, file in members.items():
        pure = PurePosixPath(name)
        suffix = next((s for s in suffixes if s and pure.stem.endswith(s)), "")
        stem = pure.stem.removesuffix(suffix) if suffix else pure.name
        groups.setdefault((pure.parent / stem).as_posix(), {})[suffix] = file
    if not groups:
        raise InputError(f"{path} has no images ({', '.join(chips.SUFFIXES)}).")
    for name, endings in groups.items():
        if set(endings) != set(suffixes):
            lacking = ", ".join(s or "plain" for s in suffixes if s not in endings)
            raise InputError(f"The sample {name} of {path.name} lacks {lacking}; every sample needs {', '.join(suffixes)}.")
    return {name: [endings[s] for s in suffixes] for name, endings in groups.items()}


def chip(scene: xr.Dataset, identifier: str) -> xr.Dataset:
    """One sample without its padding: `image (band, y, x)` and its boxes. InputError for an unknown identifier."""
    ids = scene["sample"].values
    if identifier not in ids:
        raise InputError(f"There is no sample {identifier!r} in this scene.{did_you_mean(identifier, map(str, ids))}")
    one = scene.isel(sample=int(np.flatnonzero(ids == identifier)[0]))
    if "height" in scene.coords:
        one = one.isel(y=slice(int(one["height"])), x=slice(int(one["width"])))
    return one.isel(object=np.flatnonzero(one["box_sample"].values == identifier)) if "object" in scene.dims else one


def joined(scenes: Sequence[xr.Dataset], label: str) -> xr.Dataset:
    """Several scenes of chips with boxes as one; all boxes get one class, `label`.

    Raises InputError if the images differ in bands or size, or two have the same identifier.
    """
    import xarray as xr

    shapes = {s["image"].shape[1:] for s in scenes}
    if len(shapes) > 1:
        raise InputError(f"Chips that are joined must have the same bands and size; these have {sorted(shapes)}.")
    ids = np.concatenate([s["sample"].values for s in scenes])
    names, counts = np.unique(ids, return_counts=True)
    if counts.max() > 1:
        raise InputError(f"Two of the joined scenes have an image {str(names[counts.argmax()])!r}.")
    flat = ("box", "box_sample")
    kept = [
        s[["image", *flat]].drop_vars([c for c in s.coords if c not in s.dims and c not in ("height", "width")])
        for s in scenes
    ]
    scene = xr.concat([s.drop_vars(flat) for s in kept], "sample", combine_attrs="drop")
    scene["box"] = (("object", "edge"), np.concatenate([s["box"].values for s in kept]), {"units": "pixel"})
    scene["box_sample"] = ("object", np.concatenate([s["box_sample"].values for s in kept]).astype(ids.dtype))
    scene["box_label"] = ("object", np.zeros(scene.sizes["object"], np.int64), {"names": [label]})
    scene = scene.assign_coords(edge=["x0", "y0", "x1", "y1"])
    hashes = "".join(str(s.attrs["sha256"]) for s in scenes)
    notes = dict.fromkeys(n for s in scenes for n in str(s.attrs.get("notes", "")).splitlines() if n)
    scene.attrs = {"sha256": hashlib.sha256(hashes.encode()).hexdigest(), "simulated": "", "notes": "\n".join(notes)}
    return scene


# --- the scene --------------------------------------------------------------------------------------------------------


def _scene(
    path: Path,
    listed: list[Annotated],
    images: Mapping[str, list[Path]],
    notes: list[str],
    chunks: Any,
    bands: tuple[int, ...] = (),
) -> xr.Dataset:
    """images: name -> files of its bands; bands: how many to take of each file."""
    names = _matched(listed, images)
    names = _by_stem(listed, names, images, notes)
    absent = [a.name for a, name in zip(listed, names, strict=True) if name is None]
    kept = {name: a for a, name in zip(listed, names, strict=True) if name is not None}
    if not kept:
        raise InputError(
            f"None of the {len(listed)} images that the annotations of {path.name} name is in the folder (the first is "
            f"{listed[0].name if listed else 'none'!r})."
        )
    if absent:
        notes.append(f"{len(absent)} of {len(listed)} annotated images are not in the folder and are left out")
    if len(kept) < sum(name is not None for name in names):
        raise InputError(f"The annotations of {path.name} name an image twice; give each image one entry.")
    plain = len(images) - len(kept)
    if plain:
        notes.append(f"{plain} images of the folder have no annotation and are left out")
    split = split_lists.listed(
        split_lists.lists_of(path), [PurePosixPath(name).stem for name in sorted(kept)], notes, "images"
    )
    scene = _assemble(path, {name: images[name] for name in sorted(kept)}, chunks, bands)
    size = {
        n: (int(w), int(h))
        for n, w, h in zip(scene["sample"].values, scene["width"].values, scene["height"].values, strict=True)
    }
    wrong = [n for n, a in kept.items() if a.size is not None and a.size != size[n]]
    if wrong:
        annotated = kept[wrong[0]].size
        notes.append(
            f"{len(wrong)} images have another size than their annotation says ({wrong[0]}: {size[wrong[0]]}, not {annotated})"
        )
    rows, clipped, empty = [], 0, 0
    for name in sorted(kept):
        wide, high = size[name]
        for o in kept[name].objects:
            x0, y0, x1, y1 = o.box
            inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(wide)), min(y1, float(high)))
            if inside[0] >= inside[2] or inside[1] >= inside[3]:
                empty += 1
                continue
            clipped += inside != o.box
            rows.append((name, inside, o))
    if clipped:
        notes.append(f"{clipped} boxes reached beyond their image and were cut at its border")
    if empty:
        notes.append(f"{empty} boxes without area inside their image were left out")
    twice = len(rows) - len({(name, box, o.label) for name, box, o in rows})
    if twice:
        notes.append(f"{twice} boxes stand twice, with the same image, edges and class; both count")
    if len(rows) > MAX_OBJECTS:
        raise InputError(f"{path.name} has {len(rows)} boxes; more than {MAX_OBJECTS} are refused.")
    classes = sorted({o.label for _, _, o in rows})
    scene["box"] = (("object", "edge"), np.array([b for _, b, _ in rows], np.float32).reshape(-1, 4), {"units": "pixel"})
    scene["box_sample"] = ("object", np.array([n for n, _, _ in rows], dtype=scene["sample"].dtype))
    scene["box_label"] = ("object", np.array([classes.index(o.label) for _, _, o in rows], np.int64), {"names": classes})
    unsaid = sum(o.difficult is None for _, _, o in rows)
    if unsaid < len(rows):
        if unsaid:
            notes.append(f"{unsaid} of {len(rows)} boxes do not say whether they are difficult; they count as not difficult")
        scene["box_difficult"] = ("object", np.array([bool(o.difficult) for _, _, o in rows]))
    if rows and all(o.corners is not None for _, _, o in rows):
        corners = np.array([o.corners for _, _, o in rows], np.float32)
        scene["box_corners"] = (("object", "corner", "xy"), corners, {"units": "pixel"})
    ground = [kept[n].gsd for n in sorted(kept)]
    if any(g is not None for g in ground):
        values = [np.nan if g is None else g for g in ground]
        scene = scene.assign_coords(gsd=("sample", np.array(values), {"units": "m", "long_name": "ground sample distance"}))
    scene = scene.assign_coords(edge=["x0", "y0", "x1", "y1"])
    if all(split):
        scene = scene.assign_coords(split=("sample", np.array(split)))
    scene.attrs["title"] = f"{len(kept)} chips with {len(rows)} boxes of {len(classes)} classes in {path.name}"
    scene.attrs["notes"] = "\n".join([*filter(None, [scene.attrs["notes"]]), *notes])
    return scene


def _assemble(path: Path, members: dict[str, list[Path]], chunks: Any, bands_of: tuple[int, ...] = ()) -> xr.Dataset:
    """`image` and sizes of samples whose bands come from lists of files, `bands_of` of each; grey if all files are, else RGB."""
    import dask.array as da
    import xarray as xr

    headers = [[_shape(p) for p in parts] for parts in members.values()]
    shapes = [[h[:3] for h in row] for row in headers]
    for name, parts in zip(members, shapes, strict=True):
        if len({s[1:] for s in parts}) > 1:
            raise InputError(
                f"The files of the sample {name} differ in size: {', '.join(f'{h} x {w}' for _, h, w in parts)}."
            )
    colour = bands_of or tuple(max(s[i][0] for s in shapes) for i in range(len(shapes[0])))
    bands, high, wide = sum(colour), max(s[0][1] for s in shapes), max(s[0][2] for s in shapes)
    ids = list(members)
    stack = Padded([(n, members[n]) for n in ids], [s[0][1:] for s in shapes], colour, (high, wide))
    per = chunks.get("sample", 1) if isinstance(chunks, Mapping) else 1
    sha256 = chips.listing_sha256({p.relative_to(path).as_posix(): (p, None) for parts in members.values() for p in parts})
    image = da.from_array(
        stack,
        chunks=(per, bands, high, wide),
        name=f"boxes-{sha256}-{len(ids)}",
        asarray=True,
        fancy=False,
        meta=np.empty((0,) * 4, np.float32),
    )
    scene = xr.Dataset(
        {"image": (("sample", "band", "y", "x"), image)},
        coords={
            "sample": np.array(ids),
            "band": np.arange(bands),
            "y": np.arange(high, dtype=np.float64),
            "x": np.arange(wide, dtype=np.float64),
            "height": ("sample", np.array([s[0][1] for s in shapes])),
            "width": ("sample", np.array([s[0][2] for s in shapes])),
        },
    )
    notes = chips.turned([path for parts in members.values() for path in parts])
    deep = sum(any(h[3] for h in row) for row in headers)
    if 0 < deep < len(headers):
        notes.append(
            f"{deep} of {len(headers)} images have 16 bits and are divided by 65535, the others by 255: their amplitudes compare only if "
            "both use their full range"
        )
    if len({s[0][1:] for s in shapes}) > 1:
        notes.append(f"chips differ in size and are padded with NaN to {high} x {wide}; height and width are their own")
    title = f"{len(ids)} images in {path.name}"
    scene.attrs = {
        "id": path.name,
        "title": title,
        "source": f"files in {path.name}",
        "sha256": sha256,
        "simulated": "",
        "notes": "\n".join(notes),
    }
    return scene


class Padded:
    """Images of several sizes as one array (sample, band, y, x), NaN beyond each image; decoded when it is read."""

    ndim, dtype = 4, np.dtype(np.float32)

    def __init__(
        self,
        members: Sequence[tuple[str, Sequence[Path]]],
        sizes: Sequence[tuple[int, int]],
        colour: tuple[int, ...],
        size: tuple[int, int],
    ):
        self.members, self.sizes, self.colour = list(members), list(sizes), colour
        self.shape = (len(self.members), sum(colour), *size)

    def __getitem__(self, key: Any) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *[slice(None)] * (4 - len(key)))
        which = range(self.shape[0])[key[0]] if isinstance(key[0], slice) else [key[0]]
        out = np.empty((len(which), *self.shape[1:]), np.float32)
        for i, n in enumerate(which):
            out[i] = self._one(int(n))
        return out[(slice(None) if isinstance(key[0], slice) else 0, *key[1:])]

    def _one(self, n: int) -> np.ndarray:
        name, parts = self.members[n]
        high, wide = self.sizes[n]
        out = np.full(self.shape[1:], np.nan, np.float32)
        begin = 0
        for bands, file in zip(self.colour, parts, strict=True):
            label = name if len(parts) == 1 else file.name
            content = chips.content((file, None))
            out[begin : begin + bands, :high, :wide] = chips.decode(label, content, (bands, high, wide), "its annotation")
            begin += bands
        return out


def _shape(path: Path) -> tuple[int, int, int, bool]:
    """(bands, height, width, whether deep) of an image, from its header: 1 band for grey and deep images, 3 for all others."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            wide, high = image.size
            deep = image.mode.startswith("I")
            grey = image.mode in ("1", "L", "LA") or deep
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"The image {path.name} cannot be read ({error}); it is damaged or not an image. Remove or replace it."
        ) from None
    if wide * high > chips.MAX_PIXELS:
        raise InputError(f"The image {path.name} has {wide} x {high} pixels; chips have at most {chips.MAX_PIXELS} in all.")
    return (1 if grey else 3), high, wide, deep


# --- matching annotations to images -----------------------------------------------------------------------------------


def _images(folder: Path) -> dict[str, Path]:
    """Every image below the folder by its relative path, without masks."""
    files = (p for p in walk(folder) if p.suffix.lower() in chips.SUFFIXES)
    return {
        p.relative_to(folder).as_posix(): p
        for p in files
        if not MASK.search(p.stem) and not {"masks", "mask"} & {part.lower() for part in p.relative_to(folder).parts[:-1]}
    }


def _belongs(file: Path, folder: Path, formats: Mapping[str, str]) -> bool:
    """Whether a file is an image, a mask, or among the annotations of a folder."""
    inner = file.relative_to(folder)
    return file.suffix.lower() in chips.SUFFIXES or any(
        str(inner.as_posix()) == name or (name in (inner.parent.as_posix(), ".") and file.suffix.lower() in (".xml", ".txt"))
        for name in formats
    )


def _matched(listed: Sequence[Annotated], images: Mapping[str, Any]) -> list[str | None]:
    """For every annotation the image it names: by its path below the folder, else by its file name, else without suffix.

    The names are untrusted input: they are only compared with existing files, never opened as paths.
    """
    by_name: dict[str, list[str]] = {}
    for identifier in images:
        pure = PurePosixPath(identifier)
        for alias in {pure.name, pure.stem}:
            by_name.setdefault(alias, []).append(identifier)
    matches: list[str | None] = []
    for a in listed:
        name = a.name.replace("\\", "/")
        candidates = [name] if name in images else by_name.get(PurePosixPath(name).name, [])
        if len(candidates) > 1:
            raise InputError(
                f"The annotation of {a.name!r} fits several images: {', '.join(candidates[:3])}. Keep one of them."
            )
        matches.append(candidates[0] if candidates else None)
    return matches


def _by_stem(
    listed: Sequence[Annotated], names: list[str | None], images: Mapping[str, Any], notes: list[str]
) -> list[str | None]:
    """`names` with the annotations that found no image: by the name without its suffix, else by the name of their own file, where that
    fits one image that no other annotation names. A note says so.
    """
    free: dict[str, list[str]] = {}
    for identifier in images:
        if identifier not in names:
            free.setdefault(PurePosixPath(identifier).stem, []).append(identifier)
    found = list(names)
    for i, a in enumerate(listed):
        for stem in (PurePosixPath(a.name.replace("\\", "/")).stem, a.file):
            if found[i] is None and len(free.get(stem, [])) == 1:
                found[i] = free.pop(stem)[0]
    new = [(a.name, n) for a, n, old in zip(listed, found, names, strict=True) if old is None and n is not None]
    if new:
        notes.append(
            f"{len(new)} annotations name an image that is not in the folder; those of the same name without suffix, or of the name of "
            f"the annotation, were taken ({new[0][0]!r}: {new[0][1]})"
        )
    return found


def _covers(path: Path, kind: str, images: Mapping[str, Path]) -> int:
    """How many images of the folder a COCO file lists; used to choose between several COCO files."""
    if kind != "coco":
        return 0
    try:
        return sum(n is not None for n in _matched(_coco(path, []), images))
    except InputError:
        return -1


def _within(folder: Path, depth: int = 2) -> list[Path]:
    """Files and folders down to `depth` levels, sorted; hidden ones left out."""
    paths: list[Path] = []
    for p in inside(folder):
        paths.append(p)
        if p.is_dir() and depth > 1:
            paths += _within(p, depth - 1)
    return paths


def _first_root(folder: Path) -> str:
    """The name of the root element of the XML files of a folder that are readable; "" where there is none."""
    for path in [p for p in inside(folder) if p.suffix.lower() == ".xml"][:5]:
        tag = safexml.root_tag(path)
        if tag:
            return tag
    return ""


_LISTS = re.compile(rb'"(?:images|annotations)"\s*:\s*\[')


def _is_coco(path: Path) -> bool:
    """Whether a JSON file has a list of images or annotations, anywhere: other entries may come first."""
    try:
        if path.stat().st_size > MAX_JSON:
            return False
        with path.open("rb") as file:
            before = b""
            while piece := file.read(2**20):
                if _LISTS.search((before + piece).replace(b"\0", b"")):  # without the zero bytes of UTF-16
                    return True
                before = piece[-256:]
    except OSError:
        return False
    return False


# --- formats ----------------------------------------------------------------------------------------------------------


def _voc(files: Sequence[tuple[str, Path]], convention: str | None, notes: list[str]) -> list[Annotated]:
    return _corners([(name, safexml.parse(path)) for name, path in files], convention, notes)


def _merged(path: Path, convention: str | None, notes: list[str]) -> list[Annotated]:
    root = safexml.parse(path)
    return _corners([(path.name, e) for e in root.findall("annotation")], convention, notes)


def _corners(trees: Sequence[tuple[str, Element]], convention: str | None, notes: list[str]) -> list[Annotated]:
    """The annotations of VOC trees, whose corners are the first and last pixel."""
    listed = []
    low, full = False, False  # whether a corner is at 0, or at the full width or height
    for name, tree in trees:
        if tree.tag != "annotation":
            raise InputError(f"{name} is not a VOC annotation: its root is <{tree.tag}>, not <annotation>.")
        size = None
        if tree.find("size") is not None:
            size = (safexml.number(tree, "size/width", name, int), safexml.number(tree, "size/height", name, int))
        objects = []
        for o in tree.findall("object"):
            edges = [safexml.number(o, f"bndbox/{k}", name, float) for k in ("xmin", "ymin", "xmax", "ymax")]
            if edges[0] > edges[2] or edges[1] > edges[3]:
                raise InputError(f"{name} has a box whose last pixel comes before its first: {edges}.")
            low |= min(edges[:2]) == 0
            full |= size is not None and (edges[2] == size[0] or edges[3] == size[1])
            difficult = o.find("difficult")
            hard = None if difficult is None else (difficult.text or "").strip().lower() in ("1", "true", "yes", "y", "t")
            objects.append(Object(safexml.text(o, "name", name), (edges[0], edges[1], edges[2], edges[3]), hard))
        listed.append(Annotated(safexml.text(tree, "filename", name), objects, size, file=PurePosixPath(name).stem))
    if convention is None:
        convention = "zero-based" if low and not full else "one-based"
        why = "a corner is at 0" if convention == "zero-based" else "one is at the full width" if full else "as VOC does"
        notes.append(
            f"corners taken as {convention} first and last pixels ({why}) and made half-open; choose with convention="
        )
    else:
        notes.append(f"corners are {convention} first and last pixels and were made half-open")
    first, last = (-1, 0) if convention == "one-based" else (0, 1)
    for a in listed:
        a.objects = [
            Object(o.label, (o.box[0] + first, o.box[1] + first, o.box[2] + last, o.box[3] + last), o.difficult)
            for o in a.objects
        ]
    return listed


def _coco(path: Path, notes: list[str]) -> list[Annotated]:
    """COCO: boxes are left, top, width, height. Crowds are kept, with a note; polygons and masks are read where there is no box."""
    size = path.stat().st_size
    if size > MAX_JSON:
        raise InputError(f"{path.name} has {size / 2**20:.0f} MiB; annotations have at most {MAX_JSON // 2**20}.")
    try:
        content = json_of(text.decode(path.read_bytes(), path.name), path.name)
    except (ValueError, OSError) as error:
        raise InputError(f"{path.name} is not valid JSON ({error}); it is damaged.") from None
    tables = [content.get(k) if isinstance(content, dict) else None for k in ("images", "annotations", "categories")]
    if not all(isinstance(t, list) and all(isinstance(row, dict) for row in t) for t in tables):
        raise InputError(f"{path.name} is not a COCO file: it needs the lists images, annotations and categories.")
    images, annotations, categories = tables
    assert images is not None
    assert annotations is not None
    assert categories is not None
    listed: dict[Any, Annotated] = {}
    for row in images:
        name, key = row.get("file_name"), row.get("id")
        if not isinstance(name, str) or not name or not isinstance(key, int | str):
            raise InputError(f"An image of {path.name} has no file_name or no id: {str(row)[:80]}.")
        if key in listed:
            raise InputError(f"{path.name} has the image id {key!r} twice.")
        wide, high = row.get("width"), row.get("height")
        listed[key] = Annotated(name, [], (wide, high) if isinstance(wide, int) and isinstance(high, int) else None)
    classes = _categories(categories, path.name, notes)
    crowds = polygons = outlined = apart = 0
    flagged = any(row.get("ignore") for row in annotations)
    for row in annotations:
        box, image, category = row.get("bbox"), row.get("image_id"), row.get("category_id")
        numeric = (
            isinstance(box, list)
            and len(box) == 4
            and all(isinstance(v, int | float) and not isinstance(v, bool) for v in box)
        )
        without = box in (None, []) or (numeric and 0 in box[2:])  # type: ignore[index]
        if without and row.get("segmentation"):
            size_of = listed[image].size if isinstance(image, int | str) and image in listed else None
            box = rle.box_of(row["segmentation"], size_of, path.name)
            outlined += 1
        elif not numeric or not all(abs(v) < 1e9 for v in box):  # also refuses NaN, and integers too large for a float
            raise InputError(f"An annotation of {path.name} has no box of four numbers: {str(row)[:80]}.")
        if not isinstance(image, int | str) or image not in listed:
            raise InputError(
                f"An annotation of {path.name} belongs to the image {str(image)[:40]!r}, which the file does not list."
            )
        if not isinstance(category, int | str) or category not in classes:
            raise InputError(
                f"An annotation of {path.name} has the category {str(category)[:40]!r}, which the file does not list."
            )
        left, top, wide, high = (float(v) for v in box)
        if wide < 0 or high < 0:
            raise InputError(f"An annotation of {path.name} has a box of negative size: {box}.")
        crowds += row.get("iscrowd") in (1, True)
        if isinstance(row.get("segmentation"), list | dict) and row["segmentation"] and not without:
            polygons += 1
            apart += _apart((left, top, wide, high), row["segmentation"])
        ignored = bool(row.get("ignore")) if flagged else None
        listed[image].objects.append(Object(classes[category], (left, top, left + wide, top + high), ignored))
    if outlined < len(annotations):
        notes.append("boxes were left, top, width, height from the top left corner")
    if outlined:
        notes.append(f"{outlined} objects have no box; theirs is the extent of their polygon or mask")
    if flagged:
        notes.append(
            f"{sum(bool(r.get('ignore')) for r in annotations)} boxes are to be ignored (ignore); they are marked difficult"
        )
    if crowds:
        notes.append(f"{crowds} boxes stand for a crowd of objects (iscrowd)")
    if polygons:
        notes.append(f"{polygons} objects also have an outline, which is only compared with the box")
    if apart:
        notes.append(f"{apart} boxes are not those of their outlines; the boxes were taken")
    _measures(path, list(listed.values()), notes)
    return list(listed.values())


def _categories(rows: Sequence[Mapping[str, Any]], name: str, notes: list[str]) -> dict[Any, str]:
    """Number -> name of the classes; InputError where one number has two names, a note where two numbers have one name."""
    classes: dict[Any, str] = {}
    for row in rows:
        key, word = row.get("id"), str(row.get("name"))
        if not isinstance(key, int | str):
            continue
        if classes.setdefault(key, word) != word:
            raise InputError(
                f"{name} names the category {key!r} twice: {classes[key]} and {word}. Give each class its own number."
            )
    alike = sorted({w for w in classes.values() if list(classes.values()).count(w) > 1})
    if alike:
        notes.append(f"several categories are named {', '.join(alike[:3])}: they are one class")
    return classes


def _apart(box: tuple[float, ...], outline: Any) -> bool:
    """Whether a box (left, top, width, height) differs from the extent of its outline by more than two pixels and a tenth of its size."""
    try:
        other = rle.box_of(outline, None, "")
    except InputError:
        return False
    near = max(2.0, 0.1 * max(*box[2:], *other[2:]))
    return any(abs(a - b) > near for a, b in zip(box, other, strict=True))


def _measures(path: Path, listed: list[Annotated], notes: list[str]) -> None:
    """A note where boxes would fit better as corners; InputError where they are fractions of the image."""
    found = [(o.box, a.size) for a in listed for o in a.objects]
    if found and max(max(box) for box, _ in found) <= 1:
        raise InputError(
            f"The boxes of {path.name} run up to {max(max(box) for box, _ in found):.3g}: they are fractions of the image, not pixels. "
            "Multiply them by its width and height."
        )
    sized = [(box, size) for box, size in found if size is not None]
    beyond = [box for box, (wide, high) in sized if box[2] > wide + 1 or box[3] > high + 1]
    corners = [(x0, y0, x1 - x0, y1 - y0) for (x0, y0, x1, y1), _ in sized]
    fit = all(
        x0 < x1 <= wide + 1 and y0 < y1 <= high + 1
        for (x0, y0, x1, y1), (_, (wide, high)) in zip(corners, sized, strict=True)
    )
    if len(beyond) * 4 > len(sized) and fit:
        notes.append(
            f"{len(beyond)} of {len(sized)} boxes reach beyond their image, and all would fit as left, top, right, bottom: if they are, "
            "convert them first"
        )


def _dota(folder: Path, notes: list[str]) -> list[Annotated]:
    """DOTA: one text per image; lines of four corners, class, difficult; before them imagesource and gsd."""
    listed = []
    for path in (p for p in inside(folder) if p.suffix.lower() == ".txt"):
        one = Annotated(path.stem)
        for number, line in enumerate(text.lines(path) if path.stat().st_size else (), 1):
            words = line.split()
            if not words or words[0].startswith("imagesource:"):
                continue
            try:
                if words[0].startswith("gsd:"):
                    gsd = line.strip().removeprefix("gsd:").strip()
                    one.gsd = None if gsd in ("null", "None", "") else float(gsd)
                    continue
                values = [float(v) for v in words[:8]]
                if len(values) < 8 or len(words) not in (9, 10) or not all(abs(v) < 1e9 for v in values):
                    raise ValueError
                hard = bool(int(words[9])) if len(words) == 10 else None
            except ValueError:
                raise InputError(
                    f"Line {number} of {path.name} is not four corners, a class and difficult: {line[:80]!r}; for example "
                    "'10 10 30 10 30 20 10 20 plane 0'."
                ) from None
            xs, ys = values[0::2], values[1::2]
            corners = tuple(zip(xs, ys, strict=True))
            one.objects.append(Object(words[8], (min(xs), min(ys), max(xs), max(ys)), hard, corners))
        listed.append(one)
    notes.append("rotated boxes: box_corners holds the four corners as published, box the upright box around them")
    return listed


def _vedai(path: Path, notes: list[str]) -> list[Annotated]:
    """VEDAI: one text for all images, a line for each vehicle."""
    listed: dict[str, Annotated] = {}
    for image, corners, label in vedai.vehicles(path):
        xs, ys = zip(*corners, strict=True)
        box = (min(xs), min(ys), max(xs), max(ys))
        listed.setdefault(image, Annotated(image)).objects.append(Object(label, box, None, corners))
    notes.append(
        "rotated boxes: box_corners holds the four corners, box the upright box around them; pixels were counted from 1"
    )
    return list(listed.values())


def _instances(folder: Path, images: Mapping[str, Path], notes: list[str]) -> list[Annotated]:
    """Masks with a colour for every instance, beside their image: NAME_instance_id_RGB.png. Background is black,
    or the most frequent colour of a mask without black."""
    listed = []
    for path in (p for p in walk(folder) if p.name.endswith("_instance_id_RGB.png")):
        values = chips.decode(path.name, chips.content((path, None)), None, None)
        codes = np.rint(np.nan_to_num(values) * 255).astype(np.int64)
        codes = codes[0] if len(codes) == 1 else codes[0] << 16 | codes[1] << 8 | codes[2]
        objects = []
        used, count = np.unique(codes, return_counts=True)
        background = 0 if 0 in used else used[count.argmax()]
        for code in used[used != background]:
            rows, columns = np.nonzero(codes == code)
            edges = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
            objects.append(Object("object", edges))
        listed.append(Annotated(MASK.sub("", path.stem), objects, (codes.shape[1], codes.shape[0])))
    total = sum(len(a.objects) for a in listed)
    notes.append(f"boxes are the extent of each colour in the instance masks ({total} instances); masks name no class")
    return listed
