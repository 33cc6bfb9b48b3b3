"""HDF5 for all products: the arrays in a file, checked before any value is read, and pixels by windows.

An untrusted file may name other files (external links, external storage, virtual datasets) and may declare sizes that it
does not have. `arrays` refuses both before a value is read.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from workbench.data.readers.files import Look
from workbench.errors import InputError

_OBJECTS = 20_000  # objects in one file; products have some hundreds
_DEFLATE = 1100  # bytes that one packed byte can hold at most: the filters of HDF5 reach 1032
_DEFLATED, _SHUFFLED = 1, 2  # how HDF5 numbers its filters
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\x01\0\0\0"
_LOOK = 32 * 2**20  # bytes at either end of a file in which heaps are checked
_CHUNK = 256 * 2**20  # bytes of one chunk that is larger than its dataset


@dataclass(frozen=True)
class Array:
    """One dataset: its size, dtype and block size (None for a contiguous dataset)."""

    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...] | None


@dataclass(frozen=True)
class Hdf5Pixels:
    """Pixels of one dataset in an HDF5 file as (band, y, x), opened again for each window; `order` maps its axes."""

    path: Path
    name: str
    array: Array
    order: tuple[int, int, int]

    ndim = 3

    @property
    def shape(self) -> tuple[int, ...]:
        """Size (band, y, x)."""
        return tuple(self.array.shape[a] for a in self.order)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the stored values."""
        return self.array.dtype

    @property
    def flat(self) -> bool:
        """Whether any row can be read by itself."""
        return self.array.chunks is None

    @property
    def native(self) -> tuple[int, int, int] | None:
        """The block size of the file as (band, y, x)."""
        stored = self.array.chunks
        return None if stored is None else (stored[self.order[0]], stored[self.order[1]], stored[self.order[2]])

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        import h5py

        where: list[Any] = [slice(None)] * 3
        for axis, part in zip(self.order, window, strict=True):
            where[axis] = part
        with h5py.File(self.path, "r") as file:
            return values(file[self.name], tuple(where)).transpose(self.order)


@dataclass(frozen=True)
class Hdf5Plane:
    """A 2-D dataset of an HDF5 file, opened again for each window."""

    path: Path
    name: str
    array: Array

    ndim = 2

    @property
    def shape(self) -> tuple[int, ...]:
        """Size (y, x)."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the stored values."""
        return self.array.dtype

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        import h5py

        with h5py.File(self.path, "r") as file:
            return values(file[self.name], window)

    def lazy(self) -> Any:
        """The data of an `xr.Variable`, read when it is computed."""
        from workbench.data.readers.lazy import Guarded, indexed

        return indexed(Guarded(self, f"{self.path.name} ({self.name})"))


def is_hdf5(look: Look) -> bool:
    """Whether it is an HDF5 file: it has the signature at the beginning, or after a user block."""
    return look.is_file and any(look.head[at : at + 8] == _SIGNATURE for at in (0, 512, 1024, 2048))


@contextmanager
def shared(look: Look, kind: str = "an HDF5 file") -> Iterator[Any]:
    """The file in h5py, opened once per look; every h5py error inside the block becomes one InputError."""
    path = look.path
    try:
        yield look.once(_opened)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path} does not fit into memory.") from None
    except Exception as error:  # damaged files raise many exception types
        raise InputError(
            f"{path} cannot be read as {kind} ({type(error).__name__}: {error}); it is truncated or damaged. Get it again."
        ) from None


def _opened(look: Look) -> Any:
    import h5py

    return look.keep(h5py.File(look.path, "r"))


def arrays(look: Look, kind: str = "an HDF5 file") -> dict[str, Array]:
    """Name ("group/name") -> array, of all datasets of a file; cached.

    Raises InputError for links into other files, for datasets kept in other files, and for sizes that the file cannot hold.
    """
    with shared(look, kind):
        return look.once(_inspected)


def _inspected(look: Look) -> dict[str, Array]:
    import h5py

    path, file = look.path, look.once(_opened)
    _check_heaps(look.file, path)
    arrays: dict[str, Array] = {}
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
                continue  # a second name of an object that is listed elsewhere
            item = group[name]
            key = h5py.h5o.get_info(item.id).addr
            if key in seen:
                continue
            seen.add(key)
            if len(seen) > _OBJECTS:
                raise InputError(
                    f"{path.name} holds more than {_OBJECTS} groups and arrays; it is not a product of a known sensor."
                )
            if isinstance(item, h5py.Group):
                todo.append((where + "/", item))
            elif isinstance(item, h5py.Dataset) and item.shape is not None:
                arrays[where] = _checked(item, where, path)
    return arrays


def _check_heaps(file: BinaryIO, path: Path) -> None:
    """Raise InputError for a heap of strings and references whose objects do not end at its end: the library would loop
    forever. In a large file only the beginning and the end are checked, where such heaps are.

    The layout is that of the HDF5 File Format Specification, "Global Heap".
    """
    end = path.stat().st_size
    for start in {0, max(0, end - _LOOK)}:
        file.seek(start)
        data = file.read(_LOOK)
        at = data.find(_HEAP)
        while at >= 0:
            size = int.from_bytes(data[at + 8 : at + 16], "little")
            if at + size <= len(data) and not _leads_to_its_end(data[at : at + size]):
                raise InputError(f"{path.name} is damaged at byte {start + at} (a heap that does not end). Get it again.")
            at = data.find(_HEAP, at + 1)


def _leads_to_its_end(heap: bytes) -> bool:
    at = 16
    while at + 16 <= len(heap):
        number, size = int.from_bytes(heap[at : at + 2], "little"), int.from_bytes(heap[at + 8 : at + 16], "little")
        step = 16 + (size + 7) // 8 * 8 if number else size
        if step < 1 or at + step > len(heap):
            return False
        at += step
    return True


def _checked(dataset: Any, name: str, path: Path) -> Array:
    if dataset.is_virtual or dataset.external:
        raise InputError(
            f"{path.name}: {name} keeps its values in other files; only data inside the file are read. Copy them in."
        )
    shape = tuple(int(n) for n in dataset.shape)
    promised = math.prod(shape) * dataset.dtype.itemsize
    stored = int(dataset.id.get_storage_size())
    packed = dataset.chunks is not None
    if (
        dataset.dtype.kind != "O"
        and promised > (2**26 if len(shape) < 2 else 2**20)
        and stored * (_DEFLATE if packed else 1) < promised
    ):
        raise InputError(
            f"{path.name}: {name} promises {promised} bytes ({' x '.join(map(str, shape))}), but only {stored} are stored; the file is "
            "truncated or damaged, or that array was never written."
        )
    if packed and stored > _raw(dataset) * 1.1 + 2**16:
        raise InputError(
            f"{path.name}: {name} is stored in {stored} bytes, more than it holds; it is damaged, or a decompression bomb."
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


def _raw(dataset: Any) -> int:
    """Bytes of all blocks of a dataset, unpacked."""
    blocks = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    return blocks * math.prod(dataset.chunks) * int(dataset.dtype.itemsize)


def values(dataset: Any, window: tuple[slice, ...] | None = None) -> np.ndarray:
    """The values in a window (positive steps; all without one) of a numeric dataset.

    Blocks packed by deflate and shuffle, as in nearly all products, are unpacked here: never to more than their size, while
    the library has no limit, and by several threads, while the library has one lock.
    """
    window = (slice(None),) * dataset.ndim if window is None else window
    filters = _filters(dataset)
    if dataset.chunks is None or _DEFLATED not in filters or set(filters) - {_DEFLATED, _SHUFFLED}:
        return dataset[window]
    spans = [range(*part.indices(n)) for part, n in zip(window, dataset.shape, strict=True)]
    out = np.empty([len(s) for s in spans], dataset.dtype)
    if not out.size:
        return out
    sizes = dataset.chunks
    for place in product(*(range(s[0] // c, s[-1] // c + 1) for s, c in zip(spans, sizes, strict=True))):
        start = tuple(p * c for p, c in zip(place, sizes, strict=True))
        into, taken = zip(*map(_overlap, spans, start, sizes), strict=True)
        if all(part.start < part.stop for part in into):
            block = _unpacked(dataset, start, filters)
            out[into] = dataset.fillvalue if block is None else block.reshape(sizes)[taken]
    return out


def _overlap(span: range, start: int, size: int) -> tuple[slice, slice]:
    """Slices (into the span, into the block) of the part of a span inside a block that begins at `start`."""
    first = max(0, -((span.start - start) // span.step))
    last = min(len(span), -((span.start - start - size) // span.step))
    begin = span.start + first * span.step - start
    return slice(first, last), slice(begin, begin + (last - first - 1) * span.step + 1, span.step)


def _filters(dataset: Any) -> list[int]:
    made = dataset.id.get_create_plist()
    return [made.get_filter(i)[0] for i in range(made.get_nfilters())]


def _unpacked(dataset: Any, start: tuple[int, ...], filters: list[int]) -> np.ndarray | None:
    """The values of one block, flat; None where it was never written. Raises OSError where it has another size."""
    if dataset.id.get_chunk_info_by_coord(start).byte_offset is None:
        return None
    width = dataset.dtype.itemsize
    count = math.prod(dataset.chunks)
    left_out, data = dataset.id.read_direct_chunk(start)
    for i in reversed(range(len(filters))):
        if left_out >> i & 1:
            continue
        if filters[i] == _DEFLATED:
            unpack = zlib.decompressobj()
            data = unpack.decompress(data, count * width)
            if not unpack.eof and (unpack.decompress(unpack.unconsumed_tail, 1) or not unpack.eof):
                raise OSError(f"the block at {start} of {dataset.name} does not end where it should")
        elif len(data) == count * width:
            planes = np.frombuffer(data, np.uint8).reshape(width, count)
            mixed = np.empty((count, width), np.uint8)
            for byte in range(width):
                mixed[:, byte] = planes[byte]
            data = mixed.tobytes()
    if len(data) != count * width:
        raise OSError(f"the block at {start} of {dataset.name} holds {len(data)} bytes instead of {count * width}")
    return np.frombuffer(data, dataset.dtype)


def text(value: Any) -> str:
    """An attribute or a 0-d or 1-element dataset as text, from any of the string types of HDF5."""
    value = np.asarray(value).ravel()
    value = value[0] if value.size else b""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def number(attrs: Mapping[str, Any], name: str, path: Path, default: float | None = None) -> float:
    """A finite number among attributes (arrays of one count); InputError for another value, or without value and default."""
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
    """Raise InputError for keys or truth with a product that has one cube at a fixed place."""
    for role, name in [*keys.items(), *([("truth", truth)] if truth not in (None, "none") else [])]:
        raise InputError(
            f"The key {role}={name} was given, but {what} holds one cube whose place is known; leave the key out."
        )
