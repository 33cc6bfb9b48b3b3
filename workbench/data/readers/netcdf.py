"""NetCDF and plain HDF5: scenes that the workbench wrote (`hsi`, `truth`), or any file with one 3-D variable.

Its axes are found by CF names, and by what the rest of the file says (`tree.py`).
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.readers import hdf5
from workbench.data.readers.cube import Cube, axes_of, nanometres, require_cube, size, widths
from workbench.data.readers.files import Look
from workbench.data.readers.missing import impossible
from workbench.data.readers.tree import MASKS, Around, around, role_of
from workbench.data.readers.truth import as_truth, pick, too_much
from workbench.errors import InputError, did_you_mean
from workbench.scene import PROVENANCE

_QUIET = threading.Lock()
CLASSIC = b"CDF"  # first bytes of NetCDF 3 files
_PACKING = ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned")


@dataclass(frozen=True)
class VariablePixels:
    """A variable of a Dataset that xarray opened without dask, as (band, y, x): decoded, read by windows."""

    variable: Any

    ndim = 3

    @property
    def shape(self) -> tuple[int, ...]:
        """Size (band, y, x)."""
        return tuple(self.variable.shape)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the decoded values."""
        return np.dtype(self.variable.dtype)

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        return np.array(self.variable[window].values)


@dataclass(frozen=True)
class DecodedPixels:
    """Packed values of an HDF5 file as (band, y, x): unpacked, scaled and masked as CF and xarray do."""

    packed: hdf5.Hdf5Pixels
    dtype: np.dtype
    about: Mapping[str, Any]

    ndim = 3

    @property
    def shape(self) -> tuple[int, ...]:
        """Size (band, y, x)."""
        return self.packed.shape

    @property
    def flat(self) -> bool:
        """Whether any row can be read by itself."""
        return self.packed.flat

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        import xarray as xr

        raw = xr.Variable(("band", "y", "x"), self.packed[window], dict(self.about))
        decoded = xr.conventions.decode_cf_variable("pixels", raw, decode_times=False)
        return np.array(decoded.values, self.dtype)


@dataclass(frozen=True)
class MaskedPixels:
    """Pixels (band, y, x) as float32, NaN where a plane (y, x) of the file is not 0."""

    pixels: Any
    hidden: hdf5.Hdf5Plane

    ndim = 3
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size (band, y, x)."""
        return tuple(self.pixels.shape)

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        out = np.asarray(self.pixels[window], np.float32)
        out[:, self.hidden[window[1], window[2]] != 0] = np.nan
        return out


def _only_cube(file: Any) -> str:
    cubes = [str(n) for n, v in file.data_vars.items() if _cubic(v.shape) and v.dtype.kind in "iuf"]
    return "hsi" if "hsi" in file else cubes[0] if len(cubes) == 1 else ""


def _cubic(shape: Sequence[int]) -> bool:
    """Whether an array has three axes, or more of which the others have length 1."""
    return len(shape) >= 3 and sum(n > 1 for n in shape) == 3


def _without_single(file: Any) -> Any:
    """The Dataset without the axes of length 1 of arrays of more than three axes, such as one time."""
    single = {d for v in file.variables.values() if v.ndim > 3 and _cubic(v.shape) for d in v.dims if file.sizes[d] == 1}
    return file.isel(dict.fromkeys(single, 0), drop=True) if single else file


def read(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of a NetCDF or HDF5 file: the variable `hsi`, or the only 3-D one; packed values and fill values are decoded.

    Where the cube is in a group, `keys={"cube": "group/name"}` names it; the only 3-D array of a file is found in any group.
    """
    path = look.path
    if look.begins(CLASSIC):
        return from_dataset(path, _open(look), keys, truth)
    arrays = hdf5.arrays(look, "NetCDF")
    group, keys = _group(path, keys, arrays)

    def packed(variable: Any, dims: tuple[str, ...]) -> Any:
        name = f"{group}/{variable.name}".lstrip("/")
        if len(arrays[name].shape) > 3:
            return VariablePixels(variable.transpose(*dims).variable)
        a, b, c = (list(map(str, variable.dims)).index(d) for d in dims)
        about = {k: v for k, v in variable.encoding.items() if k in _PACKING}
        if beside is not None and beside.fill is not None and not {"_FillValue", "missing_value"} & set(about):
            about["_FillValue"] = np.asarray(beside.fill, arrays[name].dtype)
        pixels = hdf5.Hdf5Pixels(path.resolve(), name, arrays[name], (a, b, c))
        decoded = np.dtype(variable.dtype)
        if "_FillValue" in about and decoded.kind in "iu":  # NaN needs a float
            decoded = np.dtype(np.float32 if decoded.itemsize < 3 else np.float64)
        return DecodedPixels(pixels, decoded, about)

    dataset = _open(look, group)
    named = keys.get("cube") or _only_cube(dataset)
    stored = f"{group}/{named}".lstrip("/") if named else ""
    beside = around(look, arrays, stored) if stored in arrays and len(arrays[stored].shape) == 3 else None
    return from_dataset(path, dataset, keys, truth, packed, beside)


def _group(path: Path, keys: Mapping[str, str], arrays: Mapping[str, hdf5.Array]) -> tuple[str, dict[str, str]]:
    """The group that holds the cube, "" for the root of the file, and the keys relative to it."""
    cubes = [n for n, a in arrays.items() if _cubic(a.shape) and a.dtype.kind in "iufb"]
    named = keys.get("cube", "").strip("/")
    if "/" in named:
        if named not in arrays:
            _require(named, {n: arrays[n].shape for n in cubes}, path, "cube")
        chosen = named
    elif not named and len(cubes) == 1:
        (chosen,) = cubes
    elif not named and cubes and all("/" in n for n in cubes):
        raise InputError(
            f"{path.name} has {len(cubes)} arrays that could be the cube: {_list({n: arrays[n].shape for n in cubes})}. "
            f"Choose one with --key cube={cubes[0]} (in Python: keys={{'cube': {cubes[0]!r}}})."
        )
    else:
        return "", dict(keys)
    group, _, name = chosen.rpartition("/")
    return group, {**keys, "cube": name} if group or named else dict(keys)


def from_dataset(
    path: Path,
    file: Any,
    keys: Mapping[str, str],
    truth: str | None,
    pixels: Callable[[Any, tuple[str, ...]], Any] | None = None,
    beside: Around | None = None,
) -> Cube:
    """The cube of a Dataset that xarray opened without dask. pixels: (variable, dims) -> its pixels in that order. beside: what
    the file says in other groups.
    """
    notes: list[str] = []
    beside, file = beside or Around(), _without_single(file)
    names = {str(n): tuple(v.shape) for n, v in file.variables.items()}
    name = _pick_cube(path, file, keys, names, notes)
    cube = file[name]
    require_cube(tuple(cube.shape), np.dtype(cube.dtype), f"{path.name} ({name!r})")
    if len(set(cube.dims)) < cube.ndim:
        raise InputError(
            f"{path.name}: the variable {name!r} has the dimensions {', '.join(map(str, cube.dims))}, one of them twice; "
            "a cube has three different ones. The file may be damaged."
        )
    cube = cube.transpose(*_order(file, name, notes, beside, keys.get("axes")))
    native = cube.encoding.get("chunksizes") or cube.encoding.get("chunks")
    band, y, x = map(str, cube.dims)
    carried = {k: file.attrs[k] for k in PROVENANCE if k in file.attrs and k != "sha256"}

    mask = None
    flat = {n: v for n, v in file.data_vars.items() if sorted(map(str, v.dims)) == sorted((y, x))}
    if truth is not None and truth != "none":
        _require(truth, names, path, "truth")
        chosen = file[truth].transpose(y, x) if truth in flat else file[truth]
        mask, _ = as_truth(chosen.values, repr(truth), cube.shape[1:])
    elif truth is None:
        shapes = {str(n): (cube.sizes[y], cube.sizes[x]) for n in flat}
        guess, note = ("truth", "") if "truth" in shapes else pick(shapes, cube.shape[1:])
        if guess is not None:
            mask, _ = as_truth(file[guess].transpose(y, x).values, repr(guess), cube.shape[1:])
            if note and (refused := too_much(guess, mask)):
                note, mask = refused, None
        if note:
            notes.append(note)

    wave = None
    named = keys.get("wavelength")
    if named is not None:
        _require(named, names, path, "wavelength")
    else:
        named = next((str(n) for n, v in file.variables.items() if v.dims == (band,) and _is_wavelength(str(n), v)), None)
    if named is not None:
        try:
            numbers = file[named].values.astype(float).ravel()
        except (TypeError, ValueError):  # text, dates
            if "wavelength" in keys:
                raise InputError(f"{path.name}: the variable {named!r} does not hold numbers; name another one.") from None
            notes.append(f"wavelengths ignored: {named!r} does not hold numbers")
        else:
            wave = nanometres(numbers, str(file[named].attrs.get("units", "")), cube.shape[0], notes)
    elif beside.wavelength is not None and beside.wavelength.size == cube.shape[0]:
        wave = nanometres(beside.wavelength, beside.unit, cube.shape[0], notes)
        notes += beside.notes
    stored = {str(d): i for i, d in enumerate(file[name].dims)}
    coords = {}
    for role, words in (("latitude", ("latitude", "lat")), ("longitude", ("longitude", "lon"))):
        path_of = next((beside.flat[w] for w in words if w in beside.flat), None)
        if path_of is not None and pixels is not None and stored[y] < stored[x]:
            plane = hdf5.Hdf5Plane(path.resolve(), path_of, hdf5.Array((cube.shape[1], cube.shape[2]), np.dtype("f8"), None))
            coords[role] = (
                ("y", "x"),
                plane.lazy(),
                {"units": f"degrees_{'north' if role == 'latitude' else 'east'}", "standard_name": role},
            )
    good = _of_bands(file, "good", band)
    good = None if good is None else good.astype(bool)
    if good is None and beside.good is not None and beside.good.size == cube.shape[0]:
        good = beside.good != 0
        if not good.all():
            notes.append(f"{int((~good).sum())} of {good.size} bands are marked bad in the file")
    fwhm = _of_bands(file, "fwhm", band)
    if fwhm is None and wave is not None and beside.fwhm is not None and beside.fwhm.size == cube.shape[0]:
        fwhm = widths(beside.fwhm, wave, beside.wavelength if beside.wavelength is not None else wave)
    taken: Any = VariablePixels(cube.variable) if pixels is None else pixels(file[name], (band, y, x))
    hidden = next((beside.flat[n] for n in MASKS if n in beside.flat), None)
    if hidden is not None and pixels is not None and stored[y] < stored[x]:
        taken = MaskedPixels(
            taken, hdf5.Hdf5Plane(path.resolve(), hidden, hdf5.Array((cube.shape[1], cube.shape[2]), np.dtype("u1"), None))
        )
        notes.append(f"pixels are missing where {hidden} is not 0")
    notes += [*_unapplied(file[name].attrs, beside.attrs), *_impossible(file[name])]
    if beside.fill is not None and pixels is not None and not {"_FillValue", "missing_value"} & set(file[name].encoding):
        notes.append(f"stored values of {beside.fill:g} are missing: it is the fill value with which the array was made")
    crs = _crs(file) or beside.crs
    columns, rows = _axis(file, x, beside, stored[x]), _axis(file, y, beside, stored[y])
    if (columns is None or rows is None) and beside.transform is not None:
        west, right, _, north, _, down = beside.transform
        columns = west + (np.arange(cube.sizes[x]) + 0.5) * right
        rows = north + (np.arange(cube.sizes[y]) + 0.5) * down
    counted = _counts(columns, x) and _counts(rows, y)
    if crs is not None and (columns is None or rows is None or counted):
        table = next((n for n in beside.arrays if "lookup" in n.lower() or "glt" in n.lower()), None)
        notes.append(
            "the file has a map, but no coordinates for the rows and columns of the cube, so x and y count pixels"
            + (f"; its lookup table ({table.rpartition('/')[0] or table}) is not applied" if table else "")
        )
        crs = None
    return Cube(
        pixels=taken,
        native=None if native is None else _turned(native, file[name].dims, cube.dims),
        wavelength=wave,
        fwhm=fwhm,
        good=good,
        x=columns,
        y=rows,
        crs=crs,
        coords=coords,
        truth=mask,
        notes=tuple(notes),
        attrs=carried,
    )


def _of_bands(file: Any, name: str, band: str) -> np.ndarray | None:
    """The numbers of a variable along the bands; None where there is none."""
    known = name in file.variables and file[name].dims == (band,) and file[name].dtype.kind in "iufb"
    return file[name].values if known else None


def _turned(native: Any, stored: Any, dims: Any) -> tuple[int, int, int]:
    """Block sizes in the order band, y, x, from the order of the file."""
    sizes = dict(zip(stored, native, strict=True))
    band, y, x = (int(sizes[d]) for d in dims)
    return band, y, x


def read_mask(path: Path, key: str | None, shape: tuple[int, int] | None) -> tuple[np.ndarray, str]:
    """(y, x) values of the truth variable in a NetCDF file, and its name."""
    with Look(path) as look, _open(look) as file:
        shapes = {str(n): tuple(v.shape) for n, v in file.data_vars.items()}
        if key is not None:
            _require(key, shapes, path, "truth")
        name = key or ("truth" if "truth" in shapes else (None if shape is None else pick(shapes, shape)[0]))
        if name is None:
            raise InputError(
                f"{path.name} has no variable that is clearly the truth{'' if shape is None else f' of a scene of {size(shape)} pixels'}: "
                f"{_list(shapes)}. Name it with the key truth=NAME."
            )
        return file[name].values, f"{name!r} in {path.name}"


def _open(look: Look, group: str = "") -> Any:
    import xarray as xr

    path = look.path
    options: dict[str, Any] = {"engine": "scipy"} if look.begins(CLASSIC) else {"engine": "h5netcdf", "phony_dims": "access"}
    if group:
        options["group"] = group
    try:
        with (
            _QUIET,
            warnings.catch_warnings(),
        ):  # warning filters are global to the process; dask opens files in many threads
            warnings.simplefilter("ignore", UserWarning)  # a grid mapping in a group above
            return decoded(xr.open_dataset(path, decode_cf=False, cache=False, **options))
    except Exception as error:  # damaged files raise many exception types in h5py, scipy and xarray
        raise InputError(
            f"{path} cannot be read as NetCDF ({type(error).__name__}: {error}); it is truncated, damaged or "
            "of another format."
        ) from None


def decoded(file: Any) -> Any:
    """A Dataset that was opened as stored, with packing and fill values applied as CF says; also numbers that stand there as text.

    A scale with one number for each band, which CF does not know, keeps the values as stored (the notes tell it).
    """
    import xarray as xr

    for variable in file.variables.values():
        attrs = variable.attrs
        for key in (k for k in ("scale_factor", "add_offset", "_FillValue", "missing_value") if k in attrs):
            value = np.asarray(attrs[key])
            if key in ("scale_factor", "add_offset") and value.size > 1:
                attrs[f"{key}s"] = attrs.pop(key)
            elif value.dtype.kind in "SUO" and value.size == 1 and variable.dtype.kind in "iuf":
                try:
                    attrs[key] = float(hdf5.text(value))
                except ValueError:
                    attrs[f"{key.strip('_').lower()}_as_text"] = attrs.pop(key)
    return xr.decode_cf(file, decode_coords="all", decode_times=False)


def _impossible(variable: Any) -> list[str]:
    """A note on a fill value that the type of the stored numbers cannot hold."""
    about = variable.encoding
    if "_Unsigned" in about or "dtype" not in about:
        return []
    for key in ("_FillValue", "missing_value"):
        value = np.asarray(about.get(key, 0))
        if value.size == 1 and value.dtype.kind in "iuf" and (told := impossible(float(value), np.dtype(about["dtype"]))):
            return told
    return []


def _pick_cube(
    path: Path, file: Any, keys: Mapping[str, str], names: Mapping[str, tuple[int, ...]], notes: list[str]
) -> str:
    name = keys.get("cube")
    if name is not None:
        _require(name, names, path, "cube")
        return name
    if "hsi" in file:
        return "hsi"
    cubes = [str(n) for n, v in file.data_vars.items() if _cubic(v.shape) and v.dtype.kind in "iufbc"]
    if not cubes:
        raise InputError(f"{path.name} has no 3-D variable to take as the cube; found {_list(names)}.")
    if len(cubes) > 1:
        raise InputError(
            f"{path.name} has {len(cubes)} variables that could be the cube: {_list({n: names[n] for n in cubes})}. "
            f"Choose one with --key cube={cubes[0]} (in Python: keys={{'cube': {cubes[0]!r}}})."
        )
    notes.append(f"cube: variable {cubes[0]!r} ({size(names[cubes[0]])}), the only 3-D one in the file")
    return cubes[0]


def _order(file: Any, name: str, notes: list[str], beside: Around, given: str | None = None) -> list[str]:
    """The dims of a variable as band, y, x: as the user says, by name, else by the axis with wavelengths or without the 2-D arrays of the
    file, else in the order of the file.
    """
    dims = list(map(str, file[name].dims))
    if given is not None:
        return [dims[i] for i in axes_of(given)]
    roles = {d: role_of(d) for d in dims}
    if "band" not in roles.values():
        for n, v in file.variables.items():
            if len(v.dims) == 1 and str(v.dims[0]) in dims and _is_wavelength(str(n), v):
                roles[str(v.dims[0])] = "band"
    if "band" not in roles.values() and beside.band is not None:
        roles[dims[beside.band]] = "band"
    known = list(filter(None, roles.values()))
    if len(set(known)) == len(known) and len(known) >= 2:
        rest = "".join({"band", "y", "x"} - set(known))  # the one role left over, if any
        named = {role or rest: d for d, role in roles.items()}
        if rest == "band":
            notes.append(
                f"the axis {named['band']!r} was taken as the bands, because the others are {named['y']!r} and {named['x']!r}"
            )
        return [named["band"], named["y"], named["x"]]
    if known.count("band") == 1:
        band = next(d for d, role in roles.items() if role == "band")
        return [band, *(d for d in dims if d != band)]
    sizes = [int(n) for n in file[name].shape]
    notes.append(
        f"axes of {name!r} ({size(sizes)}) taken as band, y, x in the order they stand: {', '.join(dims)}; nothing in the file "
        "says so. If the "
        "bands come last, say axes=y,x,band"
    )
    return dims


def _is_wavelength(name: str, variable: Any) -> bool:
    stated = variable.attrs.get("standard_name") == "radiation_wavelength"
    return stated or name.lower() in ("wavelength", "wavelengths", "wl")


def _counts(values: np.ndarray | None, dim: str) -> bool:
    """Whether the coordinates of a dim only number it from 0 or 1, as `lines` and `samples` of a swath do."""
    if values is None or re.fullmatch(r"(?i)lat(itude)?|lon(gitude)?", dim):
        return False
    return bool(values[0] in (0, 1) and (values == values[0] + np.arange(values.size)).all())


def _crs(file: Any) -> str | None:
    import rioxarray  # noqa: F401  (gives file.rio)

    crs = file.rio.crs
    return None if crs is None else crs.to_wkt()


def _axis(file: Any, dim: str, beside: Around, at: int) -> np.ndarray | None:
    """The coordinate values of a dim, also of a group above; None where the file has none, so that pixels are counted."""
    if dim in file.coords:  # `coords.get` would invent one
        coordinate = file.coords[dim]
        if coordinate.dims == (dim,) and coordinate.dtype.kind in "iuf":
            return coordinate.values
    values = beside.axes.get(at)
    return values if values is not None and values.size == file.sizes[dim] else None


_APPLIED = {"scale_factor", "add_offset", "_FillValue", "missing_value"}
_MEANT = re.compile(
    r"(?i)_?(scale|gain|offset|(data_?)?ignore_?value|no_?data|fill_?value|missing_?value).*|reflectance_scale.*|valid_(range|min|max)"
)


def _unapplied(own: Mapping[str, Any], above: Mapping[str, Any]) -> list[str]:
    """A note on attributes that look like a scale or a missing value, but are not those of CF that are applied. own: of the cube;
    above: of its groups.
    """
    found = [f"{k} = {_short(v)}" for k, v in own.items() if _MEANT.fullmatch(str(k)) and k not in _APPLIED]
    found += [f"{k} = {_short(v)} (of a group)" for k, v in above.items() if _MEANT.fullmatch(str(k)) and k not in own]
    return (
        [f"attributes of the cube that were not applied: {', '.join(found[:4])} (a missing value: key nodata)"]
        if found
        else []
    )


def _short(value: Any) -> str:
    """The first values of an attribute as text."""
    values = np.ravel(np.asarray(value))
    return ", ".join(hdf5.text(v)[:20] for v in values[:3]) + (", ..." if values.size > 3 else "")


def _require(name: str, names: Mapping[str, tuple[int, ...]], path: Path, role: str) -> None:
    if name not in names:
        raise InputError(
            f"{path.name} has no variable {name!r} for {role}; it has {_list(names)}.{did_you_mean(name, names)}"
        )


def _list(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{n!r} ({size(s)})" for n, s in shapes.items()) or "no variable"
