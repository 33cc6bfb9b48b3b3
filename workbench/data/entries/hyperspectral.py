"""Catalogue entries of hyperspectral cubes; the fields are explained in data_catalog/README.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from workbench.data.entries.kind import Asked, Kind
from workbench.data.entries.located import locate, relative
from workbench.data.records import Entry, Record, signed

if TYPE_CHECKING:
    import xarray as xr


class File(Record):
    """One file of an entry, below WORKBENCH_DATA or the cache."""

    role: Literal["cube", "header", "truth"]
    path: Annotated[str, AfterValidator(relative)]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    url: str | None = Field(None, pattern=r"^https://", description="pinned public mirror of exactly this file")


class Keys(Record):
    """Names of the arrays in a file that holds several; truth "none": the file has no truth."""

    cube: str | None = None
    truth: str | None = None
    wavelength: str | None = None


class Shape(Record):
    """Size of a cube."""

    band: int = Field(gt=1)
    y: int = Field(gt=1)
    x: int = Field(gt=1)


class Reference(Record):
    """A result computed outside this package, and its source."""

    rx_auc: float = Field(ge=0, le=1)
    source: str


class Hyperspectral(Entry, Kind):
    """A hyperspectral cube in one file (ENVI: two), with or without a truth mask or a map of classes."""

    kind: Literal["hyperspectral"]
    sensor: str
    publisher: str
    mask: str | None = Field(None, description="where the truth mask comes from")
    shape: Shape
    files: list[File]
    keys: Keys = Keys()
    anomalous_pixels: int | None = Field(None, ge=1)
    reference: Reference | None = None
    classes: list[str] = Field(
        [], description="names of the classes 1, 2, ... of a truth file that holds classes; 0 is not labelled"
    )
    labelled_pixels: int | None = Field(None, ge=1, description="with classes")
    wavelengths: list[float] = Field([], description="nm, one for each band, where the file has none")
    obtain: str | None = Field(None, description="where a person can get files that have no address")

    @model_validator(mode="after")
    def _one_cube(self) -> Hyperspectral:
        roles = [f.role for f in self.files]
        if roles.count("cube") != 1 or len(set(roles)) != len(roles):
            raise ValueError("needs exactly one cube file, and at most one header and one truth file")
        if len({PurePosixPath(f.path).parent for f in self.files if f.role != "truth"}) != 1:
            raise ValueError("cube and header of an entry must be in one folder")
        if self.wavelengths and len(self.wavelengths) != self.shape.band:
            raise ValueError("wavelengths must be one number for each band")
        if self.classes and ("truth" not in roles or self.labelled_pixels is None):
            raise ValueError("classes need a truth file and labelled_pixels")
        return self

    @property
    def provides(self) -> tuple[str, ...]:
        """The cube, and the truth where the entry has one."""
        return ("hsi", "truth") if self.anomalous_pixels or self.classes else ("hsi",)

    def file(self, role: str) -> File | None:
        """The file of that role; None where the entry has none."""
        return next((f for f in self.files if f.role == role), None)

    def pixel_files(self) -> Sequence[File]:
        """The cube's file."""
        return [f for f in self.files if f.role == "cube"]

    def read(self, asked: Asked) -> xr.Dataset:
        """`hsi (band, y, x)` and, where known, `truth (y, x)`. truth and keys override those of the entry."""
        import numpy as np

        from workbench.data.formats import open_file
        from workbench.data.readers.mask_files import read_classes

        places = dict(zip([f.role for f in self.files], locate(self, self.files), strict=True))
        known = self.keys.model_dump(exclude_none=True)
        truth = asked.truth
        own_truth = truth is None and asked.keys.get("truth") is None
        if truth is not None:
            known.pop("truth", None)  # this key names an array of the cube's file, not of the given truth file
        elif own_truth and not self.classes:
            truth = places.get("truth")
        scene = open_file(places["cube"], truth=truth, keys={**known, **asked.keys}, chunks=asked.chunks, ortho=asked.ortho)
        if own_truth and self.classes:
            classes = read_classes(places["truth"], (self.shape.y, self.shape.x), len(self.classes))
            scene["truth"] = (("y", "x"), classes, {"names": ["background", *self.classes]})
        if self.wavelengths and "wavelength" not in scene.coords:
            about = {"units": "nm", "long_name": "wavelength", "standard_name": "radiation_wavelength"}
            scene = scene.assign_coords(wavelength=("band", np.array(self.wavelengths), about))
        (cube,) = self.pixel_files()
        scene.attrs.update(sha256=cube.sha256, simulated="")
        return signed(scene, self)  # type: ignore[arg-type]  # it has the fields of Sourced, in the order of its first version

    def content(self) -> bytes:
        """As of every entry; fields that were added later are included only where they differ from their default."""
        later = {n for n in ("classes", "labelled_pixels", "wavelengths", "obtain") if not getattr(self, n)}
        return self.model_dump_json(exclude=later).encode()

    def place(self) -> Path:
        """The cube's file; an ENVI header is in the same folder."""
        return dict(zip([f.role for f in self.files], locate(self, self.files), strict=True))["cube"]

    def card(self) -> list[str]:
        """Size, truth, reference, and the path of each file."""
        from workbench.data import fetch

        s = self.shape
        lines = [f"  cube: {s.y} x {s.x} pixels, {s.band} bands, {self.sensor}"]
        if self.anomalous_pixels is not None:
            lines.append(f"  truth: {self.anomalous_pixels} anomalous pixels of {s.y * s.x}; {self.mask or 'mask'}")
        elif self.classes:
            labelled = f"{self.labelled_pixels} labelled pixels of {s.y * s.x}"
            lines.append(f"  truth: {len(self.classes)} classes, {labelled}; {self.mask or 'map of classes'}")
        else:
            lines.append("  truth: none")
        if self.reference is not None:
            lines.append(f"  global RX: AUC {self.reference.rx_auc:.6f} ({self.reference.source})")
        lines.append(f"  publisher: {self.publisher}")
        places = fetch.find(self.files)
        for i, f in enumerate(self.files):
            absent = f"not on this machine ({f.bytes / 1e6:.1f} MB at {f.url or self.obtain})"
            lines += [f"  {f.role}: {places[i] if places else absent}", f"    sha256 {f.sha256}"]
        return lines
