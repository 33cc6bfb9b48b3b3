"""Catalogue entries of pairs of dates; the fields are explained in data_catalog/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from workbench.data.entries.kind import Asked, Kind
from workbench.data.entries.located import locate, relative
from workbench.data.records import Record, Sourced, file_lines, signed
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


def _iso(text: str) -> str:
    from workbench.data.readers.raster import iso

    return iso(text)


class PairFile(Record):
    """One file of an entry, below WORKBENCH_DATA or the cache."""

    role: Literal["before", "after", "truth", "changed", "unchanged", "header"]
    sample: str | None = Field(None, description="name of the pair in a set")
    path: Annotated[str, AfterValidator(relative)]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    url: str | None = Field(None, pattern=r"^https://", description="pinned public mirror of exactly this file")


class Times(Record):
    """When the two images were taken, as ISO text; None where it is not known."""

    before: Annotated[str, AfterValidator(_iso)] | None = None
    after: Annotated[str, AfterValidator(_iso)] | None = None


class PairShape(Record):
    """Size of one image."""

    band: int = Field(ge=1)
    y: int = Field(ge=1)
    x: int = Field(ge=1)


class Pairs(Sourced, Kind):
    """One pair, or a set of pairs of one size."""

    kind: Literal["pairs"]
    modality: Literal["optical", "sar"] = "optical"
    times: Times = Times()
    shape: PairShape
    labelled_pixels: int = Field(ge=1)
    changed_pixels: int = Field(ge=1)
    test: list[str] = Field([], description="samples for testing; the others are for training")
    files: list[PairFile]

    @model_validator(mode="after")
    def _whole(self) -> Pairs:
        for name in self.samples() or [None]:  # type: ignore[list-item]
            roles = sorted(f.role for f in self.files if f.sample == name and f.role != "header")
            if roles not in (["after", "before", "truth"], ["after", "before", "changed", "unchanged"]):
                raise ValueError(
                    f"the pair {name or self.id} needs one before, one after, and a truth or a changed and an unchanged mask"
                )
        if not set(self.test) <= set(self.samples()):
            raise ValueError("test names samples that do not exist")
        if self.obtain is None and not all(f.url for f in self.files):
            raise ValueError("files without an address need obtain")
        return self

    def samples(self) -> list[str]:
        """Names of the pairs of a set, in order; empty for one pair."""
        return sorted({f.sample for f in self.files if f.sample is not None})

    @property
    def provides(self) -> tuple[str, ...]:
        """Two dates and the reference change."""
        return ("before", "after", "truth")

    @property
    def many(self) -> bool:
        """Whether the entry is a set."""
        return bool(self.samples())

    @property
    def own(self) -> str:
        """Why a given truth or key is refused."""
        return "has its own reference of changes"

    def read(self, asked: Asked) -> xr.Dataset:
        """`before`, `after ([sample,] band, y, x)` and `truth ([sample,] y, x)`; for a set, `split (sample)` if known."""
        import numpy as np

        from workbench.data import pairs

        places = {(f.sample, f.role): p for f, p in zip(self.files, locate(self, self.files), strict=True)}
        names = self.samples()
        if names:
            before, after, masks = ([places[n, role] for n in names] for role in ("before", "after", "truth"))
            scene = pairs.stacked(names, before, after, masks, self.modality)
            if self.test:
                scene = scene.assign_coords(split=("sample", np.where(np.isin(names, self.test), "test", "train")))
        else:
            given = {"modality": self.modality}
            given |= {f"time_{d}": t for d, t in self.times.model_dump().items() if t is not None}
            scene = pairs.open_pair(places[None, "before"], places[None, "after"], places.get((None, "truth")), keys=given)
            if (None, "changed") in places:
                scene = _referenced(scene, places[None, "changed"], places[None, "unchanged"])
        size = tuple(scene["before"].sizes[d] for d in ("band", "y", "x"))
        if size != (self.shape.band, self.shape.y, self.shape.x):
            raise InputError(f"{self.id} should be {self.shape}; its files are {size}.")
        return signed(scene, self)

    def place(self) -> Path:
        """The first file; all are verified, and downloaded if they have an address."""
        return locate(self, self.files)[0]

    def card(self) -> list[str]:
        """Number, size and dates of the pairs, the reference, the files."""
        s, names = self.shape, self.samples()
        count = f"{len(names)} pairs" if names else "one pair"
        dates = " and ".join(t for t in (self.times.before, self.times.after) if t)
        size = f"{count} of {s.y} x {s.x} pixels, {s.band} band{'s' * (s.band > 1)}"
        lines = [f"  pair: {size}, {self.sensor}{', ' * bool(dates)}{dates}"]
        lines.append(f"  truth: {self.changed_pixels} changed of {self.labelled_pixels} labelled pixels")
        if self.test:
            lines.append(f"  for testing: {', '.join(self.test)}")
        lines.append(f"  publisher: {self.publisher}")
        return lines + file_lines(self.files, self.obtain)


def _referenced(scene: xr.Dataset, changed: Path, unchanged: Path) -> xr.Dataset:
    """The scene with truth from two masks: 1 in the first, 0 in the second, -1 in neither; InputError where they overlap."""
    import numpy as np

    from workbench.data.labels import as_change
    from workbench.data.readers.mask_files import stored

    yes, no = (as_change(*stored(p)[:2])[0] == 1 for p in (changed, unchanged))
    if (yes & no).any():
        raise InputError(
            f"{changed.name} and {unchanged.name} overlap in {int((yes & no).sum())} pixels; a pixel is either changed or unchanged."
        )
    truth = np.where(yes, 1, np.where(no, 0, -1)).astype(np.int16)
    return scene.assign(truth=(("y", "x"), truth, {"names": ["unchanged", "changed"], "long_name": "reference change"}))
