"""A TIFF as a lazy array: the file is opened for every window, so that the object can be sent to another process.

tiff = Tiff.open(path)
stack = Stack([tiff.read], tiff.shape, tiff.dtype)      # (band, y, x), indexed by slices
lazily(stack, "auto", tiff.block)                       # as dask array; chunks=None: xarray's own lazy array
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.readers.files import KINDS, Look, located
from workbench.errors import InputError

MAGIC = tuple(magic for magic, kind in KINDS.items() if kind == "TIFF")
CHUNK = 16 * 2**20  # bytes in one dask chunk
MAX_BLOCK = 2**30  # bytes of one block of the file; real files are far below
PACKED = 50_000  # pixel bytes that one byte of a TIFF can hold at most; a blanked Sentinel-1 image in zstd reaches 10 600
_QUIET = threading.Lock()
PLACE = 5  # minimal number of bytes that a TIFF needs for the position of one block


@dataclass(frozen=True)
class Tiff:
    """One band of a TIFF: (y, x) pixels in the file's own dtype."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype
    block: tuple[int, int]
    band: int = 1

    @classmethod
    def open(cls, path: Path, band: int = 1, bands: int | None = None) -> Tiff:
        """Read the header. bands: required number of bands. Raises InputError for a file that is damaged or truncated."""
        with Look(path) as look:
            look.begin(1)
            with shared(look) as file:
                if bands is not None and file.count != bands:
                    raise InputError(f"{path.name} has {file.count} bands; expected is {bands}.")
                return cls.of(file, path, band)

    @classmethod
    def of(cls, file: Any, path: Path, band: int = 1) -> Tiff:
        """As `open`, for a file that is open in rasterio."""
        require_whole(file, path)
        kind = file.dtypes[band - 1]
        dtype = np.dtype(np.complex64 if kind.startswith("complex") else kind)
        block = tuple(map(int, file.block_shapes[band - 1]))
        if block[0] * block[1] * dtype.itemsize > MAX_BLOCK:
            raise InputError(f"{path.name} has blocks of {block[0]} x {block[1]} pixels, too large to read; it is damaged.")
        return cls(path, (int(file.height), int(file.width)), dtype, (block[0], block[1]), band)

    def read(self, rows: range, columns: range) -> np.ndarray:
        """The pixels of these rows and columns (ranges with positive steps); only the needed blocks are read."""
        if not len(rows) or not len(columns):
            return np.empty((len(rows), len(columns)), self.dtype)
        with opened(self.path) as file:
            return self.window(file, rows, columns)

    def window(self, file: Any, rows: range, columns: range) -> np.ndarray:
        """As `read`, for a file that is open in rasterio; rows and columns are not empty."""
        from rasterio.windows import Window

        wide = Window(columns.start, rows.start, columns[-1] - columns.start + 1, rows[-1] - rows.start + 1)
        try:
            if rows.step <= max(self.block[0], 4):
                return file.read(self.band, window=wide)[:: rows.step, :: columns.step].astype(self.dtype, copy=False)
            lines = [file.read(self.band, window=Window(wide.col_off, y, wide.width, 1))[0, :: columns.step] for y in rows]
            return np.stack(lines).astype(self.dtype, copy=False)
        except MemoryError:
            raise InputError(
                f"A window of {len(rows)} x {len(columns)} pixels of {self.path.name} does not fit into memory."
            ) from None


class Stack:
    """Bands of one size as one array (band, y, x) that is read in windows; indexed by slices and integers.

    readers: for each band a function (rows, columns) -> pixels; both are ranges with positive steps.
    """

    ndim = 3

    def __init__(self, readers: Sequence[Callable[[range, range], np.ndarray]], shape: tuple[int, int], dtype: Any):
        self.readers, self.shape, self.dtype = list(readers), (len(readers), *shape), np.dtype(dtype)

    def __getitem__(self, key: Any) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *[slice(None)] * (3 - len(key)))
        spans = [
            range(n)[k] if isinstance(k, slice) else range(int(k) % n, int(k) % n + 1)
            for k, n in zip(key, self.shape, strict=True)
        ]
        band, rows, columns = (s if s.step > 0 else s[::-1] for s in spans)
        out = np.empty((len(band), len(rows), len(columns)), self.dtype)
        if out.size:
            for i, b in enumerate(band):
                out[i] = self.readers[b](rows, columns)
        turned = tuple(slice(None, None, -1 if s.step < 0 else 1) for s in spans)
        return out[turned][tuple(slice(None) if isinstance(k, slice) else 0 for k in key)]


def lazily(stack: Stack, chunks: Any, block: tuple[int, int], dims: Sequence[str] = ("sar_band", "y", "x")) -> Any:
    """The array of a variable: dask-backed, or for `chunks=None` xarray's own, which reads only the indexed window.

    chunks: "auto" (one band, whole multiples of the file's `block`), a mapping of `dims`, or None.
    """
    if chunks is None:
        from workbench.data.readers.lazy import indexed

        return indexed(stack)
    import dask.array as da

    if chunks == "auto":
        _, high, wide = stack.shape
        pixels = CHUNK // stack.dtype.itemsize
        across = min(wide, max(block[1], block[1] * (pixels // (block[0] * block[1]))))
        down = max(block[0], block[0] * (pixels // (block[0] * across)))
        chunks = (1, min(high, down), across)
    elif isinstance(chunks, Mapping):
        chunks = tuple(chunks.get(d, -1) for d in dims)
    return da.from_array(stack, chunks=chunks, name=False, asarray=True, fancy=False, meta=np.empty((0, 0, 0), stack.dtype))


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file open in rasterio, only by GDAL's TIFF driver; its errors become one InputError."""
    with Look(path) as look, shared(look) as file:
        yield file


def is_tiff(look: Look) -> bool:
    """Whether the file begins with the signature of TIFF."""
    return look.begins(*MAGIC)


@contextmanager
def quiet() -> Iterator[None]:
    """No warning of rasterio about an image without a map, or about affine 3; one thread at a time."""
    import rasterio

    with _QUIET, warnings.catch_warnings():  # warning filters are global to the process; dask opens files in many threads
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        yield


def _opened(look: Look) -> Any:
    import rasterio

    with quiet():
        return look.keep(rasterio.open(located(look.path), driver="GTiff"))


@contextmanager
def shared(look: Look) -> Iterator[Any]:
    """The file in rasterio, opened once per look; every error inside the block becomes one InputError."""
    with told(look.path, "a TIFF"):
        yield look.once(_opened)


@contextmanager
def told(path: Path, kind: str) -> Iterator[None]:
    """Every error of GDAL inside the block becomes one InputError. kind: as what the file was to be read."""
    import rasterio
    from rasterio._err import CPLE_BaseError

    try:
        yield
    except (
        CPLE_BaseError,
        rasterio.errors.RasterioError,
        rasterio.errors.CRSError,
        OSError,
        UnicodeDecodeError,
    ) as error:  # UnicodeDecodeError: damaged tags
        raise InputError(f"{path} cannot be read as {kind} ({error}); it is truncated or damaged. Get it again.") from None


def pages(file: Any) -> list[str]:
    """A note where an open TIFF has further images behind its first, which are not read."""
    many = sum(":GTIFF_DIR:" in f":{name}" for name in file.subdatasets)
    if many < 2:
        return []
    return [
        f"the file holds {many} pages, of which only the first is read; if they are bands or dates, save them as bands of one image or as "
        "one file each"
    ]


def _bytes(kind: str) -> int:
    """Bytes of one pixel of a type as rasterio names it; complex integers are a GDAL type that NumPy does not have."""
    return {"complex_int16": 4, "complex_int32": 8}.get(kind) or np.dtype(kind).itemsize


def require_whole(file: Any, path: Path) -> None:
    """Raise InputError for a size that the file cannot hold, or where the last block of the first or last band ends
    beyond the file.
    """
    size = path.stat().st_size
    high, wide = file.block_shapes[0]
    planes = 1 if str(file.profile.get("interleave", "")) == "pixel" else file.count
    count = -(-file.height // high) * -(-file.width // wide) * planes
    bits = file.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "")  # 12-bit numbers in 16
    packed = int(bits) / 8 if bits.isdigit() else _bytes(file.dtypes[0])
    promised = int(file.count * file.height * file.width * min(packed, _bytes(file.dtypes[0])))
    if count * PLACE > size or promised > size * (PACKED if file.compression else 1):
        raise InputError(
            f"{path} holds {size} bytes, but promises {promised} ({file.count} bands x {file.height} x {file.width}); it is "
            "truncated or damaged. Get it again."
        )
    for band in {1, file.count}:
        high, wide = file.block_shapes[band - 1]
        last = f"{(file.width - 1) // wide}_{(file.height - 1) // high}"
        begin = file.get_tag_item(f"BLOCK_OFFSET_{last}", "TIFF", bidx=band)
        length = file.get_tag_item(f"BLOCK_SIZE_{last}", "TIFF", bidx=band)
        if begin and length and int(begin) + int(length) > size:
            raise InputError(
                f"{path} holds {size} bytes, but its last block ends at {int(begin) + int(length)}; it is truncated. Get it again."
            )
