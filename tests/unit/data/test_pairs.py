"""Pairs from files and folders: what is read, what is refused and how it is told, labels of every kind, the catalogue."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from PIL import Image

from workbench.data.catalog import open_scene
from workbench.data.checks import check_pair
from workbench.data.pairs import as_pair, open_pair, open_pairs, valid
from workbench.data.readers.raster import CHUNK, iso, open_raster
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.scene import describe, fingerprint

RNG = np.random.default_rng(0)
A, B = RNG.integers(1, 255, (2, 3, 12, 10), dtype=np.uint8)
MASK = np.zeros((12, 10), np.uint8)
MASK[2:5, 3:7] = 255


def png(path, values):
    """(band, y, x) or (y, x) uint8 as a picture."""
    values = np.asarray(values)
    Image.fromarray(values if values.ndim == 2 else values.transpose(1, 2, 0)).save(path)
    return path


def tif(path, values, *, left=500_000.0, top=4_000_000.0, size=30.0, crs="EPSG:32651", nodata=None, tags=None):
    """(band, y, x) as a GeoTIFF; crs None: without a map."""
    values = np.asarray(values)
    place = {} if crs is None else {"crs": crs, "transform": Affine(size, 0, left, 0, -size, top)}
    bands, height, width = values.shape
    about = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": values.dtype, "nodata": nodata}
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **about, **place) as file:
            file.write(values)
            file.update_tags(**(tags or {}))
    return path


@pytest.fixture
def pictures(tmp_path):
    return png(tmp_path / "a.png", A), png(tmp_path / "b.png", B), png(tmp_path / "m.png", MASK)


# --- one pair ---------------------------------------------------------------------------------------------------------


def test_pictures_become_a_lazy_scene_in_0_to_1(pictures):
    scene = open_pair(*pictures)
    assert scene["before"].dims == scene["after"].dims == ("band", "y", "x")
    assert scene["before"].chunks is not None
    assert scene["before"].dtype == np.float32
    np.testing.assert_array_equal(scene["before"].values, A.astype(np.float32) / 255)
    np.testing.assert_array_equal(scene["after"].values, B.astype(np.float32) / 255)
    np.testing.assert_array_equal(scene["truth"].values, (MASK > 0).astype(np.int16))
    assert scene["truth"].dtype == np.int16
    assert scene["before"].attrs["kind"] == scene.attrs["modality"] == "optical"
    assert "12 of 120" in scene.attrs["notes"]
    assert valid(scene).values.all()
    check_pair(scene)


@pytest.mark.parametrize("name", ["a.bmp", "a.tif"])
def test_other_formats_give_the_same_numbers(tmp_path, pictures, name):
    path = tif(tmp_path / name, A, crs=None) if name.endswith("tif") else png(tmp_path / name, A)
    xr.testing.assert_equal(open_pair(path, pictures[1]), open_pair(*pictures[:2]))


def test_envi_with_wavelengths_and_map(tmp_path):
    for name, values in (("one", A), ("two", B)):
        values.tofile(tmp_path / name)
        (tmp_path / f"{name}.hdr").write_text(
            "ENVI\nsamples = 10\nlines = 12\nbands = 3\nheader offset = 0\nfile type = ENVI Standard\ndata type = 1\n"
            "interleave = bsq\nbyte order = 0\nmap info = {UTM, 1, 1, 500000, 4000000, 30, 30, 51, North, WGS-84, units=Meters}\n"
            "wavelength units = Micrometers\nwavelength = {0.48, 0.56, 0.66}\n"
        )
    scene = open_pair(tmp_path / "one.hdr", tmp_path / "two")
    np.testing.assert_allclose(scene["wavelength"], [480, 560, 660])
    assert scene.rio.crs.to_epsg() == 32651
    np.testing.assert_allclose(scene["x"][:2], [500015, 500045])
    np.testing.assert_allclose(scene["y"][:2], [3999985, 3999955])
    (tmp_path / "two").write_bytes(b"short")
    with pytest.raises(InputError, match="truncated"):
        open_pair(tmp_path / "one.hdr", tmp_path / "two")


def test_other_numbers_keep_their_value(tmp_path):
    big = (A.astype(np.uint16) * 40).astype(np.uint16)
    scene = open_pair(tif(tmp_path / "a.tif", big), tif(tmp_path / "b.tif", B.astype(np.float32) * 40))
    np.testing.assert_array_equal(scene["before"].values, big.astype(np.float32))
    np.testing.assert_array_equal(scene["after"].values, B.astype(np.float32) * 40)
    assert "step" not in scene["before"].attrs


def test_scale_and_offset_of_the_file(tmp_path):
    path = tif(tmp_path / "a.tif", A.astype(np.uint16))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.5,) * 3, (1.0,) * 3
    scene = open_pair(path, tif(tmp_path / "b.tif", B.astype(np.uint16)))
    np.testing.assert_allclose(scene["before"].values, A * 0.5 + 1)
    assert "scale 0.5" in scene.attrs["notes"]


def test_windows_are_read_one_by_one(tmp_path):
    """An image larger than a chunk: each window equals the same part of the whole."""
    values = RNG.integers(0, 255, (2, CHUNK + 90, CHUNK + 7), dtype=np.uint8)
    raster = open_raster(tif(tmp_path / "a.tif", values))
    lazy = raster.lazy()
    assert lazy.numblocks == (1, 2, 2)
    np.testing.assert_array_equal(lazy.compute(), values.astype(np.float32) / 255)
    np.testing.assert_array_equal(raster[1:2, 500:530:3, 5:520], values[1:2, 500:530:3, 5:520].astype(np.float32) / 255)
    assert raster[:, 5:5, :].shape == (2, 0, CHUNK + 7)


def test_nodata_of_one_date_is_missing_there_and_masks_both(tmp_path):
    first = A.astype(np.int16)
    first[1, 0, :4] = -9999  # in one band
    scene = open_pair(tif(tmp_path / "a.tif", first, nodata=-9999), tif(tmp_path / "b.tif", B.astype(np.int16)))
    assert int(np.isnan(scene["before"]).sum()) == 4
    assert int(np.isnan(scene["after"]).sum()) == 0
    known = valid(scene)
    assert known.dims == ("y", "x")
    assert int((~known).sum()) == 4
    check_pair(scene)


def test_alpha_is_missing_and_no_band_and_black_is_a_colour(tmp_path):
    alpha = np.full((12, 10), 255, np.uint8)
    alpha[:, 0] = 0
    first = A.copy()
    first[:, 3, 3] = 0
    scene = open_pair(png(tmp_path / "a.png", np.concatenate([first, alpha[None]])), png(tmp_path / "b.png", B))
    assert scene.sizes["band"] == 3
    assert np.isnan(scene["before"].values[:, :, 0]).all()
    assert int((~valid(scene)).sum()) == 12
    assert (scene["before"].values[:, 3, 3] == 0).all()


def test_zero_as_nodata_of_8_bits_is_missing_only_where_all_bands_are_zero(tmp_path):
    first = A.copy()
    first[0, 1, 1] = 0
    first[:, 2, 2] = 0
    scene = open_pair(tif(tmp_path / "a.tif", first, nodata=0), tif(tmp_path / "b.tif", B))
    assert np.isfinite(scene["before"].values[:, 1, 1]).all()
    assert np.isnan(scene["before"].values[:, 2, 2]).all()


def test_a_palette_is_looked_up(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8), mode="P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90] + [0] * (253 * 3))
    picture.save(tmp_path / "p.png")
    np.testing.assert_allclose(
        open_raster(tmp_path / "p.png")[:, :, :] * 255, [[[10, 40], [40, 70]], [[20, 50], [50, 80]], [[30, 60], [60, 90]]]
    )


def test_sar_takes_one_of_three_equal_bands_and_refuses_colours(tmp_path):
    grey = np.repeat(A[:1], 3, axis=0)
    first, second = png(tmp_path / "a.png", grey), png(tmp_path / "b.png", B[0])
    scene = open_pair(first, second, keys={"modality": "sar"})
    assert scene["before"].shape == (1, 12, 10)
    assert scene["after"].attrs["kind"] == "sar"
    assert scene["before"].attrs["step"] == 1 / 255
    assert "3 bands" in scene.attrs["notes"]
    with pytest.raises(InputError, match="coloured"):
        open_pair(png(tmp_path / "c.png", A), second, keys={"modality": "sar"})
    assert "modality=sar" in open_pair(png(tmp_path / "d.png", A[0]), second).attrs["notes"]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_different_sizes(tmp_path, pictures):
    smaller = png(tmp_path / "s.png", B[:, :-1])
    with pytest.raises(InputError, match=r"a\.png has 12 x 10 pixels, s\.png 11 x 10.*neither has a map.*Crop"):
        open_pair(pictures[0], smaller)
    with pytest.raises(InputError, match="neither has a map"):
        open_pair(pictures[0], smaller, resample=True)  # nobody knows onto what


def test_different_bands(tmp_path, pictures):
    with pytest.raises(InputError, match=r"3 bands.*1; a pair has the same bands"):
        open_pair(pictures[0], png(tmp_path / "g.png", B[0]))


def test_one_date_with_a_map_is_told(tmp_path, pictures):
    scene = open_pair(tif(tmp_path / "a.tif", A), pictures[1])
    assert "only one of the two dates has a map" in scene.attrs["notes"]
    assert scene.rio.crs.to_epsg() == 32651


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"crs": "EPSG:32650"}, r"do not overlap"),
        ({"left": 900_000.0}, r"do not overlap"),
        ({"size": 15.0}, r"resolution \(30 and 15 metre\)"),
        ({"left": 500_030.0}, r"corner"),
    ],
)
def test_grids_that_differ_are_told_and_nothing_is_resampled(tmp_path, other, says):
    first, second = tif(tmp_path / "a.tif", A), tif(tmp_path / "b.tif", B, **other)
    with pytest.raises(InputError, match=says) as error:
        open_pair(first, second)
    if "overlap" not in says:
        assert "--resample" in str(error.value)
        scene = open_pair(first, second, resample=True)
        assert scene["after"].shape == (3, 12, 10)
        assert "resampled (bilinear)" in scene.attrs["notes"]
    else:
        with pytest.raises(InputError, match=says):
            open_pair(first, second, resample=True)


@pytest.mark.filterwarnings("ignore:.*matmul:PendingDeprecationWarning")  # rasterio's own, with affine 3
def test_another_crs_is_told_and_resampled_on_request(tmp_path):
    """The same smooth surface in UTM and in degrees: resampled, the two agree away from the rim."""
    y, x = np.mgrid[:40, :40].astype(np.float32)
    first = tif(tmp_path / "a.tif", (x + 2 * y)[None])
    with rasterio.open(first) as file:
        import rasterio.warp as warp

        transform, width, height = warp.calculate_default_transform(file.crs, "EPSG:4326", 40, 40, *file.bounds)
        there = np.zeros((height, width), np.float32)
        warp.reproject(file.read(1), there, src_transform=file.transform, src_crs=file.crs, dst_transform=transform,
                       dst_crs="EPSG:4326", dst_nodata=-1, resampling=warp.Resampling.bilinear)  # fmt: skip
    second = tmp_path / "b.tif"
    about = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "float32", "nodata": -1}
    with rasterio.open(second, "w", **about, crs="EPSG:4326", transform=transform) as file:
        file.write(there, 1)
    with pytest.raises(InputError, match=r"CRS \(EPSG:32651 and EPSG:4326\).*--resample"):
        open_pair(first, second)
    scene = open_pair(first, second, resample=True)
    gap = abs(scene["after"] - scene["before"])[0, 5:-5, 5:-5]
    assert float(gap.max()) < 1.0  # of values up to 117
    assert scene.attrs["sha256"] != open_pair(first, tif(tmp_path / "c.tif", (x + y)[None])).attrs["sha256"]


def test_what_the_second_date_does_not_reach_is_missing(tmp_path):
    first, second = tif(tmp_path / "a.tif", A), tif(tmp_path / "b.tif", B, left=500_000.0 + 4 * 30)
    scene = open_pair(first, second, resample=True)
    np.testing.assert_array_equal(valid(scene).values, np.broadcast_to(np.arange(10) >= 4, (12, 10)))
    np.testing.assert_allclose(scene["after"].values[:, :, 4:], B[:, :, :-4] / np.float32(255), atol=1e-6)


def test_swapped_dates(tmp_path):
    old, new = {"ACQUISITION_DATE": "2003-02-06"}, {"ACQUISITION_DATE": "2000-03-17T02:30:00Z"}
    first, second = tif(tmp_path / "a.tif", A, tags=old), tif(tmp_path / "b.tif", B, tags=new)
    with pytest.raises(InputError, match=r"2003-02-06.*2000-03-17T02:30:00.*swapped"):
        open_pair(first, second)
    scene = open_pair(second, first)
    assert scene["before"].attrs["time"] == "2000-03-17T02:30:00"
    assert "taken 2003-02-06" in describe(scene)
    assert open_pair(first, second, keys={"time_after": "2010-01-01"})["after"].attrs["time"] == "2010-01-01"
    odd = tif(tmp_path / "c.tif", B, tags={"ACQUISITION_DATE": "spring"})
    assert "'spring'" in open_pair(first, odd).attrs["notes"]


def test_times_are_iso():
    assert iso("2000-03-17") == "2000-03-17"
    assert iso("2000-03-17 02:30:00+02:00") == "2000-03-17T00:30:00"
    with pytest.raises(InputError, match="time_before"):
        open_pair("a", "b", keys={"time_before": "yesterday"})
    with pytest.raises(InputError, match="modality"):
        open_pair("a", "b", keys={"modality": "radar"})
    with pytest.raises(InputError, match="Did you mean 'modality'"):
        open_pair("a", "b", keys={"modalty": "sar"})


def test_the_same_file_twice(pictures):
    with pytest.raises(InputError, match="same file"):
        open_pair(pictures[0], pictures[0])


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for folder in ("A", "B"):
        (tmp_path / folder).mkdir()
    first, second = png(tmp_path / "A" / "x.png", A), png(tmp_path / "B" / "x.png", B)
    assert open_pair(first, second).attrs["title"] == "A/x.png and B/x.png"
    with pytest.raises(InputError, match=r"A/x\.png has 12 x 10 pixels, B/x\.png 11 x 10"):
        open_pair(first, png(second, B[:, 1:]))


def test_files_that_are_no_images(tmp_path, pictures):
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(InputError, match="no format"):
        open_pair(tmp_path / "x.txt", pictures[1])
    with pytest.raises(InputError, match="There is no file"):
        open_pair(tmp_path / "none.tif", pictures[1])
    (tmp_path / "broken.png").write_bytes(pictures[0].read_bytes()[:40])
    with pytest.raises(InputError, match="truncated or damaged"):
        open_pair(tmp_path / "broken.png", pictures[1])["before"].values  # noqa: B018


def test_truth_of_another_size_or_place(tmp_path, pictures):
    with pytest.raises(InputError, match=r"10 x 12 pixels.*turned"):
        open_pair(*pictures[:2], png(tmp_path / "t.png", MASK.T))
    first, second = tif(tmp_path / "a.tif", A), tif(tmp_path / "b.tif", B)
    with pytest.raises(InputError, match="is at another place"):
        open_pair(first, second, tif(tmp_path / "t.tif", MASK[None], left=500_300.0))
    assert int(open_pair(first, second, tif(tmp_path / "u.tif", MASK[None]))["truth"].sum()) == 12


def test_checks_of_scenes_made_in_memory():
    before = xr.DataArray(np.zeros((2, 4, 5), np.float32), dims=("band", "y", "x"), coords={"x": np.arange(5) * 30.0})
    with pytest.raises(InputError, match="same pixels in both"):
        as_pair(before, before[:, :3])
    with pytest.raises(InputError, match="other x coordinates"):
        as_pair(before, before.assign_coords(x=before["x"] + 15))
    scene = as_pair(before, before + 1)
    check_pair(scene)
    with pytest.raises(InputError, match="known on both dates; this scene has none"):
        check_pair(scene.assign(after=scene["after"] * np.nan))
    with pytest.raises(InputError, match="Infinite"):
        check_pair(scene.assign(after=scene["after"] / 0))
    truth = xr.DataArray(np.full((4, 5), 255), dims=("y", "x"))
    with pytest.raises(InputError, match=r"1 \(changed\), 0.*255.*as_change"):
        check_pair(scene.assign(truth=truth))
    with pytest.raises(InputError, match="arcdnet needs labelled pixels"):
        check_pair(scene.assign(truth=truth * 0 - 1), who="arcdnet")


def test_a_jpeg_mask_loses_nothing_but_its_noise(tmp_path, pictures):
    """Lossy compression makes grey rims: ceil(v / 255) would mark them, above 127 does not."""
    grow = np.ones((9, 9), np.uint8)
    mask = np.kron(MASK, grow)
    Image.fromarray(mask).save(tmp_path / "m.jpg", quality=30)
    stored = np.asarray(Image.open(tmp_path / "m.jpg"))
    assert (stored > 0).sum() > (mask > 0).sum()
    first, second = (png(tmp_path / f"{n}8.png", np.kron(i, grow)) for n, i in (("a", A), ("b", B)))
    scene = open_pair(first, second, tmp_path / "m.jpg")
    assert (scene["truth"].values == (mask > 0)).mean() > 0.999
    assert "lossy" in scene.attrs["notes"]


# --- sets -------------------------------------------------------------------------------------------------------------


def set_of(folder, names=("x_1", "x_2", "x_10"), labels=True):
    for name in ("A", "B", *(["label"] if labels else [])):
        (folder / name).mkdir(parents=True)
    for i, name in enumerate(names):
        png(folder / "A" / f"{name}.png", np.roll(A, i, 1))
        png(folder / "B" / f"{name}.png", np.roll(B, i, 1))
        if labels:
            png(folder / "label" / f"{name}.png", np.roll(MASK, i, 0))
    return folder


def test_a_folder_of_pairs(tmp_path):
    scene = open_scene(set_of(tmp_path / "levir"))
    assert scene["sample"].values.tolist() == ["x_1", "x_10", "x_2"]
    assert scene["before"].dims == ("sample", "band", "y", "x")
    assert scene["before"].chunks is not None
    assert scene["truth"].chunks is not None
    np.testing.assert_array_equal(scene["after"].sel(sample="x_2").values, np.roll(B, 1, 1).astype(np.float32) / 255)
    np.testing.assert_array_equal(scene["truth"].sel(sample="x_10").values, np.roll(MASK, 2, 0) > 0)
    assert "split" not in scene.coords
    assert valid(scene).dims == ("sample", "y", "x")
    check_pair(scene)
    part = scene.isel(sample=[2, 0], y=slice(1, 3))
    np.testing.assert_array_equal(part["before"].values, scene["before"].values[[2, 0], :, 1:3])


def test_splits_from_folders_and_from_lists(tmp_path):
    root = tmp_path / "cd"
    set_of(root / "train", ("a", "b"))
    set_of(root / "test", ("a",))
    scene = open_pairs(root)
    assert scene["sample"].values.tolist() == ["test/a", "train/a", "train/b"]
    assert scene["split"].values.tolist() == ["test", "train", "train"]
    flat = set_of(tmp_path / "flat", ("a", "b"))
    (flat / "list").mkdir()
    (flat / "list" / "train.txt").write_text("a.png\n")
    assert "split" not in open_pairs(flat).coords  # b is in no list
    (flat / "list" / "test.txt").write_text("b.png\n")
    assert open_pairs(flat)["split"].values.tolist() == ["train", "test"]


def test_labels_that_are_missing_are_unlabelled_and_told(tmp_path):
    folder = set_of(tmp_path / "s")
    (folder / "label" / "x_2.png").unlink()
    scene = open_pairs(folder)
    assert (scene["truth"].sel(sample="x_2") == -1).all()
    assert "1 pairs have no label (x_2)" in scene.attrs["notes"]
    assert "truth" not in open_pairs(set_of(tmp_path / "t", labels=False))


def test_all_labels_of_a_set_are_read_by_one_rule(tmp_path):
    """A label with nothing but the noise of compression has no change, because the others are black and white."""
    folder = set_of(tmp_path / "s")
    png(folder / "label" / "x_2.png", (np.arange(120).reshape(12, 10) % 4).astype(np.uint8))
    assert int(open_pairs(folder)["truth"].sel(sample="x_2").sum()) == 0


def test_a_set_that_does_not_fit_together(tmp_path):
    folder = set_of(tmp_path / "s")
    (folder / "B" / "x_1.png").unlink()
    with pytest.raises(InputError, match="'x_1'.*only before"):
        open_pairs(folder)
    png(folder / "B" / "x_1.png", B[:, 1:])
    scene = open_pairs(folder)
    assert scene["sample"].values.tolist() == ["x_10", "x_2"]
    assert scene["after"].values.shape == (2, 3, 12, 10)
    assert "1 of 3 pairs are left out" in scene.attrs["notes"]
    assert "x_1 (3 x 12 x 10 and 3 x 11 x 10" in scene.attrs["notes"]
    with pytest.raises(InputError, match="not a set of pairs"):
        open_pairs(tmp_path)


def test_the_fingerprint_knows_the_files_and_the_truth(tmp_path, pictures):
    scene = open_pair(*pictures)
    assert fingerprint(scene) == fingerprint(open_pair(*pictures))
    assert fingerprint(scene) != fingerprint(open_pair(pictures[1], pictures[0], pictures[2]))
    png(pictures[2], np.roll(MASK, 1, 0))
    assert fingerprint(scene) != fingerprint(open_pair(*pictures))


# --- by name and by path ----------------------------------------------------------------------------------------------


def test_open_scene_with_the_second_date_beside(pictures):
    first, second, mask = map(str, pictures)
    xr.testing.assert_identical(open_scene(first, beside={"after": second}, truth=mask), open_pair(first, second, mask))
    with pytest.raises(InputError, match="needs the path of a first one"):
        open_scene("sim-coast-town", beside={"after": second})
    with pytest.raises(InputError, match="puts a further file onto"):
        open_scene(first, resample=True)
    with pytest.raises(InputError, match="has its own"):
        open_scene("sim-change-town", truth=mask)


def test_how_a_run_opens_a_pair_again(pictures, tmp_path, monkeypatch):
    from workbench.execution import about_scene

    first, second, mask = pictures
    monkeypatch.chdir(tmp_path)
    source = Source(first.name, mask.name, {"time_before": "2001-01-01"}, {"after": second.name}, resample=True)
    record = about_scene(open_pair(*pictures), source)["open"]
    assert record == {
        "scene": str(first), "truth": str(mask), "keys": {"time_before": "2001-01-01"}, "beside": {"after": str(second)},
        "resample": True,
    }  # fmt: skip
    assert set(about_scene(open_pair(*pictures), Source(first))["open"]) == {"scene", "truth", "keys"}


def test_the_command_line_describes_a_pair(pictures, capsys):
    from typer.testing import CliRunner

    from workbench.cli import app

    first, second, mask = map(str, pictures)
    said = CliRunner().invoke(app, ["describe", first, "--after", second, "--truth", mask, "--key", "time_after=2020-05-01"])
    assert said.exit_code == 0
    assert "after: taken 2020-05-01" in said.output
    assert "12 marked pixels of 120" in said.output
