"""Further sensors on the grid of a scene: the files of `--beside lidar=FILE`, `sar=FILE` and `infrared=FILE`.

    scene = put_beside(open_scene("flight.hdr"), {"lidar": "height.tif"})

Files are opened by the readers of rasters and of SAR images. A file must have the grid of the scene; heights and infrared on another grid
are resampled if that is asked for. Radar is not: a mean of neighbours has other speckle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from workbench.data.readers.raster import Raster

BASE = ("hsi", "image", "sar", "slc")  # variables that a further sensor can be added to
SAME = 1e-3  # of a pixel: centres closer than this count as equal
_HEIGHTS = {  # unit in small letters, without signs -> metres
    **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0),
    **dict.fromkeys(("ft", "foot", "feet", "internationalfoot"), 0.3048),
    **dict.fromkeys(("ussurveyfoot", "ussurveyfeet", "surveyfoot", "ftus", "usft", "footus"), 1200 / 3937),
    **dict.fromkeys(("cm", "centimetre", "centimetres", "centimeter", "centimeters"), 0.01),
    **dict.fromkeys(("mm", "millimetre", "millimetres", "millimeter", "millimeters"), 0.001),
    **dict.fromkeys(("dm", "decimetre", "decimeter"), 0.1),
}
ABOUT = {
    "lidar": {"long_name": "height above ground", "units": "m"},
    "infrared": {"long_name": "infrared"},
}


def put_beside(
    scene: xr.Dataset,
    files: Mapping[str, str | Path],
    keys: Mapping[str, str] | None = None,
    chunks: Any = "auto",
    resample: bool = False,
) -> xr.Dataset:
    """The scene with `lidar (lidar_band, y, x)` in metres, `sar (sar_band, y, x)` as linear intensity and `infrared
    (infrared_band, y, x)`, float32, lazy, NaN where missing.

    files: role -> file. keys: `sar.NAME` is the key NAME of the reader of the SAR file: `sar.scale` and `sar.polarization` of
        a GeoTIFF that does not state them. The other files take `nodata` and `alpha`. resample: put heights and
        infrared that have another grid onto the pixels of the scene (bilinear, lazy); the notes say so.

    Raises InputError for a scene of many samples or of two dates, one that has this sensor already, a file on another
    grid than the scene, and everything that the readers refuse.
    """
    base = next((name for name in BASE if name in scene), None)
    if base is None or "sample" in scene.dims:
        raise InputError(
            f"{' and '.join(files)} can be added to one image only; this scene has "
            f"{', '.join(str(n) for n in scene.data_vars) or 'nothing'}{' of many samples' if 'sample' in scene.dims else ''}. "
            "Open a single cube or SAR image."
        )
    for role, path in files.items():
        if role in scene:
            raise InputError(f"The scene has {role} already; leave --beside {role}={path} out.")
        own = {k.partition(".")[2]: v for k, v in (keys or {}).items() if k.startswith(f"{role}.")}
        scene = (
            _sar(scene, Path(path).expanduser(), own, chunks) if role == "sar" else _raster(scene, role, path, own, resample)
        )
    return scene


def _raster(scene: xr.Dataset, role: str, path: str | Path, keys: Mapping[str, str], resample: bool) -> xr.Dataset:
    from workbench.data.readers.raster import open_raster, undeclared_in

    unknown = [f"{role}.{k}" for k in keys if k not in ("nodata", "alpha")]
    if unknown:
        raise InputError(
            f"The file of {role} takes the keys {role}.nodata and {role}.alpha; leave {', '.join(unknown)} out."
        )
    raster = open_raster(path, keys)
    if role == "lidar" and raster.full is not None:
        raise InputError(
            f"{raster.path.name} is a picture ({raster.stored}), not heights; give lidar as a raster of metres, such as float32."
        )
    told = list(raster.notes)
    if role == "lidar":
        raster, unit = _metres(raster)
        told += unit
    told += [n.replace("key nodata=", f"key {role}.nodata=") for n in undeclared_in(raster)]
    raster, note = _fitted(scene, raster, role, resample)
    placed = scene.assign({role: ((f"{role}_band", "y", "x"), raster.lazy(), ABOUT[role])})
    return _noted(placed, [note, *(f"{role}: {n}" for n in told)])


def _metres(raster: Raster) -> tuple[Raster, list[str]]:
    """Heights in metres, from the unit that the bands or the vertical coordinate system state; and a note where it is another one."""
    from workbench.data.comparable import parsed

    factor, unit = 1.0, raster.unit
    word = re.sub("[^a-z]", "", unit.lower())
    if word in _HEIGHTS:
        factor = _HEIGHTS[word]
    elif word:
        return raster, [f"its unit {unit!r} is not known; the heights were taken as metres"]
    elif raster.grid is not None and raster.grid.crs and parsed(raster.grid.crs).is_compound:
        axis = parsed(raster.grid.crs).sub_crs_list[-1].axis_info
        factor, unit = (axis[0].unit_conversion_factor, axis[0].unit_name) if axis else (1.0, "")
    if factor == 1:
        return raster, []
    scale, offset = (tuple(v * factor for v in values) for values in (raster.factor, raster.offset))
    return replace(raster, factor=scale, offset=offset), [f"heights converted to metres: the file states the unit {unit!r}"]


def _fitted(scene: xr.Dataset, raster: Raster, role: str, resample: bool) -> tuple[Raster, str]:
    """The raster on the grid of the scene, and a note. InputError where it has another one and is not, or cannot be, resampled."""
    try:
        return raster, check_raster(scene, raster, role)
    except InputError as error:
        placed = raster.grid is not None and bool(raster.grid.crs) and _crs_of(scene) is not None
        if not placed:
            raise
        if not resample:
            way = "Or let it be put onto the pixels of the scene (bilinear): --resample, in Python resample=True."
            raise InputError(f"{error} {way}") from None
    from workbench.data.comparable import check_overlap
    from workbench.data.readers.raster import grid_of, onto

    crs = _crs_of(scene)
    assert raster.grid is not None
    assert crs is not None
    grid = grid_of(scene["x"].values, scene["y"].values, crs)
    check_overlap("The scene", grid, f"{raster.path.name} ({role})", raster.grid)
    step = abs(raster.grid.transform[0]), abs(grid.transform[0])
    told = f"{role}: {raster.path.name} was resampled (bilinear) onto the pixels of the scene"
    return onto(
        raster, grid
    ), f"{told}; its pixels are {step[0]:g} wide, those of the scene {step[1]:g}, each in its own CRS"


def _crs_of(scene: xr.Dataset) -> str | None:
    """The CRS of a scene as WKT; None without a map."""
    own = scene.rio.crs if "spatial_ref" in scene.coords and hasattr(scene, "rio") else None
    return None if own is None else own.to_wkt()


def _noted(scene: xr.Dataset, notes: list[str]) -> xr.Dataset:
    old = [n for n in str(scene.attrs.get("notes", "")).splitlines() if n]
    scene.attrs["notes"] = "\n".join(dict.fromkeys([*old, *filter(None, notes)]))
    return scene


def _sar(scene: xr.Dataset, path: Path, keys: Mapping[str, str], chunks: Any) -> xr.Dataset:
    from workbench.data.readers import sentinel1
    from workbench.data.readers.sar import open_sar

    radar = sentinel1.open_keys(path, keys, chunks) if sentinel1.is_safe(path) else open_sar(path, keys=keys, chunks=chunks)
    if "sar" not in radar:
        raise InputError(f"{path} holds {', '.join(map(str, radar.data_vars)) or 'nothing'} and no SAR image.")
    crs = radar.rio.crs.to_wkt() if "spatial_ref" in radar.coords and radar.rio.crs is not None else None
    centres = (radar["y"].values, radar["x"].values) if crs is not None else None
    note = check_grid(scene, "sar", path.name, radar["sar"].shape[1:], crs, centres)
    placed = scene.assign(sar=(radar["sar"].dims, radar["sar"].data, radar["sar"].attrs))
    if "polarization" in radar.coords:
        placed = placed.assign_coords(polarization=("sar_band", radar["polarization"].values))
    told = [n for n in str(radar.attrs.get("notes", "")).splitlines() if n]
    return _noted(placed, [note, *(f"sar: {n}" for n in told)])


def check_raster(scene: xr.Dataset, raster: Raster, role: str) -> str:
    """`check_grid` for a raster that is not read yet."""
    grid = raster.grid if raster.grid is not None and raster.grid.crs else None
    return check_grid(
        scene,
        role,
        raster.path.name,
        raster.shape[1:],
        None if grid is None else grid.crs,
        None if grid is None else grid.centres(),
    )


def check_grid(
    scene: xr.Dataset,
    role: str,
    name: str,
    shape: tuple[int, ...],
    crs: str | None,
    centres: tuple[np.ndarray, np.ndarray] | None,
) -> str:
    """Raise InputError unless an image of `shape` (rows, columns) has the same grid as the scene. Returns a note, "" where there
    is nothing to say.

    crs: as WKT, with the `centres` of its rows and columns; both None where the file has no map. Where only one of the two
    has a map, only the sizes are compared.
    """
    rows, columns = scene.sizes["y"], scene.sizes["x"]
    what_to_do = f"Put {name} onto the grid of the scene first, for example with gdalwarp -t_srs, -te and -ts."
    if tuple(shape) != (rows, columns):
        raise InputError(
            f"{role}: {name} has {shape[0]} x {shape[1]} pixels, the scene {rows} x {columns} (rows x columns). {what_to_do}"
        )
    own = _crs_of(scene)
    if own is None or crs is None or centres is None:
        lacking = (
            "the scene and the file have"
            if own is None and crs is None
            else "the scene has"
            if own is None
            else "the file has"
        )
        return f"{role}: {lacking} no map, so only the sizes were compared"
    from workbench.data.comparable import parsed, same_crs

    differ = []
    note = ""
    scene_crs, file_crs = parsed(own), parsed(crs)
    if not same_crs(scene_crs, file_crs):
        differ.append(f"its CRS is {file_crs.name}, that of the scene {scene_crs.name}")
    else:
        for dim, file_centres in zip(("y", "x"), centres, strict=True):
            scene_centres = scene[dim].values
            step = abs(float(scene_centres[1] - scene_centres[0])) if len(scene_centres) > 1 else 1.0
            turns = round(float(scene_centres[0] - file_centres[0]) / 360) if dim == "x" and scene_crs.is_geographic else 0
            if turns:
                file_centres = file_centres + 360 * turns
                note = f"{role}: the longitudes of {name} differ by {360 * turns} degrees; they were taken as one place"
            if not np.allclose(scene_centres, file_centres, rtol=0, atol=SAME * step):
                differ.append(
                    f"its {dim} runs from {float(file_centres[0]):.9g} to {float(file_centres[-1]):.9g}, that of the scene from "
                    f"{float(scene_centres[0]):.9g} to {float(scene_centres[-1]):.9g}"
                )
    if differ:
        raise InputError(f"{role}: {name} is not on the grid of the scene: {'; '.join(differ)}. {what_to_do}")
    return note
