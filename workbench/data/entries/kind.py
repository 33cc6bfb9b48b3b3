"""The interface of every kind of entry: the variables of its scene, opening it, locating its files, describing it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from workbench.data.entries.located import Listed


@dataclass(frozen=True)
class Asked:
    """How a scene is to be opened; the fields are the arguments of `workbench.data.catalog.open_scene`."""

    truth: str | Path | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    chunks: Mapping[str, int] | str | None = "auto"
    ortho: bool = False


class Kind(ABC):
    """The interface of a catalogue entry. Other code uses only these members and never tests the kind."""

    ORDER: ClassVar[int] = 2  # order of the kinds in lists; kinds that need no files come first
    id: str

    @property
    @abstractmethod
    def provides(self) -> tuple[str, ...]:
        """Names of the scene's variables, of `workbench.scene.VOCABULARY`."""

    @property
    def many(self) -> bool:
        """Whether the scene has many samples (a leading `sample` dim); False for one place."""
        return False

    @property
    def own(self) -> str:
        """Why a given truth or key is refused, such as "has its own truth"; empty where they are used."""
        return ""

    def open(
        self,
        truth: str | Path | None = None,
        keys: Mapping[str, str] | None = None,
        chunks: Mapping[str, int] | str | None = "auto",
        ortho: bool = False,
    ) -> xr.Dataset:
        """The scene, lazy, verified, with provenance. The arguments are those of `workbench.data.catalog.open_scene`.

        Raises InputError if a truth or keys are given for an entry that accepts none.
        """
        if self.own and (truth is not None or keys):
            raise InputError(f"{self.id} {self.own}; leave truth and key out.")
        return self.read(Asked(truth, dict(keys or {}), chunks, ortho))

    @abstractmethod
    def read(self, asked: Asked) -> xr.Dataset:
        """The scene; see `open`."""

    @abstractmethod
    def place(self) -> Path:
        """The verified file or folder of the scene on this machine, downloaded if necessary; InputError if there is none."""

    @abstractmethod
    def card(self) -> list[str]:
        """Lines that describe the entry, without opening or downloading anything."""

    def completed(self, entries: Mapping[str, Any]) -> Self:
        """This entry with what it takes from the other entries of the catalogue."""
        return self

    def pixel_files(self) -> Sequence[Listed]:
        """Files whose SHA-256 identifies the scene when it is opened by its path."""
        return ()

    def content(self) -> bytes:
        """Bytes that change when the scene changes: all fields of the entry, with the checksums of its files.

        Sweeps and runs store their hash: a new field of an entry must not change these bytes while it has its default.
        """
        text: str = self.model_dump_json()  # type: ignore[attr-defined]
        return text.encode()
