"""MATLAB 5 files (also called 6 and 7): the list of arrays and their numbers, checked against the size of the file.

The layout is that of MathWorks, "MAT-File Format", chapter 1: a header of 128 bytes, then elements of type, length and
data, each padded to 8 bytes; a compressed element holds one more element. Only numeric arrays are read, also in structs. scipy reads
the same files, but a wrong type code in a damaged file crashes the process there, which a server that opens
uploaded files must avoid.
"""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_NUMERIC = range(6, 16)  # double, single, and the integers
_SPARSE = 5
_DENSE = 2**27  # values of a sparse array that is filled in
_CLASSES = {1: "cell", 2: "struct", 3: "object", 4: "text", 16: "function", 17: "object"}
_COMPLEX = 0x08
_HEADER = 128
_MOST_FIELDS = 4096  # of one struct
_DEFLATE = 1032  # bytes that one packed byte can hold at most
_FRONT = 1024  # bytes that always contain flags, dims and name


class Damaged(ValueError):
    """The file contradicts its own size or type fields."""


@dataclass(frozen=True)
class Variable:
    """One array: the position of its element in the file, and its flags, dims and name. `kind` is "" for a numeric array, also a
    sparse one.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    is_complex: bool
    begin: int
    length: int
    compressed: bool
    order: str


def variables(file: BinaryIO) -> dict[str, Variable]:
    """Name -> array, in the order of the open file. Raises Damaged where an element does not fit into the file."""
    arrays: dict[str, Variable] = {}
    file.seek(0)
    header = file.read(_HEADER)
    order = {b"IM": "<", b"MI": ">"}.get(header[126:128], "")
    if not order:
        raise Damaged(
            "it is of MATLAB version 4: save it with save -v7" if _is_version_4(header) else "it has no MATLAB 5 header"
        )
    end = os.fstat(file.fileno()).st_size
    at = _HEADER
    while at < end:
        file.seek(at)
        kind, length, at = *_tag(file.read(8), order), at + 8
        if at + length > end:
            raise Damaged(f"an array of {length} bytes begins at byte {at}, but the file ends at {end}")
        if kind in (_MATRIX, _COMPRESSED):
            variable = _front(file, at, length, kind == _COMPRESSED, order)
            if variable.name:
                arrays[variable.name] = variable
        at += length
    return arrays


def _is_version_4(header: bytes) -> bool:
    """Whether a file begins as MATLAB 4 does: with a code of four digits, rows, columns, and whether it is complex."""
    if len(header) < 20:
        return False
    for order in "<>":
        code, rows, columns, is_complex, name = (int(n) for n in np.frombuffer(header[:20], f"{order}i4"))
        digits = code // 1000, code // 100 % 10, code // 10 % 10, code % 10
        if digits[0] in (0, 1) and digits[1] == 0 and digits[2] <= 5 and digits[3] <= 2 and code >= 0:
            return min(rows, columns) > 0 and is_complex in (0, 1) and 1 < name < 256
    return False


def load(file: BinaryIO, variable: Variable) -> np.ndarray:
    """The numbers of a numeric array of an open file in MATLAB's axis order, in the dtype they are stored in (often smaller
    than double).
    """
    return _array(_content(file, variable), variable)


def fields(file: BinaryIO, variable: Variable, depth: int = 4) -> dict[str, np.ndarray]:
    """The numeric arrays in a struct of one element, and in the structs inside it: "struct.field" -> numbers, as `load` gives them.

    Text, cells and structs of several elements are left out. Raises Damaged as `load`.
    """
    found: dict[str, np.ndarray] = {}
    _walk(_content(file, variable), variable.name, variable.order, depth, found)
    return found


def _walk(data: bytes | memoryview, name: str, order: str, depth: int, found: dict[str, np.ndarray]) -> None:
    if not len(data):  # an empty field
        return
    flags, shape, _, at = _describe(data, order)
    kind = flags & 0xFF
    if kind in _NUMERIC or kind == _SPARSE:
        found[name] = _array(data, Variable(name, shape, "", bool(flags >> 8 & _COMPLEX), 0, len(data), False, order))
    if kind != 2 or math.prod(shape) != 1 or depth < 1:
        return
    _, width, at = _element(data, at, order)
    _, names, at = _element(data, at, order)
    each = int(np.frombuffer(bytes(width)[:4].ljust(4, b"\0"), f"{order}i4")[0])
    if not 1 <= each <= 64 or len(names) > each * _MOST_FIELDS:
        raise Damaged(f"{name!r} has field names of {each} bytes")
    for i in range(len(names) // each):
        kind_of, inner, at = _element(data, at, order)
        if kind_of != _MATRIX:
            raise Damaged(f"{name!r} has a field of the type {kind_of}")
        word = bytes(names[i * each : (i + 1) * each]).partition(b"\0")[0].decode("latin-1")
        _walk(inner, f"{name}.{word}", order, depth - 1, found)


def _content(file: BinaryIO, variable: Variable) -> bytes:
    """The bytes of an array after its tag, unpacked."""
    file.seek(variable.begin)
    data = file.read(variable.length)
    if not variable.compressed:
        return data
    unpack = zlib.decompressobj()
    _, promised = _tag(unpack.decompress(data, 8), variable.order)
    if promised > _DEFLATE * variable.length:
        raise Damaged(f"{variable.name!r} promises {promised} bytes, more than {variable.length} can be unpacked to")
    data = unpack.decompress(unpack.unconsumed_tail, promised or 1)
    if len(data) < promised:
        raise Damaged(f"{variable.name!r} unpacks to {len(data)} bytes of {promised}")
    if promised and not unpack.eof and (unpack.decompress(unpack.unconsumed_tail, 1) or not unpack.eof):
        raise Damaged(
            f"{variable.name!r} does not end where it should"
        )  # zlib checks the checksum only at the end of the stream
    return data


def _array(data: bytes | memoryview, variable: Variable) -> np.ndarray:
    flags, *_, at = _describe(data, variable.order)
    if flags & 0xFF == _SPARSE:
        return _filled(data, at, variable)
    values, at = _numbers(data, at, variable)
    if variable.is_complex:
        imaginary, _ = _numbers(data, at, variable)
        values = values + 1j * imaginary
    return values.reshape(variable.shape, order="F")


def _filled(data: bytes | memoryview, at: int, variable: Variable) -> np.ndarray:
    """The full array of a sparse one: rows of the values, first value of each column, values."""
    if len(variable.shape) != 2 or math.prod(variable.shape) > _DENSE or variable.is_complex:
        raise Damaged(f"{variable.name!r} is sparse and complex or too large to be filled in; save it as full")
    _, rows, at = _element(data, at, variable.order)
    _, starts, at = _element(data, at, variable.order)
    kind, values, _ = _element(data, at, variable.order)
    row, start = (np.frombuffer(part[: len(part) // 4 * 4], f"{variable.order}i4") for part in (rows, starts))
    high, wide = variable.shape
    count = int(start[-1]) if start.size else 0
    numbers = np.dtype(variable.order + _NUMBERS.get(kind, "u1"))
    if len(values) < count * numbers.itemsize and len(values) >= count:
        numbers = np.dtype("u1")  # MATLAB stores logical values as bytes and calls them double
    fits = start.size == wide + 1 and count <= row.size and count * numbers.itemsize <= len(values)
    if not fits or start[0] != 0 or (np.diff(start) < 0).any() or (row[:count] < 0).any() or (row[:count] >= high).any():
        raise Damaged(f"{variable.name!r} is sparse, and its rows and columns do not fit its size")
    full = np.zeros(variable.shape, numbers.newbyteorder("="), order="F")
    full[row[:count], np.repeat(np.arange(wide), np.diff(start))] = np.frombuffer(values, numbers, count)
    return full


def _front(file: BinaryIO, at: int, length: int, compressed: bool, order: str) -> Variable:
    """Flags, dims and name, from the first bytes of an element."""
    data = file.read(min(length, _FRONT))
    if compressed:
        data = zlib.decompressobj().decompress(data, _FRONT)
        kind, _ = _tag(data, order)
        if kind != _MATRIX:
            return Variable("", (), "", False, at, length, compressed, order)
        data = data[8:]
    flags, shape, name, _ = _describe(data, order)
    kind_of = "" if flags & 0xFF in _NUMERIC or flags & 0xFF == _SPARSE else _CLASSES.get(flags & 0xFF, "unknown")
    return Variable(name, shape, kind_of, bool(flags >> 8 & _COMPLEX), at, length, compressed, order)


def _describe(data: bytes | memoryview, order: str) -> tuple[int, tuple[int, ...], str, int]:
    """Flags, dims, name, and the offset of the numbers."""
    kind, flags, at = _element(data, 0, order)
    if kind != 6 or len(flags) < 4:
        raise Damaged("an array has no flags")
    kind, dims, at = _element(data, at, order)
    shape = tuple(int(n) for n in np.frombuffer(dims[: len(dims) // 4 * 4], f"{order}i4"))
    if kind != 5 or len(shape) < 2 or min(shape) < 0:
        raise Damaged(f"an array has the size {shape}")
    _, name, at = _element(data, at, order)
    return int(np.frombuffer(flags[:4], f"{order}u4")[0]), shape, bytes(name).decode("latin-1"), at


def _numbers(data: bytes | memoryview, at: int, variable: Variable) -> tuple[np.ndarray, int]:
    kind, values, at = _element(data, at, variable.order)
    if kind not in _NUMBERS:
        raise Damaged(f"{variable.name!r} has numbers of the unknown type {kind}")
    dtype = np.dtype(variable.order + _NUMBERS[kind])
    count = math.prod(variable.shape)
    if len(values) != count * dtype.itemsize:
        raise Damaged(f"{variable.name!r} holds {len(values)} bytes, its size promises {count * dtype.itemsize}")
    return np.frombuffer(values, dtype).astype(dtype.newbyteorder("="), copy=False), at


def _element(data: bytes | memoryview, at: int, order: str) -> tuple[int, memoryview, int]:
    """Type, data and the offset of the next element; up to 4 bytes of data are packed into the tag itself."""
    kind, length = _tag(data[at : at + 8], order)
    small = kind >> 16
    if small:
        kind, length, begin, after = kind & 0xFFFF, small, at + 4, at + 8
    else:
        begin, after = at + 8, at + 8 + (length + 7) // 8 * 8
    if begin + length > len(data) or small > 4:
        raise Damaged(f"an element of {length} bytes begins at byte {begin} of {len(data)}")
    return kind, memoryview(data)[begin : begin + length], after


def _tag(data: bytes | memoryview, order: str) -> tuple[int, int]:
    if len(data) < 8:
        raise Damaged("it ends within the description of an array")
    kind, length = np.frombuffer(data[:8], f"{order}u4")
    return int(kind), int(length)
