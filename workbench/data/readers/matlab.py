"""MATLAB files: version 5 (`matlab5.py`) and version 7.3 (HDF5, with reversed axes).

Names differ from data set to data set (`data`/`map`, `image`/`mask`, `data`/`groundtruth`), so arrays are chosen by
shape, dtype and name, and a note states the guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.readers import matlab5
from workbench.data.readers.cube import Cube, nanometres, require_cube, size
from workbench.data.readers.files import Look
from workbench.data.readers.hdf5 import Hdf5Pixels, arrays, is_hdf5, shared, values
from workbench.data.readers.truth import as_truth, pick
from workbench.errors import InputError, did_you_mean

_WAVE = re.compile(r"(?i)(wave|lambda|^wl)")


def read_v5(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of a MATLAB 5 file (5 to 7); its pixels are read at once, because the format has no windows."""
    path = look.path
    with _one_error(path):
        variables = matlab5.variables(look.file)
    shapes = {n: v.shape for n, v in variables.items() if not v.kind}
    others = {n: v.kind for n, v in variables.items() if v.kind}

    def load(name: str) -> np.ndarray:
        with _one_error(path):
            return matlab5.load(look.file, variables[name])

    return _cube(path, shapes, others, keys, truth, load, lazy=None)


def read_v73(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of a MATLAB 7.3 file; pixels stay in the file."""
    path = look.path
    with shared(look, "a MATLAB file") as file:
        listed = arrays(look)
        numeric = {n: listed[n] for n, d in _datasets(file) if n in listed}
        shapes = {n: a.shape[::-1] for n, a in numeric.items()}
        others = {n: "struct or cell" for n in file if n not in numeric and not n.startswith("#")}

    def load(name: str) -> np.ndarray:
        with shared(look, "a MATLAB file") as file:
            return values(file[name]).transpose()

    def lazy(name: str, order: tuple[int, int, int]) -> Hdf5Pixels:
        a, b, c = (2 - axis for axis in order)  # HDF5 has MATLAB's axes in reversed order
        return Hdf5Pixels(path.resolve(), name, numeric[name], (a, b, c))

    return _cube(path, shapes, others, keys, truth, load, lazy)


def read_mask(path: Path, key: str | None, shape: tuple[int, int]) -> tuple[np.ndarray, str]:
    """(y, x) values of the truth array in a MATLAB file, and its name."""
    with Look(path) as look:
        if is_hdf5(look):
            with shared(look, "a MATLAB file") as file:
                listed = arrays(look)
                masks = {n: values(d).transpose() for n, d in _datasets(file) if d.ndim == 2 and n in listed}
        else:
            with _one_error(path):
                flat = {n: v for n, v in matlab5.variables(look.file).items() if not v.kind and len(v.shape) == 2}
                masks = {n: matlab5.load(look.file, v) for n, v in flat.items()}
    if key is not None:
        _require_key("truth", key, {n: v.shape for n, v in masks.items()}, path)
        return masks[key], f"{key!r} in {path.name}"
    name, note = pick({n: v.shape for n, v in masks.items()}, shape)
    if name is None and len(masks) == 1:
        (name,) = masks  # of another size: the caller raises the error
    if name is None:
        raise InputError(
            f"{path.name} has no array that is clearly the truth of a scene of {size(shape)} pixels: "
            f"{_list({n: v.shape for n, v in masks.items()})}. {note or 'Name it with the key truth=NAME'}."
        )
    return masks[name], f"{name!r} in {path.name}"


def _cube(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    others: Mapping[str, str],
    keys: Mapping[str, str],
    truth: str | None,
    load: Callable[[str], np.ndarray],
    lazy: Callable[[str, tuple[int, int, int]], Any] | None,
) -> Cube:
    """Choose cube, truth and wavelengths among arrays whose `shapes` are in MATLAB's own order (y, x, band)."""
    notes: list[str] = []
    name = _pick_cube(path, shapes, others, keys, notes)
    flat = {n: s for n, s in shapes.items() if len(s) == 2}
    order, turned = _axes(shapes[name], flat)
    rows, columns = shapes[name][order[1]], shapes[name][order[2]]
    if turned:
        notes.append(f"axes of {name!r} taken as band, y, x, because a 2-D array of the file fits only so")

    if lazy is None:
        values = load(name)
        pixels: Any = values.transpose(order)
    else:
        pixels = lazy(name, order)
    require_cube(pixels.shape, pixels.dtype, f"{path.name} ({name!r})")

    mask = None
    if truth is not None and truth != "none":
        _require_key("truth", truth, flat, path)
        mask, _ = as_truth(load(truth), repr(truth), (rows, columns))
    elif truth is None:
        guess, note = pick({n: s for n, s in flat.items() if n != name}, (rows, columns))
        if guess is not None:
            mask, counted = as_truth(load(guess), repr(guess), (rows, columns))
            note = f"{note}; {counted}"
            if (mask > 0).sum() * 2 > mask.size:
                note = (
                    f"no truth taken: {guess!r} marks more than half of the scene, as masks of valid pixels do; "
                    f"choose it with the key truth={guess}"
                )
                mask = None
        if note:
            notes.append(note)

    wave = None
    named = keys.get("wavelength")
    if named is not None:
        _require_key("wavelength", named, shapes, path)
    else:
        named = next((n for n, s in flat.items() if _WAVE.search(n) and max(s) == pixels.shape[0] and min(s) == 1), None)
    if named is not None:
        wave = nanometres(np.ravel(load(named)).astype(float), "", pixels.shape[0], notes)
    return Cube(pixels=pixels, wavelength=wave, truth=mask, native=getattr(pixels, "native", None), notes=tuple(notes))


def _pick_cube(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    others: Mapping[str, str],
    keys: Mapping[str, str],
    notes: list[str],
) -> str:
    name = keys.get("cube")
    if name is not None:
        _require_key("cube", name, shapes, path)
        if len(shapes[name]) != 3:
            raise InputError(
                f"Array {name!r} in {path.name} is {size(shapes[name])}; a cube has three axes (rows, columns, bands). "
                f"Found: {_list(shapes)}."
            )
        return name
    cubes = [n for n, s in shapes.items() if len(s) == 3 and min(s) > 1]
    if not cubes:
        boxed = f", and {', '.join(f'{n} ({k})' for n, k in others.items())}" if others else ""
        raise InputError(
            f"{path.name} has no 3-D array to take as the cube (rows, columns, bands); found {_list(shapes)}{boxed}. "
            "Save the cube as a plain 3-D array; a matrix of pixel spectra must be reshaped first."
        )
    if len(cubes) > 1:
        raise InputError(
            f"{path.name} has {len(cubes)} arrays that could be the cube: {_list({n: shapes[n] for n in cubes})}. "
            f"Choose one with --key cube={cubes[0]} (in Python: keys={{'cube': {cubes[0]!r}}})."
        )
    notes.append(f"cube: array {cubes[0]!r} ({size(shapes[cubes[0]])}), the only 3-D array in the file")
    return cubes[0]


def _axes(shape: tuple[int, ...], flat: Mapping[str, tuple[int, ...]]) -> tuple[tuple[int, int, int], bool]:
    """Axes of band, y and x: last, first, second, as MATLAB users store them, unless a 2-D array fits only another order."""
    masks = set(flat.values())
    if shape[:2] not in masks and shape[1:] in masks:
        return (0, 1, 2), True
    return (2, 0, 1), False


def _datasets(file: Any) -> Iterator[tuple[str, Any]]:
    import h5py

    for name, item in file.items():
        if isinstance(item, h5py.Dataset) and "MATLAB_empty" not in item.attrs and _is_number(item):
            yield name, item


def _is_number(dataset: Any) -> bool:
    """Numbers, logicals and complex pairs; neither text (stored as uint16) nor references to cells."""
    if dataset.attrs.get("MATLAB_class", b"") in (b"char", b"cell", b"function_handle"):
        return False
    return dataset.dtype.kind in "iufb" or dataset.dtype.kind == "c" or dataset.dtype.names == ("real", "imag")


@contextmanager
def _one_error(path: Path) -> Iterator[None]:
    """Damaged MATLAB files raise several exception types in zlib, NumPy and h5py; they become one InputError."""
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(
            f"{path} does not fit into memory; save it as MATLAB 7.3 or ENVI, which are read in parts."
        ) from None
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a MATLAB file ({error}); it is truncated or damaged, or not a MATLAB file. Get it again."
        ) from None


def _require_key(role: str, name: str, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    if name not in shapes:
        raise InputError(
            f"{path.name} has no array {name!r} for {role}; it has {_list(shapes)}.{did_you_mean(name, shapes)}"
        )


def _list(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{n!r} ({size(s)})" for n, s in shapes.items()) or "no numeric array"
