"""Frames: the labelled arrays that a run has left, one file per event.

    frame = FrameFile(folder, step, names)      # opens nothing
    frame["score"]                              # reads this array, and no other
    frame.read("budget", "signal")              # reads several arrays and opens the file once

This is the only place that reads frames: replay, follow, Live and the pages use it. Arrays that were read are cached for the
whole process, up to `KEEP` bytes; those used longest ago are dropped first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.runs.schema import UNREADABLE, Damaged, frame_note

if TYPE_CHECKING:
    import xarray as xr

KEEP = 256 << 20  # bytes of decoded arrays
LARGEST = 4 << 30  # bytes of all arrays of a frame


def frame_file(folder: Path, step: int) -> Path:
    """Where the arrays of the event of this step are stored."""
    return folder / "frames" / f"{step:06d}.npz"


class FrameFile(Mapping[str, "xr.DataArray"]):
    """The arrays of one event by name. An array is read when it is first used.

    Values and coordinates are read-only, because several readers share them; copy an array to change it.

    names: the arrays of the event, as listed in its line of `events.jsonl`.
    """

    def __init__(self, folder: Path, step: int, names: Iterable[str]) -> None:
        self.path = frame_file(folder, step)
        self._names = tuple(names)

    def __getitem__(self, name: str) -> xr.DataArray:
        if name not in self._names:
            raise KeyError(name)
        return self.read(name)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def read(self, *names: str) -> dict[str, xr.DataArray]:
        """Name -> array, for those of the names that the frame has. The file is opened once at most."""
        wanted = [n for n in names if n in self._names]
        if not wanted:
            return {}
        try:
            stat = self.path.stat()
        except OSError as error:
            raise Damaged(f"{self.path} cannot be read ({error.strerror}).") from None
        stamp = (str(self.path.absolute()), stat.st_mtime_ns, stat.st_size, stat.st_ino)
        arrays: dict[str, xr.DataArray] = {}
        for name in wanted:
            if (cached := CACHE.get((*stamp, name))) is not None:
                arrays[name] = cached
        missing = [n for n in wanted if n not in arrays]
        if missing:
            for name, array in load(self.path, missing).items():
                CACHE.put((*stamp, name), array)
                arrays[name] = array
        return {n: arrays[n].copy(deep=False) for n in wanted}  # each reader may change its attributes


def load(path: Path, names: Iterable[str]) -> dict[str, xr.DataArray]:
    """Read the named arrays from one frame file. Raises Damaged for one that cannot be read or lacks an array."""
    try:
        return _load(path, names)
    except UNREADABLE as error:
        if isinstance(error, Damaged):
            raise
        raise Damaged(
            f"{path} cannot be read ({type(error).__name__}: {error}); the folder was damaged after it was written."
        ) from None


def _load(path: Path, names: Iterable[str]) -> dict[str, xr.DataArray]:
    import xarray as xr

    if not path.is_file():
        raise ValueError("it is not an ordinary file")
    with np.load(path, allow_pickle=False) as parts:
        if (size := sum(info.file_size for info in parts.zip.infolist())) > LARGEST:
            raise ValueError(f"it unpacks to {size / 1e9:.1f} GB")
        note = frame_note(parts["note"].tobytes(), f"the note in {path}")
        arrays = {}
        for name in names:
            about = note[name]
            coords = {c: (dims, parts[f"{name}//{c}"]) for c, dims in about["coords"].items()}
            array = xr.DataArray(parts[f"{name}//values"], coords, about["dims"], attrs=about["attrs"])
            for values in (array.values, *(c.values for c in array.coords.values())):  # xarray copies coordinates
                values.flags.writeable = False
            arrays[name] = array
    return arrays


class Cache:
    """Decoded arrays by key, at most `limit` bytes of them; those used longest ago are dropped first. Safe for threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._arrays: OrderedDict[Any, xr.DataArray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> xr.DataArray | None:
        """The array of this key; None where it is not in the cache (any more)."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def put(self, key: Any, array: xr.DataArray) -> None:
        """Keep an array. One that is larger than the limit alone is not kept."""
        size = _nbytes(array)
        if size > self.limit:
            return
        with self._lock:
            if key not in self._arrays:
                self.nbytes += size
            self._arrays[key] = array
            while self.nbytes > self.limit:
                _, dropped = self._arrays.popitem(last=False)
                self.nbytes -= _nbytes(dropped)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._arrays.clear()
            self.nbytes = 0


def _nbytes(array: xr.DataArray) -> int:
    """Bytes of values and coordinates."""
    return int(array.nbytes + sum(c.nbytes for c in array.coords.values()))


CACHE = Cache(KEEP)
