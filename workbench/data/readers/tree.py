"""What an HDF5 file says about a cube outside the cube's own group: wavelengths, coordinates, map, masks.

    found = around(look, arrays, "geophysical_data/Rrs")
    found.band, found.wavelength, found.unit                 # the axis of the bands, and its values

The whole tree is searched, nearest first: the group of the cube, the groups above it, those beside it. An array belongs to an axis if it
has the same dimension scale; else if its length is that of one axis only. Layouts: PACE OCI level 2 and 1B
(`sensor_band_parameters`, `navigation_data`), AVIRIS-3 and AVIRIS-5 (coordinates and grid mapping in the root), Tanager
(HDF-EOS; wavelengths in attributes, `nodata_pixels`), PRISMA at other levels than 2D (`List_Cw_Vnir` in the root).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.data.readers.files import Look
from workbench.data.readers.hdf5 import Array, shared, text, values

_BAND = re.compile(
    r"(number_of_|num_|n)?((.*[_ ])?bands?|(.*_)?wavelengths?(_.*)?|wl|lambda|(spectral_?)?channels?|spectral.*)"
)
_Y = re.compile(
    r"y|lat(itude)?|(number_of_|num_|n)?(rows?|lines?|scans?|scanlines?)|northing|(down|along)_?track|nrows|nlines"
)
_X = re.compile(
    r"x|lon(gitude)?|(number_of_|num_|n)?(col(umn)?s?|samples?)|(ccd_)?pixels(_per_(line|scan))?|easting|(cross|across)_?track"
)
_WAVE = re.compile(r"(?i)(.*_)?(wavelengths?|wvl|wl|lambda)(_.*)?|list_cw_.*|(cent(er|re)_?)wavelengths?")
_FWHM = re.compile(r"(?i)(.*_)?fwhms?(_.*)?|list_fwhm_.*|bandwidths?")
_GOOD = re.compile(r"(?i)good(_wavelengths?|_bands?)?|bbl")
MASKS = ("nodata_pixels", "nodata_mask")  # 2-D arrays that are not 0 where a pixel has no value
_NETCDF = (
    -32767,
    65535,
    -2147483647,
    4294967295,
    -(2**63) + 2,
    2**64 - 2,
)  # fill values that the netCDF library sets by itself
_EMPTY_SCALE = "This is a netCDF dimension but not a netCDF variable"


@dataclass
class Around:
    """What was found around a cube; None or empty where nothing was.

    band: position of the axis of the bands in the file. wavelength, fwhm, good: values of the bands as stored; unit: of the wavelengths.
    axes: position of an axis -> its coordinate values. flat: name -> path of 2-D arrays over the two other axes. transform: of the
    grid mapping that the cube names, in GDAL's order. fill: the fill value with which the cube was made, where that is not 0.
    attrs: those of the groups above the cube, named with their group. arrays: the names of all arrays of the file.
    """

    band: int | None = None
    wavelength: np.ndarray | None = None
    unit: str = ""
    fwhm: np.ndarray | None = None
    good: np.ndarray | None = None
    axes: dict[int, np.ndarray] = field(default_factory=dict)
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    fill: float | None = None
    attrs: dict[str, Any] = field(default_factory=dict)
    arrays: tuple[str, ...] = ()
    flat: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def role_of(dim: str) -> str:
    """band, y or x, if the name of a dimension says so; else "".

    >>> [role_of(d) for d in ("number_of_lines", "pixels_per_line", "wavelength_3d", "easting", "phony_dim_0")]
    ['y', 'x', 'band', 'x', '']
    """
    name = dim.lower().rpartition("/")[2]
    return next((role for role, words in (("band", _BAND), ("y", _Y), ("x", _X)) if words.fullmatch(name)), "")


def around(look: Look, arrays: Mapping[str, Array], cube: str) -> Around:
    """What the file says about the dataset `cube`. arrays: of `hdf5.arrays`. Raises InputError for a damaged file."""
    found = Around()
    with shared(look, "NetCDF") as file:
        data = file[cube]
        shape = arrays[cube].shape
        scales = [_scale(data, i) for i in range(3)]
        names = [("" if s is None else s.name.rpartition("/")[2]) for s in scales]
        for axis, scale in enumerate(scales):
            if scale is not None and scale.shape == (shape[axis],) and scale.dtype.kind in "iuf" and not _empty(scale):
                found.axes[axis] = values(scale)
        near = sorted((n for n in arrays if n != cube), key=lambda n: (_distance(cube, n), n))
        _bands(file, data, arrays, near, scales, names, shape, found)
        _maps(file, data, cube, arrays, near, found)
        found.fill = _fill(data)
        found.arrays = tuple(arrays)
        group = data.parent
        while True:
            found.attrs.update({k: v for k, v in group.attrs.items() if k not in found.attrs})
            if group.name == "/":
                break
            group = group.parent
        if found.band is None:
            found.band = _left_over(arrays, near, shape)
        if found.band is not None:
            plane = tuple(n for i, n in enumerate(shape) if i != found.band)
            found.flat = {
                n.rpartition("/")[2].lower(): n
                for n in reversed(near)
                if arrays[n].shape == plane and arrays[n].dtype.kind in "iufb"
            }
    return found


def _scale(data: Any, axis: int) -> Any:
    """The dimension scale of an axis, or None."""
    try:
        attached = data.dims[axis]
        return attached[0] if len(attached) else None
    except (RuntimeError, KeyError, IndexError, ValueError, TypeError, AttributeError):  # damaged references
        return None


def _empty(one: Any) -> bool:
    """Whether an array is a dimension without values, as netCDF writes it."""
    return text(one.attrs.get("NAME", b"")).startswith(_EMPTY_SCALE)


def _fill(data: Any) -> float | None:
    """The fill value that an array states when it is made; None for 0, for bytes, which use all values, and for whole numbers that the
    netCDF library writes by itself.
    """
    import h5py

    made = data.id.get_create_plist()
    if (
        data.dtype.kind not in "iuf"
        or data.dtype.itemsize < 2
        or made.fill_value_defined() != h5py.h5d.FILL_VALUE_USER_DEFINED
    ):
        return None
    value = float(data.fillvalue)
    ours = value == 0 or np.isnan(value) or (data.dtype.kind in "iu" and value in _NETCDF)
    return None if ours else value


def _distance(cube: str, other: str) -> int:
    """Steps in the tree from the group of the cube to the group of another array."""
    a, b = cube.split("/")[:-1], other.split("/")[:-1]
    common = next((i for i, (p, q) in enumerate(zip(a, b, strict=False)) if p != q), min(len(a), len(b)))
    return (len(a) - common) + 2 * (len(b) - common)


def _bands(
    file: Any,
    data: Any,
    arrays: Mapping[str, Array],
    near: list[str],
    scales: list[Any],
    names: list[str],
    shape: tuple[int, ...],
    found: Around,
) -> None:
    """The axis of the bands with its wavelengths, from the names of the axes, dimension scales, lengths and attributes."""
    named = [i for i, n in enumerate(names) if n and role_of(n) == "band"]
    found.band = named[0] if len(named) == 1 else None
    lists = [n for n in near if len(arrays[n].shape) == 1 and arrays[n].dtype.kind in "iuf" and not _empty(file[n])]
    for what in ("wavelength", "fwhm", "good"):
        words = {"wavelength": _WAVE, "fwhm": _FWHM, "good": _GOOD}[what]
        fitting = []
        for n in lists:
            if words.fullmatch(n.rpartition("/")[2]) or (what == "wavelength" and _says_wavelength(file[n])):
                axis, sure = _axis_of(file[n], scales, shape, found.band)
                if axis is not None and (found.band is None or axis == found.band):
                    fitting.append((not sure, axis, n))
        if fitting:
            _, axis, n = min(fitting, key=lambda f: f[0])
            found.band = axis
            setattr(found, what, np.asarray(values(file[n]), float))
            if what == "wavelength":
                found.unit = text(file[n].attrs.get("units", b""))
                if n.rpartition("/")[0] != data.name.strip("/").rpartition("/")[0]:
                    found.notes.append(f"wavelengths from {n}")
        else:
            _from_attributes(data, what, words, shape, found)


def _from_attributes(data: Any, what: str, words: re.Pattern[str], shape: tuple[int, ...], found: Around) -> None:
    """A list of the bands among the attributes of the cube, of the groups above it, and of the file."""
    item = data
    while True:
        for name, value in item.attrs.items():
            listed = np.asarray(value)
            if listed.ndim != 1 or listed.size < 2 or listed.dtype.kind not in "iuf" or not words.fullmatch(name):
                continue
            if name.lower().startswith("list_") and name.rpartition("_")[2].lower() not in data.name.lower():
                continue  # PRISMA has one list for each of its cubes
            axes = [i for i, n in enumerate(shape) if n == listed.size and found.band in (None, i)]
            if len(axes) == 1:
                found.band = axes[0]
                setattr(found, what, listed.astype(float))
                if what == "wavelength":
                    found.unit = text(item.attrs.get("wavelength_units", item.attrs.get("units_wavelength", b"")))
                    found.notes.append(f"wavelengths from the attribute {name} of {item.name}")
                return
        if item.name == "/":
            return
        item = item.parent


def _axis_of(one: Any, scales: list[Any], shape: tuple[int, ...], band: int | None) -> tuple[int | None, bool]:
    """The axis to which a 1-D array belongs, and whether that is sure: by a common dimension scale, else by its length."""
    own = _scale(one, 0)
    for axis, scale in enumerate(scales):
        if scale is not None and (scale == one or (own is not None and scale == own)):
            return axis, True
    if own is not None and all(s is not None for s in scales):
        return None, False  # it belongs to another dimension of the file, even if that has the same length
    axes = [i for i, n in enumerate(shape) if n == one.shape[0]]
    if band is not None and band in axes:
        return band, False
    return (axes[0], False) if len(axes) == 1 else (None, False)


def _says_wavelength(one: Any) -> bool:
    return text(one.attrs.get("standard_name", b"")) in ("radiation_wavelength", "sensor_band_central_radiation_wavelength")


def _left_over(arrays: Mapping[str, Array], near: list[str], shape: tuple[int, ...]) -> int | None:
    """The one axis that the 2-D arrays of the file (latitudes, flags, masks) do not have; None where they leave it open."""
    flat = {arrays[n].shape for n in near if len(arrays[n].shape) == 2 and min(arrays[n].shape) > 1}
    fitting = [i for i in range(3) if tuple(n for j, n in enumerate(shape) if j != i) in flat]
    return fitting[0] if len(fitting) == 1 else None


def _maps(file: Any, data: Any, cube: str, arrays: Mapping[str, Array], near: list[str], found: Around) -> None:
    """The CRS of the grid mapping that the cube names, or of one in its group or above."""
    import pyproj

    named = text(data.attrs.get("grid_mapping", b""))
    above, group = [], cube.rpartition("/")[0]
    while True:
        above.append(group)
        if not group:
            break
        group = group.rpartition("/")[0]
    for where in above:
        item = file[where] if where else file
        for name in [named] if named else list(item):
            one = item.get(name) if name else None
            attrs = {} if one is None or not hasattr(one, "attrs") else dict(one.attrs)
            stated = {k: text(attrs[k]) for k in ("crs_wkt", "spatial_ref") if k in attrs}
            try:
                if stated:
                    found.crs = pyproj.CRS.from_wkt(next(iter(stated.values()))).to_wkt()
                elif "grid_mapping_name" in attrs:
                    about = {
                        k: text(v) if np.asarray(v).dtype.kind in "SUO" else np.asarray(v).ravel().tolist()
                        for k, v in attrs.items()
                    }
                    about = {k: v[0] if isinstance(v, list) and len(v) == 1 else v for k, v in about.items()}
                    found.crs = pyproj.CRS.from_cf(about).to_wkt()
            except (pyproj.exceptions.CRSError, KeyError, TypeError, ValueError) as error:
                found.notes.append(f"the grid mapping {name} is not understood ({str(error)[:60]})")
            if found.crs is not None:
                if named:
                    found.transform = _transform(attrs.get("GeoTransform"))
                return


def _transform(stated: Any) -> tuple[float, ...] | None:
    """The six numbers of GDAL's attribute GeoTransform, where they are valid and not rotated."""
    if stated is None:
        return None
    try:
        six = tuple(float(v) for v in text(stated).split())
    except ValueError:
        return None
    whole = len(six) == 6 and np.isfinite(six).all() and six[1] != 0 and six[5] != 0
    return six if whole and not six[2] and not six[4] else None
