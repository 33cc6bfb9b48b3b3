"""Which tool opens which format, and what it makes of it: tried, not read off a page.

    python -m benchmarks.formats_table make FOLDER                 # lays out the files and what is true of them
    python benchmarks/formats_table.py try TOOL FOLDER             # with the Python in which TOOL is installed
    python -m benchmarks.formats_table write FOLDER                # puts the table into docs/data.md

TOOL is one of the functions named `open_...` below: workbench, spectral, rioxarray, hypercoast, hylite, sentinel (xarray-sentinel,
sarsen). `try` needs nothing but NumPy and that tool, and leaves FOLDER/TOOL.json. A tool that could not be installed is written
down with its reason by `absent TOOL FOLDER REASON`.

A tool gets the benefit of its own reader for a product where it has one, else of its general one, with the options that ask for
lazy reading, masking and scaling. What counts:

lazy: opening does not put the pixels into memory. wavelengths: as many numbers as bands, within 1 nm, in nm or micrometres.
CRS: an object that knows the EPSG code. nodata: NaN or masked where the file has no value. scale: the spectrum of one pixel as
the product defines it, within 0.1 %.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

CHECKS = ("lazy", "wavelengths", "CRS", "nodata", "scale")
BEGIN, END = "<!-- formats: begin -->", "<!-- formats: end -->"
PAGE = Path(__file__).parents[1] / "docs" / "data.md"
Found = dict[str, Any]  # spectrum(y, x) -> values by band; lazy; wavelengths; epsg


# --- the files ------------------------------------------------------------------------------------------------------------


def make(folder: Path) -> None:
    """Real files where WORKBENCH_DATA has them, else generated ones in the published layout; and truth.json."""
    import os

    import rasterio
    import xarray as xr

    from tests.unit.data import products

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    wave = products.WAVE
    truth: dict[str, Found] = {}

    def told(
        name: str, path: Path, spectrum: Any, *, at: Any, real: bool, wave: Any = None, epsg: Any = None, gone: Any = None
    ) -> None:
        truth[name] = {
            "path": str(path.resolve()),
            "spectrum": None if spectrum is None else np.asarray(spectrum, float).tolist(),
            "at": at,
            "real": real,
            "wavelengths": None if wave is None else np.asarray(wave, float).tolist(),
            "epsg": epsg,
            "gone": gone,  # row, column, band without a value
        }

    cube = rng.integers(1, 9000, (5, 6, 8)).astype("i2")
    cube[:, 1, 2] = -9999
    for name, order in (("BSQ", (0, 1, 2)), ("BIL", (1, 0, 2)), ("BIP", (1, 2, 0))):
        cube.transpose(order).tofile(folder / f"{name}.raw")
        (folder / f"{name}.hdr").write_text(
            f"ENVI\nsamples = 8\nlines = 6\nbands = 5\ndata type = 2\ninterleave = {name.lower()}\nbyte order = 0\nheader offset = 0\n"
            "file type = ENVI Standard\ndata ignore value = -9999\nreflectance scale factor = 10000\n"
            "map info = {UTM, 1, 1, 366000, 5810000, 30, 30, 33, North, WGS-84, units=Meters}\n"
            f"wavelength units = Nanometers\nwavelength = {{{', '.join(map(str, wave))}}}\n"
        )
        told(
            f"ENVI {name}",
            folder / f"{name}.hdr",
            cube[:, 3, 4] / 1e4,
            at=[3, 4],
            real=False,
            wave=wave,
            epsg=32633,
            gone=[1, 2, 0],
        )

    told_emit = products.emit(folder / "EMIT_L2A_RFL_001.nc", rng)
    told(
        "EMIT L2A", folder / "EMIT_L2A_RFL_001.nc", told_emit["cube"][5, 3], at=[5, 3], real=False, wave=wave, gone=[2, 3, 0]
    )
    made = products.prisma(folder / "PRS_L2D_STD_20200101.he5", rng)
    v, s = made["vnir"] * (1.2 / 65535), 0.1 + made["swir"] * (0.8 / 65535)
    joined = [v[:, 3], v[:, 2], s[:, 2], v[:, 1], s[:, 1], s[:, 0]]
    told("PRISMA L2D", folder / "PRS_L2D_STD_20200101.he5", [b[4, 2] for b in joined], at=[4, 2], real=False,
         wave=[500, 700, 940, 950, 1600, 2400], epsg=32633, gone=[0, 0, 0])  # fmt: skip
    enmap = products.enmap(folder / "enmap", rng)
    told("EnMAP L2A folder", folder / "enmap", np.where(enmap[:, 2, 2] == -32768, np.nan, enmap[:, 2, 2] * 1e-4), at=[2, 2], real=False,
         wave=wave, epsg=32633, gone=[2, 2, 3])  # fmt: skip
    desis = products.desis(folder / "desis", rng)
    told("DESIS L2A folder", folder / "desis", desis[:, 3, 3] * 1e-4 + 0.01 * np.arange(5), at=[3, 3], real=False,
         wave=[400, 450, 600, 800, 1000], epsg=32633, gone=[2, 2, 0])  # fmt: skip
    tile = products.neon(folder / "NEON_tile.h5", rng)
    told("NEON AOP HDF5, whole layout", folder / "NEON_tile.h5", tile[4, 5] / 1e4, at=[4, 5], real=False, wave=wave, epsg=32611,
         gone=[1, 2, 0])  # fmt: skip
    packed = xr.Dataset(
        {"reflectance": (("wavelength", "y", "x"), np.where(cube == -9999, np.nan, cube / 1e4).astype("f4"))},
        {"wavelength": ("wavelength", wave, {"units": "nm", "standard_name": "radiation_wavelength"}),
         "y": 5810000 - 15 - 30.0 * np.arange(6), "x": 366000 + 15 + 30.0 * np.arange(8)},
    )  # fmt: skip
    import rioxarray  # noqa: F401  (gives .rio)

    packed = packed.rio.write_crs(32633)
    encoding = {"dtype": "i2", "scale_factor": 1e-4, "_FillValue": -9999, "grid_mapping": "spatial_ref"}
    packed.to_netcdf(folder / "cf.nc", engine="h5netcdf", encoding={"reflectance": encoding})
    packed.to_zarr(folder / "cf.zarr", zarr_format=3, consolidated=False)
    for name, file in (("NetCDF 4, CF names", "cf.nc"), ("Zarr 3", "cf.zarr")):
        told(name, folder / file, cube[:, 3, 4] / 1e4, at=[3, 4], real=False, wave=wave, epsg=32633, gone=[1, 2, 0])

    data = os.environ.get("WORKBENCH_DATA")
    if data:
        import h5py
        import scipy.io

        real = Path(data)
        path = real / "hsi_anomaly/hydice-urban-175/HYDICE_urban.mat"
        told("MATLAB 5", path, scipy.io.loadmat(path)["data"][20, 30], at=[20, 30], real=True)
        path = real / "hsi_anomaly/hydice-urban-162/HYDICE1.mat"
        with h5py.File(path) as file:
            told("MATLAB 7.3", path, file["image"][:, 30, 20], at=[20, 30], real=True)
        path = real / "hsi_cubes/enmap-potsdam-tiles/images/enmap_potsdam_tile_128_0.tif"
        with rasterio.open(path) as file:
            raw, tags = file.read()[:, 7, 9].astype(float), [file.tags(b) for b in file.indexes]
            raw[raw == file.nodata] = np.nan
            told("GeoTIFF, EnMAP tags", path, raw * np.array(file.scales), at=[7, 9], real=True,
                 wave=[float(t["wavelength"]) for t in tags], epsg=32633, gone=[7, 9, 130])  # fmt: skip
        path = real / "hsi_cubes/neon-sjer-h5-30/ex.h5"
        with h5py.File(path) as file:
            group = file["SJER/Reflectance"]
            told("NEON AOP HDF5, a cut", path, group["Reflectance_Data"][7, 9] / 1e4, at=[7, 9], real=True,
                 wave=group["Metadata/Spectral_Data/Wavelength"][()], epsg=32611)  # fmt: skip
        safe = next((real / "sar_geotiff/sentinel1-grdh-safe-constant-pixels").glob("*.SAFE"))
        told("Sentinel-1 GRD SAFE, without calibration", safe, None, at=[100, 200], real=True)
    (folder / "truth.json").write_text(json.dumps(truth, indent=1))


# --- the tools: a path and the name of its format -> what they make of it ---------------------------------------------------


def open_workbench(path: Path, name: str) -> Found:
    from workbench.data.formats import open_file
    from workbench.data.readers import sentinel1

    if path.suffix == ".SAFE":
        return _xarray(sentinel1.open_keys(path, {"quantity": "dn"})["sar"])
    found = _xarray(open_file(path)["hsi"])
    behind = open_file(path, chunks=None)["hsi"].variable._data.array.pixels.source
    return {**found, "lazy": not isinstance(behind, np.ndarray)}


def open_rioxarray(path: Path, name: str) -> Found:
    import rioxarray

    if path.is_dir() and name.endswith("folder"):
        path = next(p for p in path.iterdir() if "SPECTRAL_IMAGE" in p.name)
    if path.suffix == ".hdr":
        path = path.with_suffix(".raw")
    if path.suffix == ".SAFE":
        path = next(path.glob("measurement/*-vv-*.tiff"))
    found = rioxarray.open_rasterio(path, chunks=True, masked=True, mask_and_scale=True)
    return _xarray(_cube_of(found[0] if isinstance(found, list) else found))


def open_spectral(path: Path, name: str) -> Found:
    import spectral

    image = spectral.open_image(str(path))
    centers = image.bands.centers
    return {
        "spectrum": lambda y, x: np.ma.filled(np.ma.asarray(image[y, x, :], float), np.nan).ravel(),
        "lazy": not isinstance(image, np.ndarray),
        "wavelengths": None if centers is None else list(centers),
        "epsg": None,
    }


def open_hypercoast(path: Path, name: str) -> Found:
    import hypercoast

    readers = {
        "EMIT": "read_emit",
        "PRISMA": "read_prisma",
        "DESIS": "read_desis",
        "NEON": "read_neon",
        "EnMAP": "read_enmap",
    }
    reader = next((r for key, r in readers.items() if name.startswith(key)), None)
    if reader is None:
        raise ValueError("it has no reader for this format")
    if path.is_dir():
        path = next(p for p in path.iterdir() if "SPECTRAL_IMAGE" in p.name)
    how = {"ortho": False} if reader == "read_emit" else {}
    return _xarray(_cube_of(getattr(hypercoast, reader)(str(path), **how)))


def open_hylite(path: Path, name: str) -> Found:
    from hylite import io

    image = io.load(str(path))
    wave = image.get_wavelengths() if image.has_wavelengths() else None
    projection = getattr(image, "projection", None)
    code = projection.GetAuthorityCode(None) if hasattr(projection, "GetAuthorityCode") else None
    return {
        "spectrum": lambda y, x: np.asarray(image.data[x, y], float),  # hylite keeps columns first
        "lazy": not isinstance(image.data, np.ndarray) or isinstance(image.data, np.memmap),
        "wavelengths": None if wave is None else list(wave),
        "epsg": int(code) if code else None,
    }


def open_sentinel(path: Path, name: str) -> Found:
    import xarray as xr

    image = xr.open_dataset(path, engine="sentinel-1", group="IW/VV", chunks={})
    return _xarray(xr.DataArray(image.measurement.data[None], dims=("band", "y", "x")))


def _cube_of(found: Any) -> Any:
    """The 3-D variable of a Dataset."""
    if hasattr(found, "data_vars"):
        return next(v for v in found.data_vars.values() if v.ndim == 3)
    return found


def _xarray(cube: Any) -> Found:
    dims = {str(d).lower(): d for d in cube.dims}
    y = next((dims[d] for d in ("y", "latitude", "lat", "downtrack", "row") if d in dims), None)
    x = next((dims[d] for d in ("x", "longitude", "lon", "crosstrack", "col") if d in dims), None)
    if y is None or x is None:
        raise ValueError(f"dims {cube.dims}")
    if len(cube.dims) != 3:
        raise ValueError(f"dims {cube.dims}")
    wave = next((cube[c].values for c in cube.coords if str(c).lower() in ("wavelength", "wavelengths", "wl")), None)
    code = None
    if hasattr(cube, "rio"):
        try:
            code = cube.rio.crs.to_epsg() if cube.rio.crs is not None else None
        except Exception:  # a CRS that cannot be read is none
            code = None
    core = cube.variable._data
    return {
        "spectrum": lambda j, i: np.asarray(cube.isel({y: j, x: i}).values, float).ravel(),
        "lazy": not isinstance(core, np.ndarray),
        "wavelengths": None if wave is None else np.ravel(wave).tolist(),
        "epsg": code,
        "rows": cube[y].values.tolist() if y in cube.coords and cube[y].ndim == 1 else None,
    }


TOOLS: dict[str, tuple[Callable[[Path, str], Found], str]] = {
    "workbench": (open_workbench, "workbench"),
    "spectral": (open_spectral, "spectral"),
    "rioxarray": (open_rioxarray, "rioxarray"),
    "hypercoast": (open_hypercoast, "hypercoast"),
    "hylite": (open_hylite, "hylite"),
    "sentinel": (open_sentinel, "xarray-sentinel"),
}


# --- trying and writing -----------------------------------------------------------------------------------------------------


def judge(tool: str, truth: Found, name: str) -> Found:
    """check -> yes, no, or "-" where the file says nothing about it; or the error with which the tool gave up."""
    try:
        found = TOOLS[tool][0](Path(truth["path"]), name)
        rows, read = found.get("rows"), found["spectrum"]
        if truth["epsg"] is not None and rows and rows[0] < rows[-1]:  # south at the top: the same map, from the other end
            found["spectrum"] = lambda y, x: read(len(rows) - 1 - y, x)
        spectrum = found["spectrum"](*truth["at"])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}".split("\n")[0][:160]}
    wanted = spectrum if truth["spectrum"] is None else np.array(truth["spectrum"])
    close = spectrum.shape == wanted.shape and np.allclose(spectrum, wanted, rtol=1e-3, atol=1e-6, equal_nan=True)
    if not close and spectrum.shape == wanted.shape:  # a missing band judged by "nodata" alone
        known = np.isfinite(wanted)
        close = np.allclose(spectrum[known], wanted[known], rtol=1e-3, atol=1e-6)
    wave, given = truth["wavelengths"], found["wavelengths"]
    near = given is not None and wave is not None and len(given) == len(wave) and any(
        np.allclose(np.array(given, float) * unit, wave, atol=1) for unit in (1, 1000)
    )  # fmt: skip
    gone = truth["gone"]
    return {
        "lazy": bool(found["lazy"]),
        "wavelengths": None if wave is None else bool(near),
        "CRS": None if truth["epsg"] is None else found["epsg"] == truth["epsg"],
        "nodata": None if gone is None else bool(np.isnan(found["spectrum"](gone[0], gone[1])[gone[2]])),
        "scale": None if truth["spectrum"] is None else bool(close),
    }


def attempt(tool: str, folder: Path) -> None:
    warnings.simplefilter("ignore")
    truth = json.loads((folder / "truth.json").read_text())
    result = {"version": metadata.version(TOOLS[tool][1]), "formats": {n: judge(tool, t, n) for n, t in truth.items()}}
    (folder / f"{tool}.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


def table(folder: Path) -> str:
    truth = json.loads((folder / "truth.json").read_text())
    told = {p.stem: json.loads(p.read_text()) for p in sorted(folder.glob("*.json")) if p.stem != "truth"}
    order = [t for t in TOOLS if t in told]
    versions = {t: told[t].get("version", "") for t in order}
    lines = [
        "| format | tested on | " + " | ".join(f"{TOOLS[t][1]} {versions[t]}".strip() for t in order) + " |",
        "|---|---|" + "---|" * len(order),
    ]
    for name, true in truth.items():
        cells = [_cell(told[t].get("formats", {}).get(name, {"error": told[t].get("absent", "")})) for t in order]
        lines.append(f"| {name} | {'real' if true['real'] else 'generated'} file | " + " | ".join(cells) + " |")
    absent = [f"{t}: {told[t]['absent']}" for t in told if "absent" in told[t]]
    return "\n".join([*lines, "", *(f"Not installed: {a}." for a in absent)]).rstrip()


def _cell(found: Found) -> str:
    if "error" in found:
        return "asks for a download" if found["error"].startswith("URLError") else "no"
    letters = "".join(
        letter if found[c] else "." if found[c] is False else "" for c, letter in zip(CHECKS, "LWCNS", strict=True)
    )
    return f"`{letters}`"


def write(folder: Path) -> None:
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table(folder)}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "make":
        make(Path(rest[0]))
    elif verb == "try":
        attempt(rest[0], Path(rest[1]))
    elif verb == "absent":
        (Path(rest[1]) / f"{rest[0]}.json").write_text(json.dumps({"absent": rest[2]}))
    else:
        write(Path(rest[0]))
