"""Small files in the published layouts of products of which no real sample could be had. Generated, and said to be."""

from __future__ import annotations

from pathlib import Path

import h5netcdf
import h5py
import numpy as np
import rasterio
from affine import Affine

WAVE = np.array([420.0, 550.0, 700.0, 1400.0, 2200.0])


def emit(path: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A swath of 9 x 7 pixels and 5 bands, turned by its lookup table onto a grid of 12 x 10; returns what went in."""
    cube = rng.uniform(0, 1, (9, 7, 5)).astype("f4")
    cube[2, 3] = -9999
    glt_x, glt_y = np.zeros((12, 10), "i4"), np.zeros((12, 10), "i4")
    for j in range(9):
        for i in range(7):
            glt_y[j + i // 3, i + j // 4], glt_x[j + i // 3, i + j // 4] = j + 1, i + 1  # counted from 1
    lat = 33 - 0.001 * np.arange(9)[:, None] + np.zeros(7)
    lon = -115 + 0.001 * np.arange(7) + np.zeros((9, 1))
    with h5netcdf.File(path, "w") as file:
        file.attrs["title"] = "EMIT L2A Estimated Surface Reflectance 60 m V001"
        file.attrs["geotransform"] = np.array([-115.9, 0.00054, 0.0, 33.4, 0.0, -0.00054])
        file.attrs["spatial_ref"] = rasterio.crs.CRS.from_epsg(4326).to_wkt()
        file.dimensions = {"downtrack": 9, "crosstrack": 7, "bands": 5, "ortho_y": 12, "ortho_x": 10}
        swath, ortho = ("downtrack", "crosstrack"), ("ortho_y", "ortho_x")
        how = {"chunks": (4, 4, 5), "compression": "gzip", "fillvalue": np.float32(-9999)}
        file.create_variable("reflectance", (*swath, "bands"), data=cube, **how)
        bands, place = file.create_group("sensor_band_parameters"), file.create_group("location")
        bands.create_variable("wavelengths", ("bands",), data=WAVE.astype("f4"))
        bands.create_variable("fwhm", ("bands",), data=np.full(5, 8.5, "f4"))
        bands.create_variable("good_wavelengths", ("bands",), data=np.array([1, 1, 1, 0, 1], "u1"))
        for name, values in (("lat", lat), ("lon", lon), ("elev", np.zeros((9, 7)))):
            place.create_variable(name, swath, data=values)
        place.create_variable("glt_x", ortho, data=glt_x)
        place.create_variable("glt_y", ortho, data=glt_y)
    return {"cube": cube, "glt_x": glt_x, "glt_y": glt_y, "lat": lat, "lon": lon}


def prisma(path: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """VNIR of 4 bands (the first is absent) and SWIR of 3, wavelengths descending, 6 x 8 pixels, one outside the swath."""
    vnir = rng.integers(1, 65535, (6, 4, 8)).astype("u2")
    swir = rng.integers(1, 65535, (6, 3, 8)).astype("u2")
    sun = np.full((6, 8), 30.0, "f4")
    vnir[0, :, 0], swir[0, :, 0], sun[0, 0] = 0, 0, 0
    vnir[3, 1, 4] = 0  # a dark pixel, not a missing one
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {
                "List_Cw_Vnir": np.array([0, 950, 700, 500], "f4"),
                "List_Fwhm_Vnir": np.array([0, 12, 11, 10], "f4"),
                "List_Cw_Vnir_Flags": np.array([0, 1, 1, 1], "i4"),
                "List_Cw_Swir": np.array([2400, 1600, 940], "f4"),
                "List_Fwhm_Swir": np.array([9, 9, 9], "f4"),
                "List_Cw_Swir_Flags": np.array([1, 1, 1], "i4"),
                "L2ScaleVnirMin": np.float32(0.0),
                "L2ScaleVnirMax": np.float32(1.2),
                "L2ScaleSwirMin": np.float32(0.1),
                "L2ScaleSwirMax": np.float32(0.9),
                "Epsg_Code": np.int64(32633),
                "Product_ULcorner_easting": 500015.0,
                "Product_ULcorner_northing": 4600000.0,
                "Product_LRcorner_easting": 500015.0 + 7 * 30,
                "Product_LRcorner_northing": 4600000.0 - 5 * 30,
            }
        )
        fields = "HDFEOS/SWATHS/PRS_L2D_HCO/"
        file.create_dataset(fields + "Data Fields/VNIR_Cube", data=vnir, chunks=(3, 4, 8))
        file.create_dataset(fields + "Data Fields/SWIR_Cube", data=swir, chunks=(3, 3, 8))
        file[fields + "Geometric Fields/Solar_Zenith_Angle"] = sun
    return {"vnir": vnir, "swir": swir}


_ENMAP = "<bandID number='{0}'><wavelengthCenterOfBand>{1}</wavelengthCenterOfBand><FWHMOfBand>7.5</FWHMOfBand>"
_ENMAP += "<GainOfBand>{2}</GainOfBand><OffsetOfBand>{3}</OffsetOfBand></bandID>"
_DESIS = "<band><bandNumber>{0}</bandNumber><wavelengthCenterOfBand>{1}</wavelengthCenterOfBand><wavelengthWidthOfBand>3.5"
_DESIS += "</wavelengthWidthOfBand><gainOfBand>{2}</gainOfBand><offsetOfBand>{3}</offsetOfBand></band>"


def enmap(folder: Path, rng: np.random.Generator) -> np.ndarray:
    """An EnMAP L2A folder of 5 bands, 6 x 8 pixels; band 4 is filled and not among the expected channels."""
    name = "ENMAP01-____L2A-DT0000001867_20220724T104526Z_008_V010302_20230628T165614Z"
    cube = rng.integers(0, 9000, (5, 6, 8)).astype("i2")
    cube[3] = -32768
    bands = "".join(_ENMAP.format(i + 1, w, 0.0001, 0) for i, w in enumerate(WAVE))
    quality = "<vnirProductQuality><expectedChannelsList>1,2,3</expectedChannelsList></vnirProductQuality>"
    quality += "<swirProductQuality><expectedChannelsList>5</expectedChannelsList></swirProductQuality>"
    _product(folder, name, "-SPECTRAL_IMAGE.TIF", "-METADATA.XML", cube, bands, quality)
    return cube


def desis(folder: Path, rng: np.random.Generator) -> np.ndarray:
    """A DESIS L2A folder of 5 bands, 6 x 8 pixels, with a <band> of another part of the metadata beside the spectral ones."""
    cube = rng.integers(0, 9000, (5, 6, 8)).astype("i2")
    cube[:, 2, 2] = -32768
    bands = "".join(_DESIS.format(i + 1, w, 0.0001, 0.01 * i) for i, w in enumerate((400, 450, 600, 800, 1000)))
    other = "<interiorOrientation><band><bandNumber>1</bandNumber></band></interiorOrientation>"
    _product(folder, "DESIS-HSI-L2A-DT1203190212_025", "-SPECTRAL_IMAGE.tif", "-METADATA.xml", cube, bands, other)
    return cube


def _product(folder: Path, name: str, image: str, meta: str, cube: np.ndarray, bands: str, more: str) -> None:
    folder.mkdir(parents=True)
    grid = Affine(30, 0, 366000, 0, -30, 5810000)
    options = {"driver": "GTiff", "count": 5, "height": 6, "width": 8, "dtype": "int16", "nodata": -32768}
    with rasterio.open(folder / (name + image), "w", crs="EPSG:32633", transform=grid, **options) as file:
        file.write(cube)
    text = "<?xml version='1.0'?><level_X><specific><backgroundValue>-32768</backgroundValue>"
    text += f"<bandCharacterisation>{bands}</bandCharacterisation>{more}</specific></level_X>"
    (folder / (name + meta)).write_text(text.replace("><", ">\n<"))


def neon(path: Path, rng: np.random.Generator) -> np.ndarray:
    """A NEON reflectance tile of 6 x 8 pixels and 5 bands; the fourth lies in a water-vapour window."""
    cube = rng.integers(0, 10000, (6, 8, 5)).astype("i2")
    cube[1, 2] = -9999
    with h5py.File(path, "w") as file:
        data = file.create_dataset("SJER/Reflectance/Reflectance_Data", data=cube, chunks=(3, 4, 5))
        data.attrs["Scale_Factor"], data.attrs["Data_Ignore_Value"] = 10000.0, -9999.0
        file["SJER/Reflectance"].attrs["Band_Window_1_Nanometers"] = np.array([1340, 1445])
        about = "SJER/Reflectance/Metadata/"
        file[about + "Spectral_Data/Wavelength"], file[about + "Spectral_Data/FWHM"] = WAVE, np.full(5, 5.8)
        file[about + "Coordinate_System/EPSG Code"] = b"32611"
        file[about + "Coordinate_System/Map_Info"] = (
            b"UTM,  1.000,  1.000,       257000.00,       4112000.0,       1.0000000,       1.0000000,  11,  North,  WGS-84"
        )
    return cube
