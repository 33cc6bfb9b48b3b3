"""What every entry of the catalogue says of itself, how it is printed, and how a scene carries it on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import xarray as xr


class Record(BaseModel):
    """A part of the catalogue: it does not change, and a field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(Record):
    """What all entries have."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    citation: str
    licence: str
    notes: list[str] = []


class Sourced(Entry):
    """An entry of files that somebody published, which may have to be got by hand."""

    sensor: str
    publisher: str
    obtain: str | None = Field(None, description="where a person gets the files, when they cannot be downloaded one by one")


def file_lines(files: Iterable[Any], obtain: str | None) -> list[str]:
    """Lines of a card: a file each (`path`, `bytes`, `sha256`; `role`, where it has one), and where a person gets them."""
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
