"""Maps written as they are computed: Zarr and GeoTIFF hold what was in the array, and half-written ones are never seen."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr

from workbench.data import writers
from workbench.data.writers import Overview, check_map, strips, write_cog, write_map, write_zarr
from workbench.engines import cluster
from workbench.errors import InputError


def score(shape=(70, 45), chunks=(9, 20), crs=None):
    values = np.random.default_rng(0).gamma(2.0, size=shape)
    values[3, 4] = np.nan
    data = da.from_array(values, chunks=chunks)
    coords = {"y": 5e6 - 30.0 * np.arange(shape[0]), "x": 4e5 + 30.0 * np.arange(shape[1])}
    about = {"long_name": "RX score", "units": "1", "rank": 7}
    made = xr.DataArray(data, coords, ("y", "x"), "score", about)
    return made.rio.write_crs(crs) if crs else made


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    monkeypatch.setattr(writers, "TILE", 16)
    monkeypatch.setattr(writers, "OVERVIEW", 10)


@pytest.mark.parametrize("chunks", [(9, 20), (70, 7), (1, 45), (70, 45), (33, 44)])
def test_strips_are_whole_rows_that_fill_tiles(chunks):
    map_ = score(chunks=chunks)
    found = list(strips(map_.data, cluster.blocks))
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in found]), map_.values)
    assert all(start % 16 == 0 for start, _ in found)
    assert all(len(rows) % 16 == 0 for _, rows in found[:-1])
    assert [start for start, _ in found] == [0, *np.cumsum([len(rows) for _, rows in found])[:-1]]


@pytest.mark.parametrize("shape", [(70, 45), (7, 100), (5, 5), (100, 1)])
def test_an_overview_keeps_the_largest_of_every_few_pixels(shape):
    values = np.random.default_rng(1).normal(size=shape)
    values[:2, :1] = np.nan
    made = Overview(shape)
    for start in range(0, shape[0], 16):
        made.add(start, values[start : start + 16])
    step = max(1, -(-max(shape) // 10))
    for (i, j), value in np.ndenumerate(made.values):
        group = values[step * i : step * (i + 1), step * j : step * (j + 1)]
        expected = np.nan if np.isnan(group).all() else np.nanmax(group)
        np.testing.assert_equal(value, expected)
    assert max(made.values.shape) <= 10


def test_zarr_holds_the_map_and_its_overview(tmp_path):
    map_ = score(crs="EPSG:32633")
    result = xr.Dataset({"score": map_, "auc": ((), 0.5, {"long_name": "AUC"})}, attrs={"id": "x", "simulated": True})
    rows = list(write_zarr(result, tmp_path / "r.zarr", cluster.blocks))
    assert rows == [16, 32, 48, 70]
    with xr.open_dataset(tmp_path / "r.zarr", engine="zarr", consolidated=False, decode_coords="all") as again:
        xr.testing.assert_identical(again["score"].drop_vars("spatial_ref").load(), map_.drop_vars("spatial_ref").compute())
        assert again.rio.crs.to_epsg() == 32633
        assert float(again["auc"]) == 0.5
        assert again["score_overview"].dims == ("y_overview", "x_overview")
        assert again["score_overview"].attrs["step"] == 7
        assert float(again["score_overview"].max()) == float(map_.max())
        np.testing.assert_array_equal(again["y_overview"], map_["y"][::7])
    assert [p.name for p in tmp_path.iterdir()] == ["r.zarr"]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # reading one without a map warns
@pytest.mark.parametrize("crs", ["EPSG:32633", None])
def test_geotiff_is_a_cog_with_the_map_on_its_place(tmp_path, crs):
    map_ = score(shape=(700, 1100), chunks=(90, 500), crs=crs)
    assert list(write_cog(map_, tmp_path / "s.tif", cluster.blocks))[-1] == 700
    with rioxarray.open_rasterio(tmp_path / "s.tif") as again:
        np.testing.assert_array_equal(again.values[0], map_.values)
        assert again.dtype == np.float64
        assert np.isnan(again.rio.nodata)
        if crs:
            assert again.rio.crs.to_epsg() == 32633
            np.testing.assert_allclose(again["x"], map_["x"])
            np.testing.assert_allclose(again["y"], map_["y"])
    if crs:
        with rasterio.open(tmp_path / "s.tif") as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.overviews(1)
            assert file.descriptions == ("RX score",)
    assert [p.name for p in tmp_path.iterdir()] == ["s.tif"]


@pytest.mark.parametrize("name", ["s.tif", "s.zarr"])
def test_what_is_interrupted_is_never_seen(tmp_path, name):
    map_ = score()
    write = write_cog if name.endswith("tif") else lambda m, p, b: write_zarr(xr.Dataset({"score": m}), p, b)
    steps = write(map_, tmp_path / name, cluster.blocks)
    next(steps)
    steps.close()
    assert not (tmp_path / name).exists()
    write_map(xr.Dataset({"score": map_}), tmp_path / name, cluster.blocks)  # over what was left
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with pytest.raises(InputError, match="is not overwritten"):
        next(write(map_, tmp_path / name, cluster.blocks))


def test_places_that_cannot_be_are_refused_before_anything_is_computed(tmp_path):
    for path, message in (
        (tmp_path / "s.png", "written as .tif"),
        (tmp_path / "no" / "s.tif", "There is no folder"),
        (tmp_path, "written as .tif"),
    ):
        with pytest.raises(InputError, match=message):
            check_map(path)
    with pytest.raises(InputError, match="has no score map"):
        write_map(xr.Dataset({"kept": ("sample", [1])}), tmp_path / "s.tif", cluster.blocks)
    with pytest.raises(InputError, match=r"has dims \('a',\)"):
        next(write_cog(xr.DataArray([1.0], dims="a"), tmp_path / "s.tif", cluster.blocks))
