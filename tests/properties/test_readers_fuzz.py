"""Spoiled files of every format: each ends in a result or in InputError, never in another exception, a hang or a flood of memory.

A small sample of each layout here, a few seconds in all; `make fuzz` sets WORKBENCH_FUZZ=2000 for 2000 of each layout, as CI does.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
import scipy.sparse
import xarray as xr
import zarr
from affine import Affine

from tests.properties.fuzzing import CASES, case, overwrite, reworded, spoiled, spoiling
from tests.unit.data import products
from workbench.data import convert as converting
from workbench.data.formats import open_file

CUBE = np.random.default_rng(0).uniform(0.1, 1, (4, 5, 6)).astype("f4")
WAVE = np.array([450.0, 550.0, 650.0, 2200.0])


def envi(folder: Path, interleave: str = "bil") -> Path:
    order = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    (folder / "a.raw").write_bytes(CUBE.transpose(order).tobytes())
    (folder / "a.raw.hdr").write_text(
        "ENVI\ndescription = {\n  A scene; of = signs}\nsamples = 6\nlines = 5\nbands = 4\nheader offset = 0\nfile type = ENVI Standard\n"
        f"data type = 4\ninterleave = {interleave}\nbyte order = 0\ndata ignore value = -9999\nreflectance scale factor = 1\n"
        "map info = {UTM, 1.000, 1.000, 500000.000, 4100000.000, 30.0, 30.0, 51, North, WGS-84, units=Meters}\n"
        "wavelength units = Nanometers\nwavelength = {\n 450.0, 550.0,\n 650.0, 2200.0}\nfwhm = {10, 10, 10, 12}\nbbl = {1, 1, 0, 1}\n"
    )
    return folder / "a.raw.hdr"


def matlab5(folder: Path) -> Path:
    about = {"data": CUBE.transpose(1, 2, 0), "map": np.eye(5, 6), "wavelength": WAVE}
    scipy.io.savemat(folder / "a.mat", about, do_compression=False)
    return folder / "a.mat"


def matlab5_packed(folder: Path) -> Path:
    scipy.io.savemat(folder / "a.mat", {"data": CUBE.transpose(1, 2, 0), "map": np.eye(5, 6)}, do_compression=True)
    return folder / "a.mat"


def matlab73(folder: Path) -> Path:
    with h5py.File(folder / "a.mat", "w", userblock_size=512) as file:
        file.create_dataset("data", data=CUBE.transpose(0, 2, 1), chunks=(2, 3, 5), compression="gzip")
        file["map"] = np.eye(6, 5)
    with (folder / "a.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\x02IM")
    return folder / "a.mat"


def geotiff(folder: Path, **more: object) -> Path:
    options = {"driver": "GTiff", "count": 4, "height": 5, "width": 6, "dtype": "float32", "nodata": -9999, **more}
    with rasterio.open(folder / "a.tif", "w", crs="EPSG:32633", transform=Affine(30, 0, 0, 0, -30, 0), **options) as file:
        file.write(CUBE)
        for b in file.indexes:
            file.update_tags(b, wavelength=str(WAVE[b - 1]), wavelength_units="nanometers", bbl="1")
    return folder / "a.tif"


def geotiff_packed(folder: Path) -> Path:
    return geotiff(folder, compress="deflate", interleave="pixel")


def npy(folder: Path) -> Path:
    np.save(folder / "a.npy", CUBE.transpose(1, 2, 0))
    return folder / "a.npy"


def npz(folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", cube=CUBE.transpose(1, 2, 0), gt=np.eye(5, 6))
    return folder / "a.npz"


def _scene() -> xr.Dataset:
    about = {"wavelength": ("band", WAVE, {"units": "nm"}), "y": np.arange(5), "x": np.arange(6)}
    return xr.Dataset({"hsi": (("band", "y", "x"), CUBE), "truth": (("y", "x"), np.eye(5, 6).astype("i2"))}, about)


def netcdf3(folder: Path) -> Path:
    _scene().to_netcdf(folder / "a.nc", engine="scipy", format="NETCDF3_CLASSIC")
    return folder / "a.nc"


def netcdf4(folder: Path) -> Path:
    _scene().to_netcdf(folder / "a.nc", engine="h5netcdf", encoding={"hsi": {"chunksizes": (2, 5, 6), "zlib": True}})
    return folder / "a.nc"


def matlab5_struct(folder: Path) -> Path:
    inside = {"Data": CUBE.transpose(1, 2, 0), "info": {"wavelength": WAVE}, "sceneLabels": {"labels": np.eye(5, 6)}}
    scipy.io.savemat(folder / "a.mat", {"hsi": inside}, do_compression=False)
    return folder / "a.mat"


def matlab_by_python(folder: Path) -> Path:
    with h5py.File(folder / "a.mat", "w") as file:
        file["data"], file["gt"] = CUBE.transpose(1, 2, 0), np.eye(5, 6)[:, :, None]
    return folder / "a.mat"


def pace(folder: Path) -> Path:
    """The layout of PACE OCI level 2: cube, wavelengths and place in three groups, tied by dimension scales of the root."""
    with h5py.File(folder / "a.nc", "w") as file:
        for name, n in (("number_of_lines", 5), ("pixels_per_line", 6), ("wavelength_3d", 4)):
            file.create_dataset(name, (n,), "f4").make_scale(
                f"This is a netCDF dimension but not a netCDF variable.  {n:9d}"
            )
        rrs = file.create_dataset("geophysical_data/Rrs", data=CUBE.transpose(1, 2, 0))
        rrs.attrs["_FillValue"] = np.float32(-32767)
        for i, name in enumerate(("number_of_lines", "pixels_per_line", "wavelength_3d")):
            rrs.dims[i].attach_scale(file[name])
        wave = file.create_dataset("sensor_band_parameters/wavelength_3d", data=WAVE)
        wave.attrs["units"] = "nm"
        wave.dims[0].attach_scale(file["wavelength_3d"])
        file["navigation_data/latitude"] = np.full((5, 6), 50.0)
    return folder / "a.nc"


def tanager(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        data = file.create_group("HDFEOS/SWATHS/HYP/Data Fields")
        data["toa_radiance"], data["nodata_pixels"] = CUBE, np.zeros((5, 6), "u1")
        data["toa_radiance"].attrs["wavelengths"] = WAVE
    return folder / "a.h5"


def geotiff_with_header(folder: Path) -> Path:
    geotiff(folder, nodata=None)
    (folder / "a.hdr").write_text(
        "ENVI\nsamples = 6\nlines = 5\nbands = 4\ndata type = 4\ninterleave = bsq\ndata ignore value = -9999\nfwhm = {10, 10, 10, 12}\n"
        "bbl = {1, 1, 0, 1}\nreflectance scale factor = 1\n"
    )
    return folder / "a.tif"


def geotiff_alpha(folder: Path) -> Path:
    options = {"driver": "GTiff", "count": 5, "height": 5, "width": 6, "dtype": "uint16"}
    with rasterio.open(folder / "a.tif", "w", crs="EPSG:32633", transform=Affine(30, 0, 0, 0, -30, 0), **options) as file:
        file.colorinterp = [rasterio.enums.ColorInterp.gray] * 4 + [rasterio.enums.ColorInterp.alpha]
        file.write(np.concatenate([np.rint(CUBE * 1000), np.full((1, 5, 6), 65535)]).astype("u2"))
    return folder / "a.tif"


def zarr3(folder: Path) -> Path:
    _scene().to_zarr(folder / "a.zarr", zarr_format=3, consolidated=False)
    return folder / "a.zarr"


def zarr2(folder: Path) -> Path:
    group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=2)
    array = group.create_array("cube", shape=CUBE.shape, dtype="f4", chunks=(4, 3, 6), fill_value=-9999)
    array[:] = CUBE
    array.attrs["_ARRAY_DIMENSIONS"] = ["band", "y", "x"]
    return folder / "a.zarr"


def matlab5_sparse(folder: Path) -> Path:
    about = {"data": CUBE.transpose(1, 2, 0), "gt": scipy.sparse.csc_matrix(np.eye(5, 6))}
    scipy.io.savemat(folder / "a.mat", about, do_compression=False)
    return folder / "a.mat"


def hdf5_text(folder: Path) -> Path:
    """Packing and fill value as text, as some programs write them."""
    with h5py.File(folder / "a.h5", "w") as file:
        file["cube"] = np.rint(CUBE.transpose(1, 2, 0) * 1000).astype("i2")
        file["cube"].attrs.update(_FillValue="-9999", scale_factor="0.001", add_offset="0.5", wavelength=WAVE)
    return folder / "a.h5"


def envi_commas(folder: Path) -> Path:
    """Decimal commas in the map and in the wavelengths, a zone of the southern half as a negative number, and words for good bands."""
    header = envi(folder, "bsq")
    text = header.read_text().replace("450.0, 550.0,\n 650.0, 2200.0", "450,0; 550,0;\n 650,0; 2200,0")
    text = text.replace(
        "1.000, 1.000, 500000.000, 4100000.000, 30.0, 30.0, 51, North",
        "1,0, 1,0, 500000,0, 4100000,0, 30,0, 30,0, -51, South",
    )
    header.write_text(text.replace("{1, 1, 0, 1}", "{True, True, False, True}"))
    return header


def geotiff_named(folder: Path) -> Path:
    """Wavelengths in the names of the bands and in one tag."""
    options = {"driver": "GTiff", "count": 4, "height": 5, "width": 6, "dtype": "float32"}
    with rasterio.open(folder / "a.tif", "w", crs="EPSG:32633", transform=Affine(30, 0, 0, 0, -30, 0), **options) as file:
        file.write(CUBE)
        file.update_tags(wavelengths="{" + ", ".join(map(str, WAVE)) + "}")
        for b in file.indexes:
            file.set_band_description(b, f"Band {b} ({WAVE[b - 1]} nm)")
    return folder / "a.tif"


def _product(maker: Callable[[Path, np.random.Generator], object], name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        maker(folder / name, np.random.default_rng(1))
        return folder / name

    return make


# rasterio cannot decode what GDAL says of some damaged tags, and tells so from where nothing can catch it
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

FORMATS: dict[str, tuple[Callable[[Path], Path], int]] = {  # and the number of cases of the quick run
    "envi-bsq": (lambda folder: envi(folder, "bsq"), 75),
    "envi-bil": (envi, 150),
    "envi-bip": (lambda folder: envi(folder, "bip"), 75),
    "matlab5": (matlab5, 250),
    "matlab5-packed": (matlab5_packed, 125),
    "matlab5-struct": (matlab5_struct, 75),
    "matlab73": (matlab73, 75),
    "matlab-by-python": (matlab_by_python, 40),
    "geotiff": (geotiff, 100),
    "geotiff-packed": (geotiff_packed, 75),
    "geotiff-with-header": (geotiff_with_header, 75),
    "geotiff-alpha": (geotiff_alpha, 75),
    "npy": (npy, 75),
    "npz": (npz, 75),
    "netcdf3": (netcdf3, 75),
    "netcdf4": (netcdf4, 40),
    "pace": (pace, 50),
    "tanager": (tanager, 40),
    "emit": (_product(products.emit, "a.nc"), 50),
    "prisma": (_product(products.prisma, "a.he5"), 50),
    "neon": (_product(products.neon, "a.h5"), 75),
    "enmap": (_product(products.enmap, "L2A"), 75),
    "desis": (_product(products.desis, "L2A"), 75),
    "zarr3": (zarr3, 40),
    "zarr2": (zarr2, 40),
    "matlab5-sparse": (matlab5_sparse, 75),
    "hdf5-text": (hdf5_text, 40),
    "envi-commas": (envi_commas, 75),
    "geotiff-named": (geotiff_named, 60),
}
_TEXT = (".hdr", ".xml", ".json")


def _spoil(rng: random.Random) -> Callable[[Path], bool]:
    def spoil(path: Path) -> bool:
        beside = path.parent if path.is_file() else path
        files = sorted(p for p in beside.rglob("*") if p.is_file())
        # of many files (Zarr) the metadata are as likely to be hit as the data
        some = [p for p in files if (p.suffix.lower() in _TEXT) == (rng.random() < 0.6)] or files
        target = rng.choice(some)
        if target.suffix.lower() in _TEXT and rng.random() < 0.8:
            overwrite(target, reworded(target.read_text(), rng).encode())
            return False
        data, cut = spoiled(target.read_bytes(), rng)
        overwrite(target, data)
        return cut and target.suffix.lower() not in _TEXT

    return spoil


def _copies(good: Path, made: Path) -> Callable[[Path], Path]:
    """Making a file once and copying it is quicker than writing it anew."""

    def make(folder: Path) -> Path:
        shutil.copytree(good, folder, dirs_exist_ok=True)
        return folder / made.relative_to(good)

    return make


def _run(name: str, tmp_path: Path, cases: int) -> Counter[str]:
    good = tmp_path / "good"
    good.mkdir()
    made = FORMATS[name][0](good)
    whole = open_file(made)["hsi"].values
    ends: Counter[str] = Counter()

    for number in range(cases):
        with spoiling(name, number) as rng:
            ends[case(tmp_path / "case", _copies(good, made), _spoil(rng), whole)] += 1
    return ends


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
def test_spoiled_files(name, tmp_path, monkeypatch):
    monkeypatch.setattr(converting, "SMALL", 1)
    ends = _run(name, tmp_path, CASES or FORMATS[name][1])
    assert ends["refused"] > 0.1 * ends.total(), ends  # else nothing was spoiled
