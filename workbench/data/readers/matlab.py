"""MATLAB files: version 5 (`matlab5.py`) and version 7.3 (HDF5, with reversed axes).

Names differ from data set to data set (`data`/`map`, `image`/`mask`, `data`/`groundtruth`), so arrays are chosen by
shape, dtype and name, and a note states the guess.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.readers import matlab5
from workbench.data.readers.cube import Cube, axes_of, nanometres, require_cube, size
from workbench.data.readers.files import Look
from workbench.data.readers.hdf5 import Hdf5Pixels, arrays, is_hdf5, shared, values
from workbench.data.readers.truth import NAMES, as_truth, pick, too_much
from workbench.errors import InputError, did_you_mean

_WAVE = re.compile(r"(?i)(wave|lambda|^wl)")


def read_v5(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of a MATLAB 5 file (5 to 7); its pixels are read at once, because the format has no windows."""
    path = look.path
    with _one_error(path):
        variables = matlab5.variables(look.file)
    shapes = {n: squeezed(v.shape) for n, v in variables.items() if not v.kind}
    inside = _struct_arrays(look, variables, shapes, [*keys.values(), truth or ""])
    shapes |= {n: squeezed(v.shape) for n, v in inside.items()}
    others = {n: v.kind for n, v in variables.items() if v.kind}

    def load(name: str) -> np.ndarray:
        with _one_error(path):
            found = inside[name] if name in inside else matlab5.load(look.file, variables[name])
            return found.reshape(squeezed(found.shape), order="F")

    return cube_among(path, shapes, others, keys, truth, load, lazy=None)


def _struct_arrays(
    look: Look, variables: Mapping[str, matlab5.Variable], shapes: Mapping[str, tuple[int, ...]], named: list[str]
) -> dict[str, np.ndarray]:
    """The arrays inside structs, "struct.field" -> values: of the structs that a key names, or of all where no plain array is a cube."""
    wanted = {name.replace("/", ".").partition(".")[0] for name in named if "." in name or "/" in name}
    if not wanted and not any(len(s) == 3 for s in shapes.values()):
        wanted = {n for n, v in variables.items() if v.kind == "struct"}
    arrays: dict[str, np.ndarray] = {}
    for name in wanted:
        if name in variables and variables[name].kind == "struct":
            with _one_error(look.path):
                arrays |= matlab5.fields(look.file, variables[name])
    return arrays


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A size without axes of length 1, but with at least two axes.

    >>> squeezed((6, 7, 1)), squeezed((1, 6, 7, 8)), squeezed((1, 9)), squeezed((5, 1, 1))
    ((6, 7), (6, 7, 8), (1, 9), (5, 1))
    """
    kept = list(shape)
    while len(kept) > 2 and 1 in kept:
        del kept[len(kept) - 1 - kept[::-1].index(1)]
    return tuple(kept)


def read_v73(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of a MATLAB 7.3 file; pixels stay in the file. A file that Python wrote with this suffix has Python's axes."""
    path = look.path
    with shared(look, "a MATLAB file") as file:
        listed = arrays(look)
        numeric = {n.replace("/", "."): n for n, d in _datasets(file) if n in listed}
        turned = _written_by_matlab(look, file)
        stored = {n: listed[p].shape for n, p in numeric.items()}
        groups = [n for n in file if n not in listed and not n.startswith("#")]
        others = {n: "sparse" if "MATLAB_sparse" in file[n].attrs else "struct or cell" for n in groups}
        others |= {n: "text" for n in file if n in listed and n.replace("/", ".") not in numeric}
    shapes = {n: squeezed(s[::-1] if turned else s) for n, s in stored.items()}
    if any(len(s) == 3 and "." not in n for n, s in shapes.items()) and not any("." in k or "/" in k for k in keys.values()):
        shapes = {n: s for n, s in shapes.items() if "." not in n}

    def load(name: str) -> np.ndarray:
        with shared(look, "a MATLAB file") as file:
            found = values(file[numeric[name]])
            return (found.transpose() if turned else found).reshape(shapes[name])

    def lazy(name: str, order: tuple[int, int, int]) -> Any:
        array = listed[numeric[name]]
        if len(array.shape) != 3:  # with axes of length 1
            return load(name).transpose(order)
        a, b, c = (2 - axis if turned else axis for axis in order)  # HDF5 has MATLAB's axes in reversed order
        return Hdf5Pixels(path.resolve(), numeric[name], array, (a, b, c))

    cube = cube_among(path, shapes, others, keys, truth, load, lazy)
    if turned or "axes" in keys:
        return cube
    note = (
        "the file was not written by MATLAB: its axes were not reversed, and taken as rows, columns, bands unless a 2-D array fits only "
        "otherwise"
    )
    return replace(cube, notes=(*cube.notes, f"{note}; if the bands come first, say axes=band,y,x"))


def _written_by_matlab(look: Look, file: Any) -> bool:
    """Whether MATLAB, or a program that follows it, wrote a file: its first bytes or the attributes of an array say so."""
    return look.begins(b"MATLAB") or any("MATLAB_class" in item.attrs for item in file.values() if hasattr(item, "attrs"))


def read_mask(path: Path, key: str | None, shape: tuple[int, int] | None) -> tuple[np.ndarray, str]:
    """(y, x) values of the truth array in a MATLAB file, and its name. shape: (rows, columns) of the scene, where known."""
    with Look(path) as look:
        if is_hdf5(look):
            with shared(look, "a MATLAB file") as file:
                listed = arrays(look)
                turned = _written_by_matlab(look, file)
                flat = {n: d for n, d in _datasets(file) if n in listed and len(squeezed(listed[n].shape)) == 2}
                masks = {n.replace("/", "."): values(d).transpose() if turned else values(d) for n, d in flat.items()}
        else:
            with _one_error(path):
                found = matlab5.variables(look.file)
                plain = {n: v for n, v in found.items() if not v.kind and len(squeezed(v.shape)) == 2}
                masks = {n: matlab5.load(look.file, v) for n, v in plain.items()}
                if not masks or "." in (key or "") or "/" in (key or ""):
                    masks |= {
                        n: v for n, v in _struct_arrays(look, found, {}, [key or ""]).items() if len(squeezed(v.shape)) == 2
                    }
    masks = {n: v.reshape(squeezed(v.shape), order="F") for n, v in masks.items()}
    if key is not None:
        key = key.replace("/", ".")
        _require_key("truth", key, {n: v.shape for n, v in masks.items()}, path)
        return masks[key], f"{key!r} in {path.name}"
    name, note = (None, "") if shape is None else pick({n: v.shape for n, v in masks.items()}, shape)
    if name is None and len(masks) == 1:
        (name,) = masks  # of another size: the caller raises the error
    if name is None:
        raise InputError(
            f"{path.name} has no array that is clearly the truth{'' if shape is None else f' of a scene of {size(shape)} pixels'}: "
            f"{_list({n: v.shape for n, v in masks.items()})}. {note or 'Name it with the key truth=NAME'}."
        )
    return masks[name], f"{name!r} in {path.name}"


def cube_among(
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
    keys = {role: name.replace("/", ".") if role in ("cube", "wavelength") else name for role, name in keys.items()}
    truth = None if truth is None else truth.replace("/", ".")
    name = _pick_cube(path, shapes, others, keys, notes)
    flat = {n: s for n, s in shapes.items() if len(s) == 2}
    waves = {n: max(s) for n, s in shapes.items() if _WAVE.search(n) and len(s) in (1, 2) and 1 < max(s) == math.prod(s)}
    order, why = (axes_of(keys["axes"]), "") if "axes" in keys else _axes(shapes[name], flat, waves)
    rows, columns = shapes[name][order[1]], shapes[name][order[2]]
    if why:
        notes.append(f"axes of {name!r} taken as {why}")

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
            if refused := too_much(guess, mask):
                note, mask = refused, None
        if note:
            notes.append(note)

    if truth is None and mask is None:
        notes += [
            f"no truth taken: {n!r} is sparse, which this version of the format keeps in parts; save it as full({n})"
            for n, kind in others.items()
            if kind == "sparse" and NAMES.search(n)
        ]
    wave = None
    named = keys.get("wavelength")
    notes += [f"wavelengths ignored: {n!r} is {kind}" for n, kind in others.items() if named is None and _WAVE.search(n)]
    if named is not None:
        _require_key("wavelength", named, shapes, path)
    else:
        named = next((n for n, count in waves.items() if count == pixels.shape[0]), None)
        if waves and named is None:
            lost, count = next(iter(waves.items()))
            notes.append(f"wavelengths ignored: {lost!r} holds {count} for {pixels.shape[0]} bands")
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
    cubes = [n for n in cubes if "." not in n] or cubes
    if not cubes:
        boxed = f", and {', '.join(f'{n} ({k})' for n, k in others.items())}" if others else ""
        raise InputError(
            f"{path.name} has no 3-D array to take as the cube (rows, columns, bands); found {_list(shapes)}{boxed}. "
            "Save the cube as a plain 3-D array, or name a field of a struct (--key cube=struct.field); a matrix of pixel "
            "spectra must be reshaped "
            "first."
        )
    if len(cubes) > 1:
        raise InputError(
            f"{path.name} has {len(cubes)} arrays that could be the cube: {_list({n: shapes[n] for n in cubes})}. "
            f"Choose one with --key cube={cubes[0]} (in Python: keys={{'cube': {cubes[0]!r}}})."
        )
    notes.append(f"cube: array {cubes[0]!r} ({size(shapes[cubes[0]])}), the only 3-D array in the file")
    return cubes[0]


def _axes(
    shape: tuple[int, ...], flat: Mapping[str, tuple[int, ...]], waves: Mapping[str, int]
) -> tuple[tuple[int, int, int], str]:
    """Axes of band, y and x, and a note where that was not sure: last, first, second, as MATLAB users store them, unless a 2-D array or the
    number of wavelengths fits only with the bands first.
    """
    masks = {s for n, s in flat.items() if n not in waves}
    if shape[:2] not in masks and shape[1:] in masks:
        return (0, 1, 2), "band, y, x, because a 2-D array of the file fits only so"
    if shape[:2] in masks or shape[2] in waves.values():
        return (2, 0, 1), ""
    if shape[0] in waves.values():
        return (0, 1, 2), f"band, y, x, because the file has {shape[0]} wavelengths"
    return (2, 0, 1), "rows, columns, bands, as MATLAB users store them; if the bands come first, say axes=band,y,x"


def _datasets(file: Any, above: str = "", depth: int = 4) -> Iterator[tuple[str, Any]]:
    """Path and dataset of the numeric arrays of a file, also in groups (structs)."""
    import h5py

    for name in file:
        if name.startswith("#") or isinstance(file.get(name, getlink=True), h5py.SoftLink | h5py.ExternalLink):
            continue
        item = file[name]
        if isinstance(item, h5py.Dataset) and "MATLAB_empty" not in item.attrs and _is_number(item):
            yield above + name, item
        elif isinstance(item, h5py.Group) and depth:
            yield from _datasets(item, f"{above}{name}/", depth - 1)


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
