"""Lists of names that come with a set: which of its pairs or images are for training, validation and testing.

lists = lists_of(Path("LEVIR-CD"))                    # .../list/train.txt, .../list/test.txt
split = listed(lists, ["0", "1"], notes)              # ["train", "test"]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workbench.data.chips import SPLITS
from workbench.data.readers import text
from workbench.data.readers.files import inside

LISTS = ("list", "lists", "split", "splits", "imagesets")  # folders of train.txt, val.txt, test.txt


def lists_of(folder: Path) -> list[Path]:
    """list/train.txt, list/val.txt and list/test.txt of a set, ImageSets/Main as in VOC, or these files in the folder itself."""
    outer = [p for p in inside(folder) if p.is_dir() and p.name.lower() in LISTS]
    places = [*outer, *(p for o in outer for p in inside(o) if p.is_dir() and p.name.lower() == "main"), folder]
    return [p for place in places for p in inside(place) if p.suffix.lower() == ".txt" and p.stem.lower() in SPLITS]


def listed(lists: Sequence[Path], names: Sequence[str], notes: list[str], what: str = "pairs") -> list[str]:
    """The split of each name from these `lists_of` a set; "" for a name in no list. A set has a `split` only if every name is in a list;
    if only some are, the notes say so.
    """
    split: dict[str, str] = {}
    twice: set[str] = set()
    for path in lists:
        for line in text.lines(path):
            word = line.strip().replace("\\", "/").split()
            if word:
                stem, part = Path(word[0]).stem, SPLITS[path.stem.lower()]
                if split.setdefault(stem, part) != part:
                    twice.add(stem)
    both = sorted(twice & set(names))
    if both:
        parts = ", ".join(f"{name}: {split[name]}" for name in both[:3])
        notes.append(f"{len(both)} {what} stand in the lists of two parts; they count for one only ({parts})")
    known = [split.get(name, "") for name in names]
    if lists and not all(known):
        notes.append(
            f"no split was taken: the lists {', '.join(p.name for p in lists)} name {sum(map(bool, known))} of the {len(names)} {what}"
        )
    elif lists and len(split) > len(names):
        notes.append(f"the lists name {len(split) - len(names)} {what} that are not in the folder")
    return known
