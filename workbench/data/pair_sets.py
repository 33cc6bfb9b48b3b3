"""Sets of pairs in a folder: which of its folders hold the first dates, the second dates and the labels.

    roles, unread = roles_of(Path("S2Looking/train"))     # {"before": .../Image1, "after": .../Image2, "truth": .../label}, []
    sets_in(Path("LEVIR-CD"))                             # split -> role -> folder

Usual names decide; less usual ones only where the folders hold files of the same names. Folders that are not used are named
in the notes of the scene.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.data.chips import SPLITS
from workbench.data.readers.files import inside
from workbench.data.split_lists import LISTS
from workbench.errors import InputError

FOLDERS = {
    "before": ("A", "t1", "time1", "im1", "before", "pre"),
    "after": ("B", "t2", "time2", "im2", "after", "post"),
    "truth": ("label", "labels", "out", "truth", "gt", "mask", "masks"),
}
SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")

_THING = r"(?:images?|imgs?|ims?|pictures?|times?|t|dates?|phases?|periods?|years?|sentinel|optical)"
_MORE = r"(?:events?|disasters?|changes?|floods?|fires?|images?|imgs?|times?|dates?)?"
_ALIKE = {
    "before": re.compile(rf"{_THING}(?:a|0*1)|(?:pre|before|old|former|earlier|first){_MORE}"),
    "after": re.compile(rf"{_THING}(?:b|0*2)|(?:post|after|new|later|second){_MORE}"),
    "truth": re.compile(
        r"(?:gt|labels?|masks?|truths?|groundtruths?|references?|ref|outs?|targets?|annotations?|cd|cm|changes?)"
        r"(?:cd|cm|bcd|binary|changes?|masks?|maps?|labels?|gt|truth|255|01)*"
    ),
}
_YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")


def sets_in(folder: Path) -> dict[str, dict[str, Path]]:
    """split ("" where there is none) -> role -> folder, of a folder with a set of pairs; empty for other folders."""
    if not folder.is_dir():
        return {}
    own, _ = roles_of(folder)
    if {"before", "after"} <= set(own):
        below = {s: n for s, n in _splits(own["before"]).items() if s in _splits(own["after"])}
        if below and not files_in(own["before"]):
            return {s: {r: _splits(p)[s] for r, p in own.items() if s in _splits(p)} for s in below}
        return {"": own}
    inner = {split: roles_of(p)[0] for split, p in _splits(folder).items()}
    return {split: roles for split, roles in inner.items() if {"before", "after"} <= set(roles)}


def _splits(folder: Path) -> dict[str, Path]:
    return {SPLITS[p.name.lower()]: p for p in inside(folder) if p.is_dir() and p.name.lower() in SPLITS}


def roles_of(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """role -> folder of the two dates and the labels, and the names of the other folders beside them."""
    folders = [p for p in inside(folder) if p.is_dir()]
    # names are case-insensitive, except single letters: class folders may be named a and b
    named = {p.name.lower() if len(p.name) > 1 else p.name: p for p in folders}
    roles = {role: next(named[w] for w in words if w in named) for role, words in FOLDERS.items() if set(words) & set(named)}
    if "t0" in named and "t1" in named:
        roles |= {"before": named["t0"], "after": named["t1"]}
    if not {"before", "after"} <= set(roles):
        roles = {**_alike(folders), **({"truth": roles["truth"]} if "truth" in roles else {})}
    if {"before", "after"} <= set(roles) and "truth" not in roles:
        labels = [p for p in folders if p not in roles.values() and _ALIKE["truth"].fullmatch(_plain(p.name))]
        if labels:
            roles["truth"] = min(labels, key=lambda p: (not re.search("cd|change|binary", _plain(p.name)), p.name))
    unread = [p.name for p in folders if p not in roles.values() and p.name.lower() not in LISTS]
    return roles, unread


def _alike(folders: Sequence[Path]) -> dict[str, Path]:
    """Two folders with less usual names of dates, or with years, that hold files of the same names."""
    found: dict[str, Path] = {}
    for role in ("before", "after"):
        fitting = [p for p in folders if _ALIKE[role].fullmatch(_plain(p.name))]
        if len(fitting) == 1:
            found[role] = fitting[0]
    if len(found) < 2:
        years = sorted((m.group(1), p) for p in folders if (m := _YEAR.search(p.name)))
        if len(years) == 2 and years[0][0] != years[1][0]:
            found = {"before": years[0][1], "after": years[1][1]}
    return found if len(found) == 2 and same_names(*found.values()) else {}


def same_names(one: Path, two: Path) -> bool:
    """Whether two folders (or their train, val and test) hold images of mostly the same names."""
    a, b = ({p.stem for below in (f, *_splits(f).values()) for p in files_in(below)} for f in (one, two))
    return bool(a & b) and 2 * len(a & b) > max(len(a), len(b))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def files_in(folder: Path) -> list[Path]:
    """The images in a folder, sorted."""
    return [p for p in inside(folder) if p.suffix.lower() in SUFFIXES and p.is_file()]


def by_stem(folder: Path) -> dict[str, Path]:
    """Stem -> image of a folder; InputError where two have the same stem."""
    files: dict[str, Path] = {}
    for path in files_in(folder):
        if path.stem in files:
            raise InputError(
                f"{folder.name} has two images of the name {path.stem!r} ({files[path.stem].name}, {path.name}); keep one."
            )
        files[path.stem] = path
    return files


def leave_out(names: Sequence[str], files: Mapping[str, Sequence[Path | None]], notes: list[str]) -> list[int]:
    """Positions of the pairs whose images have the bands and size that most have, and a label of that size; others are named in
    the notes.
    """
    from collections import Counter

    shapes = [
        tuple(None if files[r][i] is None else _shape(files[r][i]) for r in ("before", "after", "truth"))  # type: ignore[arg-type]
        for i in range(len(names))
    ]  # type: ignore[arg-type]
    usual = Counter(s for three in shapes for s in three[:2]).most_common(1)[0][0]
    kept = [i for i, (a, b, t) in enumerate(shapes) if a == b == usual and (t is None or t[1:] == usual[1:])]  # type: ignore[index]
    odd = [i for i in range(len(names)) if i not in set(kept)]
    if odd and kept:
        which = ", ".join(f"{names[i]} ({' and '.join(_size(s) for s in dict.fromkeys(shapes[i]) if s)})" for i in odd[:3])
        notes.append(
            f"{len(odd)} of {len(names)} pairs are left out, because their images or label are not of {_size(usual)} (bands x rows x "
            f"columns): {which}{' and others' if len(odd) > 3 else ''}"
        )
    return kept or list(range(len(names)))


def _size(shape: tuple[int, ...] | None) -> str:
    return "unreadable" if shape is None else " x ".join(map(str, shape))


def _shape(path: Path) -> tuple[int, int, int]:
    from workbench.data.readers.raster import open_raster

    return open_raster(path).shape
