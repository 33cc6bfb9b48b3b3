"""HDF5, whatever the product: what is in a file, checked before anything is read, and pixels by windows.

A file from elsewhere may name other files (external links, external storage, virtual datasets) and may promise sizes that it
does not have. `inspect` refuses both before a value is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import InputError

_OBJECTS = 20_000  # in one file; products have some hundreds
_DEFLATE = 1100  # no filter that comes with HDF5 packs more than 1032 bytes into one
_CHUNK = 256 * 2**20  # bytes of one chunk that is larger than its dataset


@dataclass(frozen=True)
class Array:
    """One dataset: its size, dtype and the blocks it is stored in (None where it lies in one piece)."""

    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...] | None


@dataclass(frozen=True)
class Hdf5Pixels:
    """Pixels of one dataset in an HDF5 file as (band, y, x), opened anew for each window; `order` maps its axes."""

    path: Path
    name: str
    array: Array
    order: tuple[int, int, int]

    ndim = 3

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape[a] for a in self.order)

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def native(self) -> tuple[int, int, int] | None:
        """The file's own blocks as (band, y, x)."""
        stored = self.array.chunks
        return None if stored is None else (stored[self.order[0]], stored[self.order[1]], stored[self.order[2]])

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        import h5py

        where: list[Any] = [slice(None)] * 3
        for axis, part in zip(self.order, window, strict=True):
            where[axis] = part
        with h5py.File(self.path, "r") as file:
            return file[self.name][tuple(where)].transpose(self.order)


@dataclass(frozen=True)
class Hdf5Plane:
    """A 2-D dataset of an HDF5 file, opened anew for each window."""

    path: Path
    name: str
    array: Array

    ndim = 2

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        import h5py

        with h5py.File(self.path, "r") as file:
            return file[self.name][window]

    def lazy(self) -> Any:
        """The data of an `xr.Variable`, read when it is asked for."""
        from workbench.data.readers.lazy import Guarded, indexed

        return indexed(Guarded(self, f"{self.path.name} ({self.name})"))


@contextmanager
def opened(path: Path, kind: str = "an HDF5 file") -> Iterator[Any]:
    """The open file; whatever h5py finds wrong becomes one InputError."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path} does not fit into memory.") from None
    except Exception as error:  # damaged files raise many kinds
        raise InputError(
            f"{path} cannot be read as {kind} ({type(error).__name__}: {error}); it is truncated or damaged. Get it again."
        ) from None


def inspect(file: Any, path: Path) -> dict[str, Array]:
    """Name ("group/name") -> array, of all datasets below an open file or group.

    Raises InputError for links into other files, for datasets kept in other files, and for sizes that the file cannot hold.
    """
    import h5py

    found: dict[str, Array] = {}
    seen: set[Any] = set()
    todo: list[tuple[str, Any]] = [("", file)]
    while todo:
        above, group = todo.pop()
        for name in group:
            where = f"{above}{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise InputError(
                    f"{path.name}: {where} is a link into the file {link.filename!r}; only data inside the file are read. Copy them "
                    "in (h5repack or h5copy)."
                )
            if isinstance(link, h5py.SoftLink):
                continue  # another name of something that is found anyway
            item = group[name]
            key = h5py.h5o.get_info(item.id).addr
            if key in seen:
                continue
            seen.add(key)
            if len(seen) > _OBJECTS:
                raise InputError(
                    f"{path.name} holds more than {_OBJECTS} groups and arrays; it is no product of any sensor known here."
                )
            if isinstance(item, h5py.Group):
                todo.append((where + "/", item))
            elif isinstance(item, h5py.Dataset) and item.shape is not None:
                found[where] = _checked(item, where, path)
    return found


def _checked(dataset: Any, name: str, path: Path) -> Array:
    if dataset.is_virtual or dataset.external:
        raise InputError(
            f"{path.name}: {name} keeps its values in other files; only data inside the file are read. Copy them in."
        )
    shape = tuple(int(n) for n in dataset.shape)
    promised = math.prod(shape) * dataset.dtype.itemsize
    stored = int(dataset.id.get_storage_size())
    packed = dataset.chunks is not None
    if dataset.dtype.kind != "O" and promised > 2**20 and stored * (_DEFLATE if packed else 1) < promised:
        raise InputError(
            f"{path.name}: {name} promises {promised} bytes ({' x '.join(map(str, shape))}), but only {stored} are stored; the file is "
            "truncated or damaged, or that array was never written."
        )
    if stored > path.stat().st_size:
        raise InputError(
            f"{path.name}: {name} promises {stored} bytes in a file of {path.stat().st_size}; it is truncated or damaged."
        )
    if (
        packed
        and math.prod(dataset.chunks) * dataset.dtype.itemsize > _CHUNK
        and math.prod(dataset.chunks) > math.prod(shape)
    ):
        raise InputError(f"{path.name}: {name} is stored in blocks of {dataset.chunks}, larger than itself; it is damaged.")
    return Array(shape, dataset.dtype, dataset.chunks)


def text(value: Any) -> str:
    """An attribute or a 0-d or 1-element dataset as text, from whichever of the ways HDF5 keeps strings."""
    value = np.asarray(value).ravel()
    value = value[0] if value.size else b""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def number(attrs: Mapping[str, Any], name: str, path: Path, default: float | None = None) -> float:
    """A finite number among attributes (arrays of one count); InputError where it is absent and has no default, or is none."""
    if name not in attrs and default is not None:
        return default
    try:
        value = float(np.asarray(attrs[name]).ravel()[0])
    except (KeyError, IndexError, ValueError, TypeError):
        raise InputError(
            f"{path.name} has no number {name!r} among its attributes; it does not follow its product specification."
        ) from None
    if not math.isfinite(value):
        raise InputError(f"{path.name}: {name} = {value} is not a finite number.")
    return value


def no_keys(keys: Mapping[str, str], truth: str | None, what: str) -> None:
    """InputError where somebody names arrays in a product that leaves no choice."""
    for role, name in [*keys.items(), *([("truth", truth)] if truth not in (None, "none") else [])]:
        raise InputError(
            f"The key {role}={name} was given, but {what} holds one cube whose place is known; leave the key out."
        )
