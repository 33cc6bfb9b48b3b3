"""NumPy archives (.npz): named arrays in a zip; the cube, its truth and its wavelengths are chosen as in a MATLAB file."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from workbench.data.readers.cube import Cube, size
from workbench.data.readers.files import Look
from workbench.data.readers.matlab import cube_among, squeezed
from workbench.data.readers.truth import pick
from workbench.errors import InputError, did_you_mean

MOST = 1000  # arrays of one archive
LARGEST = 16 * 2**30  # bytes of one array
RATIO = 1100  # unpacked to packed: deflate reaches 1032


def sees(look: Look) -> bool:
    """Whether a file is a zip whose members are all NPY arrays."""
    if look.kind != "ZIP":
        return False
    try:
        with zipfile.ZipFile(look.path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return look.suffix == ".npz"
    return bool(names) and all(name.endswith(".npy") for name in names)


def read(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of an archive, axes rows, columns, bands unless a 2-D array or the key `axes` says otherwise; read at once."""
    shapes, kinds = _listed(look.path)
    others = {n: str(kinds[n]) for n in shapes if kinds[n].kind not in "iufbc"}
    numeric = {n: squeezed(s) for n, s in shapes.items() if n not in others}
    return cube_among(
        look.path, numeric, others, keys, truth, lambda name: _load(look.path, name).reshape(numeric[name]), None
    )


def read_mask(path: Path, key: str | None, shape: tuple[int, int] | None) -> tuple[np.ndarray, str]:
    """(y, x) values of the truth array of an archive, and its name."""
    shapes, _ = _listed(path)
    flat = {n: squeezed(s) for n, s in shapes.items() if len(squeezed(s)) == 2}
    if key is not None and key not in flat:
        raise InputError(
            f"{path.name} has no array {key!r} for truth; it has {', '.join(flat) or 'none'}.{did_you_mean(key, flat)}"
        )
    name = key or (None if shape is None else pick(flat, shape)[0]) or (next(iter(flat)) if len(flat) == 1 else None)
    if name is None:
        sizes = ", ".join(f"{n!r} ({size(s)})" for n, s in flat.items()) or "no 2-D array"
        raise InputError(f"{path.name} has no array that is clearly the truth: {sizes}. Name it with the key truth=NAME.")
    return _load(path, name).reshape(flat[name]), f"{name!r} in {path.name}"


def _listed(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, np.dtype]]:
    """Name -> size, and name -> dtype, of the arrays, from their headers."""
    from workbench.data.readers.npy import header

    shapes: dict[str, tuple[int, ...]] = {}
    kinds: dict[str, np.dtype] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MOST:
                raise ValueError(f"it has {len(members)} members")
            for member in members:
                with archive.open(member) as file:
                    shape, _, dtype, begin = header(file)
                promised = begin + math.prod(shape) * dtype.itemsize
                if promised != member.file_size or promised > LARGEST or promised > RATIO * member.compress_size + 2**16:
                    raise ValueError(
                        f"{member.filename} promises {promised} bytes and holds {member.file_size}, packed {member.compress_size}"
                    )
                name = member.filename.removesuffix(".npy")
                shapes[name], kinds[name] = shape, dtype
    except Exception as error:  # zipfile, zlib and NumPy raise many exception types on a damaged file
        raise _damaged(path, error) from None
    return shapes, kinds


def _load(path: Path, name: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except MemoryError:
        raise InputError(f"{path} does not fit into memory; save it as NPY or ENVI, which are read in parts.") from None
    except Exception as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read as NPZ ({error}); it is truncated or damaged, or holds Python objects. Get it again."
    )
