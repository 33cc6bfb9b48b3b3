"""The table of formats: what each path is taken for, and that a file is opened once to find out."""

from __future__ import annotations

import collections
import sys

import h5py
import numpy as np
import pytest
import rasterio
import yaml

from tests.properties.test_readers_fuzz import FORMATS as LAYOUTS
from tests.unit.data.conftest import paint
from tests.unit.data.test_boxes import folder as boxes_folder
from tests.unit.data.test_readers_sar import intensity, write
from workbench.data import catalog, formats
from workbench.data.catalog import open_scene
from workbench.data.formats import FORMATS, only_here, recognise
from workbench.data.readers.files import Look
from workbench.errors import InputError

NAMES = {
    "envi-bsq": "ENVI header", "envi-bil": "ENVI header", "envi-bip": "ENVI header", "matlab5": "MATLAB 5",
    "matlab5-packed": "MATLAB 5", "matlab73": "MATLAB 7.3", "geotiff": "GeoTIFF", "geotiff-packed": "GeoTIFF", "npy": "NPY",
    "netcdf3": "NetCDF 3", "netcdf4": "NetCDF 4 or HDF5", "emit": "EMIT", "prisma": "PRISMA", "neon": "NEON",
    "enmap": "EnMAP or DESIS product", "desis": "EnMAP or DESIS product", "zarr3": "Zarr",
    "matlab5-struct": "MATLAB 5", "matlab-by-python": "MATLAB 7.3", "geotiff-with-header": "GeoTIFF", "geotiff-alpha": "GeoTIFF",
    "npz": "NPZ", "pace": "NetCDF 4 or HDF5", "tanager": "NetCDF 4 or HDF5", "zarr2": "Zarr", "matlab5-sparse": "MATLAB 5",
    "hdf5-text": "NetCDF 4 or HDF5", "envi-commas": "ENVI header", "geotiff-named": "GeoTIFF",
}  # fmt: skip
# opens; 3 for the others. Of Zarr 2 it is a small document that zarr-python asks for again and again
MOST = {"netcdf4": 4, "hdf5-text": 4, "zarr3": 4, "zarr2": 7, "pace": 5, "tanager": 5, "npz": 6, "matlab-by-python": 4}
ALONE = {"ENVI header", "ENVI data", "MATLAB 5", "EnMAP or DESIS product", "Sentinel-1 SAFE"}


class Opens:
    """Counts what opens a file below a folder: Python (an audit hook, which cannot be taken off again), rasterio and h5py."""

    counted: collections.Counter[str] | None = None

    def __call__(self, event: str, args: tuple) -> None:
        if event == "open" and self.counted is not None and isinstance(args[0], str | bytes):
            self.counted[args[0] if isinstance(args[0], str) else args[0].decode()] += 1


OPENS = Opens()
sys.addaudithook(OPENS)


@pytest.fixture
def opens(monkeypatch, tmp_path):
    """name of a file in `tmp_path` -> how often it was opened since."""
    by_rasterio, by_h5py = rasterio.open, h5py.File

    def counted(path, *args, **more):
        OPENS.counted[str(path)] += 1
        return by_rasterio(path, *args, **more)

    class File(by_h5py):
        def __init__(self, path, *args, **more):
            OPENS.counted[str(path)] += isinstance(path, str) or hasattr(path, "__fspath__")
            super().__init__(path, *args, **more)

    OPENS.counted = collections.Counter()
    monkeypatch.setattr(rasterio, "open", counted)
    monkeypatch.setattr(h5py, "File", File)
    yield lambda: {p[len(str(tmp_path)) + 1 :]: n for p, n in OPENS.counted.items() if p.startswith(str(tmp_path))}
    OPENS.counted = None


def test_every_layout_has_its_row():
    assert set(NAMES) == set(LAYOUTS)
    assert len({row.name for row in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_is_opened_at_most_three_times(tmp_path, opens, layout):
    """Once to recognise it, hash it and read its header, once more by rasterio or h5py where these read it, and once to look at
    some rows for values that fill whole pixels without being declared missing."""
    path = LAYOUTS[layout][0](tmp_path)
    catalog._by_sha256()  # reads the catalogue, not the file
    OPENS.counted.clear()
    scene = open_scene(path)
    found = opens()
    assert scene["hsi"].shape[0] >= 2
    assert found, "nothing was counted"
    # xarray opens once more what it decodes: NetCDF, and the documents of Zarr, which are judged as text before and hashed after
    assert max(found.values()) <= MOST.get(layout, 3), found
    with Look(path) as look:
        row = recognise(look)
        assert row.name == NAMES[layout]
        assert only_here(look) == (row.name in ALONE)


def test_a_sar_image_is_opened_twice_although_its_values_are_looked_at(tmp_path, opens):
    path = write(tmp_path / "s1_vv.tif", 10 * np.log10(intensity(2)), descriptions=["VV", "VH"])
    OPENS.counted.clear()
    assert open_scene(path)["sar"].attrs["scale_in_file"] == "db"
    assert opens() == {"s1_vv.tif": 2}


def test_the_header_of_an_envi_pair_is_read_once_by_either_name(tmp_path, opens):
    header = LAYOUTS["envi-bil"][0](tmp_path)
    for path in (header, header.with_suffix("")):
        OPENS.counted.clear()
        open_scene(path)
        assert opens()[header.name] == 1
    with Look(header.with_suffix("")) as look:
        assert recognise(look).name == "ENVI data"


@pytest.mark.parametrize("layout", ["voc-one", "coco", "merged", "dota", "masks"])
def test_folders_with_boxes(tmp_path, layout):
    with Look(boxes_folder(tmp_path, layout)) as look:
        assert recognise(look).name == "chips with boxes"


def test_folders_of_chips_and_pairs_and_a_coreset(tmp_path):
    for name in ("river", "forest"):
        paint(tmp_path / "chips" / name / "0.png", 3)
    for name in ("A", "B", "label"):
        paint(tmp_path / "pairs" / name / "0.png", 3)
    (tmp_path / "some.yml").write_text(yaml.safe_dump({"of": "digits"}))
    found = {}
    for name in ("chips", "pairs", "some.yml"):
        with Look(tmp_path / name) as look:
            found[name] = recognise(look).name
            assert not only_here(look)
    assert found == {"chips": "chips by class", "pairs": "set of pairs", "some.yml": "coreset"}


def test_a_tiff_of_one_band_is_sar_and_one_of_several_a_cube_unless_a_scale_is_given(tmp_path):
    one, cube = write(tmp_path / "one.tif", intensity(1)), write(tmp_path / "cube.tif", intensity(9))
    for path, keys, name in ((one, {}, "SAR GeoTIFF"), (cube, {}, "GeoTIFF"), (cube, {"scale": "db"}, "SAR GeoTIFF")):
        with Look(path) as look:
            assert recognise(look, keys).name == name


def test_what_is_no_format_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "empty.tif").write_bytes(b"")
    for name, says in (
        ("a.txt", "in no format that can be read"),
        ("empty.tif", "is empty"),
        ("gone.tif", "There is no file"),
    ):
        with Look(tmp_path / name) as look, pytest.raises(InputError, match=says):
            recognise(look)


def test_only_cubes_are_opened_as_files(tmp_path):
    """`open_file` takes a SAR image for what a cube of one band is, and a folder for no file."""
    with pytest.raises(InputError, match="needs several bands"):
        formats.open_file(write(tmp_path / "one.tif", intensity(1)))
    with pytest.raises(InputError, match="is a folder"):
        formats.open_file(tmp_path)


def test_what_a_look_opened_is_closed_at_its_end(tmp_path):
    path = LAYOUTS["matlab73"][0](tmp_path)
    with Look(path) as look:
        formats.open_path(look, formats.Request())
        file = look.file
        assert not file.closed
    assert file.closed
