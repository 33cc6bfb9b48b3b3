"""What every kind of entry can do, whoever asks: say what its scene has, open it, place its files, describe itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from workbench.data.entries.located import Listed


class Kind(ABC):
    """The face of a catalogue entry. Whoever uses entries asks these questions and never for a kind."""

    ORDER: ClassVar[int] = 2  # place of the kind in lists; those that work without files come first
    id: str

    @property
    @abstractmethod
    def provides(self) -> tuple[str, ...]:
        """Names of the scene's variables, of `workbench.scene.VOCABULARY`."""

    @property
    def many(self) -> bool:
        """Whether the scene has many samples (a leading `sample` dim); False for one place."""
        return False

    @abstractmethod
    def open(
        self,
        truth: str | Path | None = None,
        keys: Mapping[str, str] | None = None,
        chunks: Mapping[str, int] | str | None = "auto",
        ortho: bool = False,
    ) -> xr.Dataset:
        """The scene, lazy, verified, with provenance. The arguments are those of `workbench.data.catalog.open_scene`."""

    @abstractmethod
    def place(self) -> Path:
        """The verified file or folder of the scene on this machine, downloaded if need be; InputError where there is none."""

    @abstractmethod
    def card(self) -> list[str]:
        """Lines that describe it, without opening or downloading anything."""

    def pixel_files(self) -> Sequence[Listed]:
        """Files by whose SHA-256 the scene is recognised when it is opened by its path."""
        return ()

    def content(self) -> bytes:
        """What changes when the scene does: all that the catalogue says of it, with the checksums of its files.

        Sweeps and runs keep its hash: a field that is added to an entry must not change this text where it has its default.
        """
        text: str = self.model_dump_json()  # type: ignore[attr-defined]
        return text.encode()

    def refuse(self, truth: Any, keys: Any, why: str) -> None:
        """InputError where a truth or keys are given for an entry that takes none."""
        if truth is not None or keys:
            raise InputError(f"{self.id} {why}; leave truth and key out.")
