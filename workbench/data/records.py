"""Fields of every catalogue entry, their printed form, and the attributes that a scene gets from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import xarray as xr


class Record(BaseModel):
    """A part of the catalogue: immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(Record):
    """Fields of all entries."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    citation: str
    licence: str
    notes: list[str] = []


class Sourced(Entry):
    """An entry of published files, which a person may have to get by hand."""

    sensor: str
    publisher: str
    obtain: str | None = Field(None, description="where a person can get the files, if they cannot be downloaded one by one")


def file_lines(files: Iterable[Any], obtain: str | None) -> list[str]:
    """Lines that describe files, one each (`path`, `bytes`, `sha256`, `role` if any), and where a person can get them."""
    lines = []
    for f in files:
        known = f", sha256 {f.sha256}" if f.sha256 else ""
        lines.append(f"  {getattr(f, 'role', 'file')}: {f.path} ({f.bytes / 1e6:.2f} MB){known}")
    return [*lines, f"  obtain: {obtain}"] if obtain else lines


def signed(scene: xr.Dataset, entry: Sourced) -> xr.Dataset:
    """The scene with the entry's provenance in `attrs`; the entry's notes come after those of the reader."""
    own = [n for n in str(scene.attrs.get("notes", "")).splitlines() if n]
    scene.attrs.update(
        id=entry.id,
        title=entry.title,
        source=entry.publisher,
        sensor=entry.sensor,
        citation=entry.citation,
        licence=entry.licence,
        notes="\n".join([*own, *entry.notes]),
    )
    return scene
