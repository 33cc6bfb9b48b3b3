"""ENVI: a text header and a flat binary file, BSQ, BIL or BIP; pixels are read in windows.

Every size in a header is checked against the size of the data file before it is used.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from workbench.data.readers.cube import Cube, nanometres, require_cube, widths
from workbench.data.readers.files import Look, first_bytes
from workbench.data.roots import admit_beside
from workbench.errors import InputError

_DTYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 6: "c8", 9: "c16", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
_AXES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (2, 0, 1)}  # positions of band, y, x in the file
SUFFIXES = ("", ".dat", ".img", ".raw", ".bsq", ".bil", ".bip", ".bin", ".envi")
LINES = 2**15  # at most so many lines are read one by one; above, mapping the file is faster
RUN = 2**16  # bytes of a contiguous piece from which reading ahead is useful
_HEADER_LIMIT = 16 * 2**20  # bytes; headers of 10 000 bands with names stay below 1 MB


@dataclass(frozen=True)
class EnviPixels:
    """Pixels of an ENVI data file as (band, y, x); each window is mapped, copied and unmapped."""

    path: Path
    dtype: np.dtype
    stored: tuple[int, int, int]
    order: tuple[int, int, int]
    offset: int

    ndim = 3

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


@dataclass(frozen=True)
class Pair:
    """Header and data file of an ENVI cube, and the fields of the header."""

    header: Path
    data: Path
    fields: Mapping[str, str]


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
        admit_beside(header, data)
        notes.append(f"the data file {data.name} is a link out of its folder, to {data.resolve()}")
    beyond = data.stat().st_size - pixels.bytes
    if beyond:
        notes.append(f"{data.name} is {beyond} bytes longer than its header says; the end is not read")

    raw = _numbers(fields, "wavelength", notes)
    wave = None if raw is None else nanometres(raw, fields.get("wavelength units", ""), bands, notes)
    spread = _numbers(fields, "fwhm", notes)
    fwhm = None if spread is None or raw is None else widths(spread, wave, raw)

    good = None
    flags = _numbers(fields, "bbl", notes)
    if flags is not None and len(flags) == bands:
        good = np.array(flags) != 0
        if not good.all():
            notes.append(f"{int((~good).sum())} of {bands} bands are marked bad in the header (bbl)")
    elif flags is not None:
        notes.append(f"bad-band list ignored: it has {len(flags)} values for {bands} bands")

    factor = 1.0
    scale = _number(fields, "reflectance scale factor", header)
    if scale is not None:
        if not np.isfinite(scale) or scale <= 0:
            raise InputError(f"{header.name}: reflectance scale factor = {scale:g} must be above 0. Correct the header.")
        factor = 1 / scale
        if scale != 1:
            notes.append(f"values divided by the header's reflectance scale factor {scale:g}")
    if "data gain values" in fields:
        notes.append("data gain values of the header were not applied: the cube holds the stored numbers")
    x, y, crs = _map(fields, rows, columns, notes)
    missing = _number(fields, "data ignore value", header)
    return Cube(pixels, missing, factor, 0.0, wave, fwhm, good, x, y, crs, notes=tuple(notes))


def read_mask(path: Path) -> np.ndarray:
    """(y, x) values of the first band of an ENVI pair."""
    with Look(path) as look:
        pixels = _pixels(look.once(pair))
    return pixels[slice(0, 1), slice(None), slice(None)][0]


def whole(path: Path) -> Path:
    """The data file of an ENVI pair named by either, after its header was checked against it."""
    with Look(path) as look:
        found = look.once(pair)
    _pixels(found)
    return found.data


def pair(look: Look) -> Pair:
    """The ENVI cube named by its header or data file. InputError where one is missing, or the header is not valid."""
    path = look.path
    if look.suffix != ".hdr":
        header = header_of(path)
        if header is None:
            raise InputError(f"{path} has no ENVI header; put {path.name}.hdr next to it.")
        return Pair(header, path, parse(header))
    fields = _fields(look.begin(_HEADER_LIMIT + 1), path)
    named = fields.get("data file")
    if named is not None:
        if Path(named).name != named or "\\" in named or named in ("", ".", ".."):
            raise InputError(
                f"{path.name} names the data file {named!r}; only a file in the folder of the header is opened. Put it there and "
                "give its bare name."
            )
        tries = [path.with_name(named)]
    else:
        base = path.with_suffix("")
        tries = [base.with_name(base.name + s) for suffix in SUFFIXES for s in dict.fromkeys((suffix, suffix.upper()))]
    for data in tries:
        if data.is_file():
            return Pair(path, data, fields)
    raise InputError(
        f"{path} is an ENVI header without its data: there is no {tries[0].name} beside it, with or without a suffix like "
        ".dat or .img. Put the data file there."
    )


def header_of(data: Path) -> Path | None:
    """The header beside a data file: `X.hdr`, `X.dat.hdr` or `X.hdr` for `X.dat`, case-insensitive."""
    for name in (data.name + ".hdr", data.stem + ".hdr"):
        for header in (data.with_name(name), data.with_name(name[:-4] + ".HDR")):
            if header.is_file():
                return header
    return None


def parse(header: Path) -> dict[str, str]:
    """The fields of an ENVI header, names in lower case, without braces."""
    return _fields(first_bytes(header, _HEADER_LIMIT + 1), header)


def _fields(content: bytes, header: Path) -> dict[str, str]:
    text = content.decode("latin-1")
    if len(text) > _HEADER_LIMIT:
        raise InputError(f"{header} is not an ENVI header: it is larger than {_HEADER_LIMIT // 2**20} MB of text.")
    if not text.lstrip().startswith("ENVI"):
        raise InputError(f"{header} does not begin with the word ENVI; it is not an ENVI header.")
    lines = [one for one in text.split("\n") if not one.lstrip().startswith(";")]
    last = max(
        (i for i, one in enumerate(lines) if "}" in one), default=-1
    )  # a brace that opens after this line is never closed
    fields = {}
    rest = iter(range(len(lines)))
    for i in rest:
        name, equals, value = lines[i].partition("=")
        name = " ".join(name.split()).lower()
        if not equals or not name or "{" in name or "}" in name:
            continue
        value = value.strip()
        if value.startswith("{") and "}" not in value and i < last:
            parts = [value]
            for j in rest:
                parts.append(lines[j])
                if "}" in lines[j]:
                    break
            value = "\n".join(parts)
        if value.startswith("{"):
            value = value[1:].partition("}")[0]
        fields[name] = value.strip()
    return fields


def _pixels(pair: Pair) -> EnviPixels:
    """The pixels of the data file, after every number in the header was checked against the size of the file."""
    fields, header, data = pair.fields, pair.header, pair.data
    kind = fields.get("file type", "").lower()
    if "spectral library" in kind:
        raise InputError(f"{header.name} describes a spectral library, not an image; give an image cube.")
    if fields.get("file compression", "0").strip() not in ("0", ""):
        raise InputError(f"{header.name} describes a compressed data file; save it uncompressed.")
    columns, rows, bands = (_count(fields, n, header) for n in ("samples", "lines", "bands"))
    offset = _count(fields, "header offset", header, at_least=0, default=0)
    code = _count(fields, "data type", header)
    if code not in _DTYPES:
        raise InputError(f"{header.name}: data type = {code} is unknown; ENVI has {', '.join(map(str, _DTYPES))}.")
    order = fields.get("byte order", "0")
    if order not in ("0", "1"):
        raise InputError(f"{header.name}: byte order = {order!r}; it must be 0 (little-endian) or 1 (big-endian).")
    interleave = fields.get("interleave", "").lower()
    if interleave not in _AXES:
        raise InputError(f"{header.name}: interleave = {fields.get('interleave', 'missing')!r}; it must be bsq, bil or bip.")
    axes = _AXES[interleave]
    stored = [0, 0, 0]
    for axis, count in zip(axes, (bands, rows, columns), strict=True):
        stored[axis] = count
    a, b, c = stored
    pixels = EnviPixels(data.resolve(), np.dtype("<>"[int(order)] + _DTYPES[code]), (a, b, c), axes, offset)
    size = data.stat().st_size
    if size < pixels.bytes:
        raise InputError(
            f"{data} holds {size} bytes, but its header promises {pixels.bytes} ({bands} bands x {rows} lines x {columns} "
            f"samples of {pixels.dtype.itemsize} bytes, from byte {offset} on). The file is truncated, or the header is not "
            "that of this file."
        )
    return pixels


def _count(fields: Mapping[str, str], name: str, header: Path, at_least: int = 1, default: int | None = None) -> int:
    text = fields.get(name)
    if text is None and default is not None:
        return default
    if text is None:
        raise InputError(f"{header.name} has no {name!r}, which ENVI requires. Add the line, or use the right header.")
    if not re.fullmatch(r"[+-]?\d{1,15}", text) or int(text) < at_least:
        raise InputError(
            f"{header.name}: {name} = {text[:40]!r} must be a whole number of at least {at_least}. Correct the header."
        )
    return int(text)


def _number(fields: Mapping[str, str], name: str, header: Path) -> float | None:
    if name not in fields:
        return None
    try:
        return float(fields[name])
    except ValueError:
        raise InputError(f"{header.name}: {name} = {fields[name][:40]!r} is not a number. Correct the header.") from None


def _numbers(fields: Mapping[str, str], name: str, notes: list[str]) -> list[float] | None:
    """A list field, or None where it is absent or has other values than numbers (with a note)."""
    if name not in fields:
        return None
    try:
        return [float(v) for v in fields[name].replace("\n", " ").split(",") if v.strip()]
    except ValueError:
        notes.append(f"{name} ignored: not all of its values are numbers")
        return None


def _map(
    fields: Mapping[str, str], rows: int, columns: int, notes: list[str]
) -> tuple[np.ndarray | None, np.ndarray | None, str | None]:
    """x and y of pixel centres and the CRS, from `map info` and `coordinate system string`; three None without a map."""
    info = [v.strip() for v in fields.get("map info", "").split(",")]
    if len(info) < 7:
        return None, None, None
    if info[0].lower() == "arbitrary":
        return None, None, None
    try:
        column, row, east, north, dx, dy = map(float, info[1:7])
    except ValueError:
        notes.append("map info ignored: not all of its numbers can be read")
        return None, None, None
    if not np.isfinite([column, row, east, north, dx, dy]).all():
        notes.append("map info ignored: not all of its numbers are finite")
        return None, None, None
    turn = next((v.split("=")[1].strip() for v in info if v.lower().startswith("rotation")), "0")
    crs = _crs(fields.get("coordinate system string", ""), info)
    if crs is None or dx <= 0 or dy <= 0 or turn.strip("0.-+"):
        notes.append("map info ignored: its coordinate system or rotation is not supported, so x and y count pixels")
        return None, None, None
    # the reference pixel (1, 1) is the upper left corner of the first pixel
    x = east + (np.arange(columns) + 1.5 - column) * dx
    y = north - (np.arange(rows) + 1.5 - row) * dy
    return x, y, crs


def _crs(wkt: str, info: list[str]) -> str | None:
    import pyproj

    if info[0].lower() == "utm" and len(info) > 9 and re.sub(r"\W", "", info[9]).lower() == "wgs84":
        zone = int(info[7]) if re.fullmatch("[0-9]{1,2}", info[7]) else 0
        if 1 <= zone <= 60:
            return f"EPSG:{(32600 if info[8].lower().startswith('n') else 32700) + zone}"
    if wkt:
        try:
            return pyproj.CRS.from_wkt(wkt).to_wkt()
        except pyproj.exceptions.CRSError:
            return None
    if info[0].lower() == "geographic lat/lon":
        return "EPSG:4326"
    return None
