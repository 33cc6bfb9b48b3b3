"""ENVI: a text header and a flat binary file, BSQ, BIL or BIP; pixels are read in windows.

Every size in a header is checked against the size of the data file before it is used. Headers: `envi_header.py`.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from workbench.data.readers import envi_header as header_fields
from workbench.data.readers.cube import Cube, require_cube
from workbench.data.readers.envi_header import DTYPES, Pair, count, pair
from workbench.data.readers.files import Look
from workbench.errors import InputError

_AXES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (2, 0, 1)}  # positions of band, y, x in the file
LINES = 2**15  # at most so many lines are read one by one; above, mapping the file is faster
RUN = 2**16  # bytes of a contiguous piece from which reading ahead is useful


@dataclass(frozen=True)
class EnviPixels:
    """Pixels of an ENVI data file as (band, y, x); each window is mapped, copied and unmapped."""

    path: Path
    dtype: np.dtype
    stored: tuple[int, int, int]
    order: tuple[int, int, int]
    offset: int

    ndim = 3
    flat = True  # any row can be read by itself

    @property
    def shape(self) -> tuple[int, ...]:
        """Size (band, y, x)."""
        return tuple(self.stored[a] for a in self.order)

    @property
    def bytes(self) -> int:
        """Minimal size of the data file."""
        a, b, c = self.stored
        return self.offset + a * b * c * self.dtype.itemsize

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        """The window as (band, y, x), in the memory order of the file. Whole lines are read in as few pieces as possible; for
        other windows only the needed pages are read."""
        if self.path.stat().st_size < self.bytes:  # a map beyond the end of a file kills the process
            raise OSError(f"{self.path} was shortened after it was opened")
        at = [slice(None)] * 3
        for axis, part in zip(self.order, window, strict=True):
            at[axis] = part
        (a0, a1, _), (b0, b1, _), (c0, c1, _) = (part.indices(n) for part, n in zip(at, self.stored, strict=True))
        if any(part.indices(n)[2] != 1 for part, n in zip(at, self.stored, strict=True)) or (c0, c1) != (0, self.stored[2]):
            return self._touched((at[0], at[1], at[2])).transpose(self.order)
        out = np.empty((a1 - a0, b1 - b0, c1), self.dtype)
        line = c1 * self.dtype.itemsize
        with self.path.open("rb", buffering=0) as file:
            pieces = [(a0, out)] if (b0, b1) == (0, self.stored[1]) else [(a0 + i, part) for i, part in enumerate(out)]
            for a, piece in pieces:
                file.seek(self.offset + (a * self.stored[1] + b0) * line)
                _fill(file, piece)
        return out.transpose(self.order)

    def _touched(self, at: tuple[slice, slice, slice]) -> np.ndarray:
        """A window of parts of lines, in the order of the file. A few lines are read one by one. Many are read by mapping the
        file with read-ahead off (madvise): with it the system would read, and for a sparse file allocate, a hundred times as
        much.
        """
        a, b, c = (range(*part.indices(n)) for part, n in zip(at, self.stored, strict=True))
        size = self.dtype.itemsize
        with self.path.open("rb", buffering=0) as file:
            if len(a) * len(b) <= LINES and c.step * size <= mmap.PAGESIZE:
                return self._lines(file, a, b, c)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                if len(c) * c.step * size < RUN and hasattr(mmap, "MADV_RANDOM"):
                    mapped.madvise(mmap.MADV_RANDOM)
                window = np.ndarray(self.stored, self.dtype, mapped, self.offset)[at]
                values = np.array(window)
                del window  # the map cannot be closed while an array refers to it
        return values

    def _lines(self, file: BinaryIO, a: range, b: range, c: range) -> np.ndarray:
        """Lines from their first to their last needed pixel; adjacent lines that are mostly needed are read at once."""
        out = np.empty((len(a), len(b), len(c)), self.dtype)
        last = c[-1] + 1
        together = b.step == 1 and 2 * (last - c.start) >= self.stored[2]
        buffer = np.empty((len(b), self.stored[2]) if together else last - c.start, self.dtype)
        for plane, i in zip(out, a, strict=True):
            for line, j in [(plane, b[0])] if together else zip(plane, b, strict=True):
                at = (i * self.stored[1] + j) * self.stored[2] + (0 if together else c.start)
                file.seek(self.offset + at * self.dtype.itemsize)
                _fill(file, buffer)
                line[:] = buffer[:, c.start : last : c.step] if together else buffer[:: c.step]
        return out


def _fill(file: BinaryIO, piece: np.ndarray) -> None:
    """Read into an array until it is full; one system call reads at most 2 GB."""
    left = piece.reshape(-1).view(np.uint8).data
    while left:
        got = file.readinto(left)  # type: ignore[attr-defined]
        if not got:
            raise OSError("the file ended early")
        left = left[got:]


def read(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of an ENVI pair, given by its header or its data file."""
    for role, name in [*keys.items(), *([("truth", truth)] if truth not in (None, "none") else [])]:
        raise InputError(f"The key {role}={name} was given, but ENVI files hold one unnamed cube; leave the key out.")
    found = look.once(pair)
    header, data, fields = found.header, found.data, found.fields
    pixels = _pixels(found)
    require_cube(pixels.shape, pixels.dtype, data.name)
    bands, rows, columns = pixels.shape
    notes: list[str] = []
    if data.is_symlink() and data.resolve().parent != header.resolve().parent:
        notes.append(f"the data file {data.name} is a link out of its folder, to {data.resolve()}")
    beyond = data.stat().st_size - pixels.bytes
    if beyond:
        notes.append(f"{data.name} is {beyond} bytes longer than its header says; the end is not read")

    described = header_fields.bands_of(fields, bands, notes)
    factor = header_fields.scale_of(fields, header, notes)
    x, y, crs = header_fields.map_of(fields, rows, columns, notes)
    missing = header_fields.number(fields, "data ignore value", header)
    return Cube(pixels, missing, factor, 0.0, *described, x, y, crs, notes=(*found.notes, *notes))


def _pixels(pair: Pair) -> EnviPixels:
    """The pixels of the data file, after every number in the header was checked against the size of the file."""
    fields, header, data = pair.fields, pair.header, pair.data
    kind = fields.get("file type", "").lower()
    if "spectral library" in kind:
        raise InputError(f"{header.name} describes a spectral library, not an image; give an image cube.")
    if fields.get("file compression", "0").strip() not in ("0", ""):
        raise InputError(f"{header.name} describes a compressed data file; save it uncompressed.")
    for name in ("major frame offsets", "minor frame offsets"):
        if re.search("[1-9]", fields.get(name, "")):
            raise InputError(
                f"{header.name}: {name} = {fields[name][:40]} says that other bytes stand between the lines, which are not read. Save the "
                "image without them (in ENVI: Save As, ENVI Standard)."
            )
    columns, rows, bands = (count(fields, n, header) for n in ("samples", "lines", "bands"))
    offset = count(fields, "header offset", header, at_least=0, default=0)
    code = count(fields, "data type", header)
    if code not in DTYPES:
        raise InputError(f"{header.name}: data type = {code} is unknown; ENVI has {', '.join(map(str, DTYPES))}.")
    order = fields.get("byte order") or "0"
    if order not in ("0", "1"):
        raise InputError(f"{header.name}: byte order = {order!r}; it must be 0 (little-endian) or 1 (big-endian).")
    interleave = fields.get("interleave", "").lower()
    if interleave not in _AXES:
        raise InputError(f"{header.name}: interleave = {fields.get('interleave', 'missing')!r}; it must be bsq, bil or bip.")
    axes = _AXES[interleave]
    stored = [0, 0, 0]
    for axis, n in zip(axes, (bands, rows, columns), strict=True):
        stored[axis] = n
    a, b, c = stored
    pixels = EnviPixels(data.absolute(), np.dtype("<>"[int(order)] + DTYPES[code]), (a, b, c), axes, offset)
    size = data.stat().st_size
    if size < pixels.bytes:
        raise InputError(
            f"{data} holds {size} bytes, but its header promises {pixels.bytes} ({bands} bands x {rows} lines x {columns} "
            f"samples of {pixels.dtype.itemsize} bytes, from byte {offset} on). The file is truncated, or the header is not "
            "that of this file."
        )
    return pixels


def raw_image(path: Path) -> tuple[Path, str]:
    """The data file of an ENVI pair named by either, and the pair as a virtual dataset of GDAL (VRT, XML).

    So that GDAL reads any window of any pair that `pair` finds, with bands, map and missing value as `read` states them: GDAL's own ENVI
    driver knows fewer headers. The pixels are those of the file; scale and dates are in the tags.
    """
    with Look(path) as look:
        found = look.once(pair)
    pixels, notes = _pixels(found), list(found.notes)
    bands, rows, columns = pixels.shape
    fields = found.fields
    if fields.get("map info"):
        x, y, crs = header_fields.map_of(fields, rows, columns, notes)
    else:
        x = y = crs = None
    wave = header_fields.numbers(fields, "wavelength", notes, bands)
    factor = header_fields.scale_of(fields, found.header, notes)
    missing = header_fields.number(fields, "data ignore value", found.header)
    steps = [pixels.dtype.itemsize] * 3
    for axis in (1, 0):
        steps[axis] = steps[axis + 1] * pixels.stored[axis + 1]
    per_band, per_row, per_column = (steps[axis] for axis in pixels.order)
    place = ""
    if x is not None and y is not None and crs is not None:
        values = header_fields.joined([v.strip() for v in fields["map info"].split(",")], []) or []
        right, down = (float(v) for v in values[5:7])
        place = (
            f"<SRS>{escape(crs)}</SRS><GeoTransform>{float(x[0]) - right / 2!r}, {right!r}, 0, "
            f"{float(y[0]) + down / 2!r}, 0, {-down!r}"
            "</GeoTransform>"
        )
    kind = _GDAL[pixels.dtype.newbyteorder("=").str[1:]]
    ignore = "" if missing is None else f"<NoDataValue>{missing!r}</NoDataValue>"
    scale = "" if factor == 1 else f"<Scale>{factor!r}</Scale>"
    raw = []
    for b in range(bands):
        tags = {}
        if wave is not None and len(wave) == bands:
            tags = {"wavelength": repr(float(wave[b])), "wavelength_units": fields.get("wavelength units", "")}
        raw.append(
            f'<VRTRasterBand dataType="{kind}" band="{b + 1}" subClass="VRTRawRasterBand">{_metadata(tags)}{ignore}{scale}'
            f'<SourceFilename relativeToVRT="0">{escape(str(found.data.absolute()))}</SourceFilename>'
            f"<ImageOffset>{pixels.offset + b * per_band}</ImageOffset><PixelOffset>{per_column}</PixelOffset>"
            f"<LineOffset>{per_row}</LineOffset><ByteOrder>{'MSB' if pixels.dtype.str[0] == '>' else 'LSB'}</ByteOrder></VRTRasterBand>"
        )
    about = {k.replace(" ", "_"): v for k, v in fields.items() if len(v) < 200 and ("time" in k or "date" in k)}
    said = _metadata(about, "ENVI") + _metadata({"notes": "\n".join(notes)}, "workbench")
    return found.data, f'<VRTDataset rasterXSize="{columns}" rasterYSize="{rows}">{place}{said}{"".join(raw)}</VRTDataset>'


_GDAL = {"u1": "Byte", "i2": "Int16", "i4": "Int32", "f4": "Float32", "f8": "Float64", "c8": "CFloat32", "c16": "CFloat64",
         "u2": "UInt16", "u4": "UInt32", "i8": "Int64", "u8": "UInt64"}  # fmt: skip


def _metadata(tags: Mapping[str, str], domain: str = "") -> str:
    items = "".join(f"<MDI key={quoteattr(k)}>{escape(v)}</MDI>" for k, v in tags.items())
    return f"<Metadata{f' domain={quoteattr(domain)}' if domain else ''}>{items}</Metadata>" if items else ""
