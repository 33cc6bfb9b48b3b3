"""Which pixels have a value: one rule for cubes, SAR, pairs, chips and masks, and what only looks like "no data" is told."""

import numpy as np
import pytest
import rasterio
import scipy.io
from affine import Affine
from PIL import Image
from rasterio.enums import ColorInterp

from workbench.data.catalog import open_scene
from workbench.data.chips import decode
from workbench.data.pairs import open_pair
from workbench.data.readers.missing import equals, undeclared
from workbench.data.readers.truth import as_truth
from workbench.errors import InputError

RNG = np.random.default_rng(4)
OUT = np.zeros((12, 14), bool)
OUT[:3] = True  # the rows outside the mosaic


def tif(path, bands, colours=None, mask=None, **more):
    options = {
        "driver": "GTiff",
        "height": bands.shape[1],
        "width": bands.shape[2],
        "count": len(bands),
        "dtype": bands.dtype,
    }
    place = {"crs": "EPSG:32632", "transform": Affine(1, 0, 4e5, 0, -1, 5e6)}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **options, **place, **more) as file:
        if colours:
            file.colorinterp = colours
        file.write(bands)
        if mask is not None:
            file.write_mask(mask)
    return path


def mosaic(kind="u2"):
    values = RNG.integers(500, 9000, (5, 12, 14)).astype(kind)
    values[:, OUT] = 0
    return values


def alpha():
    return np.where(OUT, 0, 65535).astype("u2")


ALPHA_LAST = [ColorInterp.gray, *[ColorInterp.undefined] * 4, ColorInterp.alpha]


@pytest.mark.parametrize("how", ["declared", "looks like one", "mask", "alpha and nodata"])
def test_alpha_and_masks_of_a_cube(tmp_path, how):
    values = mosaic()
    gone = OUT.copy()
    if how == "mask":
        path = tif(tmp_path / "a.tif", values, mask=~OUT)
    else:
        more = {"nodata": int(values[2, 8, 8])} if how == "alpha and nodata" else {}
        path = tif(
            tmp_path / "a.tif",
            np.concatenate([values, alpha()[None]]),
            None if how == "looks like one" else ALPHA_LAST,
            **more,
        )
    scene = open_scene(path)
    assert scene["hsi"].shape == (5, 12, 14)
    missing = np.isnan(scene["hsi"].values)
    if how == "alpha and nodata":
        assert missing[2, 8, 8]
    else:
        np.testing.assert_array_equal(missing, np.broadcast_to(gone, missing.shape))
    np.testing.assert_array_equal(scene["hsi"].values[:, 4:][~missing[:, 4:]], values[:, 4:][~missing[:, 4:]])
    assert "alpha band" in scene.attrs["notes"] or "mask of the file" in scene.attrs["notes"]


def test_the_user_says_whether_a_band_is_alpha(tmp_path):
    path = tif(tmp_path / "a.tif", np.concatenate([mosaic(), alpha()[None]]))
    assert open_scene(path, keys={"alpha": "none"})["hsi"].shape[0] == 6
    assert open_scene(path, keys={"alpha": "2"})["hsi"].shape[0] == 5
    with pytest.raises(InputError, match="alpha=9 must be none or the number of a band"):
        open_scene(path, keys={"alpha": "9"})


def test_a_last_band_of_data_is_no_alpha(tmp_path):
    values = np.concatenate([mosaic(), alpha()[None]])
    values[5, 5, 5] = 700  # one value that no alpha band of this kind has
    assert open_scene(tif(tmp_path / "a.tif", values))["hsi"].shape[0] == 6
    values = np.concatenate([mosaic(), alpha()[None]])
    values[5, 0, 0] = 65535  # not where the others are 0
    assert open_scene(tif(tmp_path / "b.tif", values))["hsi"].shape[0] == 6


def test_alpha_of_a_pair_and_of_a_resampled_pair(tmp_path):
    first = np.concatenate([mosaic(), alpha()[None]])
    path = tif(tmp_path / "a.tif", first, ALPHA_LAST)
    moved = np.full((6, 12, 14), 1000, "u2")
    moved[5] = alpha()
    moved[:5, OUT] = 0
    options = {"driver": "GTiff", "height": 12, "width": 14, "count": 6, "dtype": "uint16", "crs": "EPSG:32632"}
    with rasterio.open(tmp_path / "b.tif", "w", transform=Affine(1, 0, 4e5, 0, -1, 5e6 + 0.5), **options) as file:
        file.colorinterp = ALPHA_LAST
        file.write(moved)
    scene = open_pair(path, tmp_path / "b.tif", resample=True)
    assert np.isnan(scene["before"].values[:, OUT]).all()
    after = scene["after"].values
    assert set(np.unique(after[np.isfinite(after)])) == {1000.0}  # zeros beyond the alpha are not mixed in
    assert np.isnan(after[:, :2]).all()
    assert np.isfinite(after[:, 5:11]).all()


def test_alpha_of_sar(tmp_path):
    values = RNG.gamma(4, 0.05, (2, 12, 14)).astype("f4")
    values[1] = np.where(OUT, 0, 1)
    path = tif(tmp_path / "vv_linear.tif", values, [ColorInterp.gray, ColorInterp.alpha])
    scene = open_scene(path, keys={"scale": "linear", "polarization": "VV"})
    assert scene["sar"].shape == (1, 12, 14)
    np.testing.assert_array_equal(np.isnan(scene["sar"].values[0]), OUT)


def test_transparent_pixels_of_a_chip():
    import io

    picture = np.full((6, 7, 4), 200, np.uint8)
    picture[:2, :, 3] = 0
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    values = decode("a.png", file.getvalue(), None, None)
    assert values.shape == (3, 6, 7)
    assert np.isnan(values[:, :2]).all()
    np.testing.assert_allclose(values[:, 2:], 200 / 255)


@pytest.mark.parametrize("value", [-9999, 0, 32767])
def test_fill_that_is_not_declared_is_told(tmp_path, value):
    cube = RNG.integers(100, 5000, (10, 12, 6)).astype("i2")
    cube[:3] = value
    scipy.io.savemat(tmp_path / "a.mat", {"data": cube})
    scene = open_scene(tmp_path / "a.mat")
    assert f"hold {value} in all bands" in scene.attrs["notes"]
    assert not np.isnan(scene["hsi"].values).any()  # told, not replaced
    known = open_scene(tmp_path / "a.mat", keys={"nodata": str(value)})
    np.testing.assert_array_equal(
        np.isnan(known["hsi"].values), np.broadcast_to(cube.transpose(2, 0, 1) == value, (6, 10, 12))
    )
    assert "in all bands" not in known.attrs["notes"]
    with pytest.raises(InputError, match="nodata=x is not a number"):
        open_scene(tmp_path / "a.mat", keys={"nodata": "x"})


def test_huge_numbers_in_all_bands_are_told():
    cube = RNG.random((6, 10, 12)).astype("f4")
    cube[:, 4] = 1e20
    (note,) = undeclared(cube, cube.shape, None, None)
    assert note.startswith("12 of 120 sampled pixels hold 1e+20")


def test_measured_values_are_not_called_fill():
    cube = RNG.integers(100, 5000, (6, 40, 50)).astype("i2")
    assert undeclared(cube, cube.shape, None, None) == []
    cube[:, 3, 4] = 7  # one dead pixel
    assert undeclared(cube, cube.shape, None, None) == []


def test_large_blocks_are_not_unpacked_to_look_for_fill():
    class Never:
        dtype = np.dtype("f4")

        def __getitem__(self, key):
            raise AssertionError("was read")

    assert undeclared(Never(), (400, 5000, 5000), (400, 500, 500), None) == []


def test_nodata_in_the_dtype_of_the_file():
    block = np.array([np.float32(-3.4e38), 1], "f4")
    np.testing.assert_array_equal(equals(block, -3.4e38), [True, False])
    assert equals(np.array([1], "u2"), -9999) is None
    assert equals(np.array([1], "u2"), float("inf")) is None


# --- truth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("under", [0, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_mask_that_is_painted_on_a_transparent_layer(tmp_path, under, mode):
    painted = np.zeros((20, 20), bool)
    painted[3:6, 3:6] = True
    if mode == "P":
        picture = Image.fromarray(painted.astype(np.uint8), "P")
        picture.putpalette([under] * 3 + [255, 0, 0])
        picture.save(tmp_path / "m.png", transparency=0)
    else:
        bands = len(mode)
        values = np.full((20, 20, bands), under, np.uint8)
        values[..., -1] = np.where(painted, 255, 0)
        values[painted, 0] = 255
        if bands == 4:
            values[painted, 1:3] = 0
        Image.fromarray(values, mode).save(tmp_path / "m.png")
    scipy.io.savemat(tmp_path / "c.mat", {"data": RNG.random((20, 20, 5))})
    scene = open_scene(tmp_path / "c.mat", truth=tmp_path / "m.png")
    np.testing.assert_array_equal(scene["truth"].values, painted.astype(int))
    assert "transparent" in scene.attrs["notes"]


def test_transparency_beside_painted_black_is_not_labelled(tmp_path):
    values = np.zeros((20, 20, 4), np.uint8)
    values[:10, :, 3] = 255  # black is painted in the upper half
    values[2:4, 2:4] = (255, 0, 0, 255)
    Image.fromarray(values).save(tmp_path / "m.png")
    scipy.io.savemat(tmp_path / "c.mat", {"data": RNG.random((20, 20, 5))})
    truth = open_scene(tmp_path / "c.mat", truth=tmp_path / "m.png")["truth"].values
    assert ((truth == 1).sum(), (truth == 0).sum(), (truth == -1).sum()) == (4, 196, 200)


def test_ignore_values_of_a_mask(tmp_path):
    mask = np.zeros((6, 7), np.uint8)
    mask[1, 2:5], mask[4:] = 1, 255
    truth, note = as_truth(mask, "m", (6, 7))
    assert ((truth == 1).sum(), (truth == -1).sum()) == (3, 14)
    assert "14 not labelled (255)" in note
    assert (as_truth(np.where(mask == 1, 255, 0), "m", (6, 7))[0] == 1).sum() == 3  # black and white


def test_the_ignore_value_of_an_envi_mask(tmp_path):
    mask = np.zeros((6, 7), np.uint8)
    mask[1, 2:5], mask[4:] = 1, 9
    (tmp_path / "m.img").write_bytes(mask.tobytes())
    (tmp_path / "m.hdr").write_text(
        "ENVI\nsamples = 7\nlines = 6\nbands = 1\ndata type = 1\ninterleave = bsq\nbyte order = 0\ndata ignore value = 9\n"
    )
    scipy.io.savemat(tmp_path / "c.mat", {"data": RNG.random((6, 7, 5))})
    truth = open_scene(tmp_path / "c.mat", truth=tmp_path / "m.img")["truth"].values
    assert ((truth == 1).sum(), (truth == -1).sum()) == (3, 14)


def test_a_truth_at_another_place_on_the_map(tmp_path):
    cube = tif(tmp_path / "c.tif", mosaic())
    marks = (RNG.random((1, 12, 14)) > 0.9).astype("u1")
    assert "truth" in open_scene(cube, truth=tif(tmp_path / "m.tif", marks))
    with rasterio.open(tmp_path / "m.tif", "r+") as file:
        file.transform = Affine(1, 0, 4e5 + 30, 0, -1, 5e6)
    with pytest.raises(InputError, match="at another place on the map"):
        open_scene(cube, truth=tmp_path / "m.tif")


@pytest.mark.parametrize("text", ["-3.40282e+038", "-3.40283e+38", "-3.402823466385289e+38"])
def test_a_rounded_nodata_value_of_floats(tmp_path, text):
    """Headers and tags write the smallest float with few digits."""
    cube = np.random.default_rng(1).random((3, 4, 5)).astype("f4")
    cube[:, 1, 1] = np.finfo("f4").min
    (tmp_path / "a.dat").write_bytes(cube.tobytes())
    (tmp_path / "a.hdr").write_text(
        "ENVI\nsamples = 5\nlines = 4\nbands = 3\ndata type = 4\ninterleave = bsq\nbyte order = 0\n"
        f"data ignore value = {text}\n"
    )
    hsi = open_scene(tmp_path / "a.hdr")["hsi"].values
    assert np.isnan(hsi[:, 1, 1]).all()
    assert np.isnan(hsi).sum() == 3


@pytest.mark.parametrize("text", ["NaN", "nan(ind)", "-1.#IND", "1.#QNAN"])
def test_nan_as_ignore_value(tmp_path, text):
    (tmp_path / "a.dat").write_bytes(np.random.default_rng(1).random((3, 4, 5)).astype("f4").tobytes())
    (tmp_path / "a.hdr").write_text(
        "ENVI\nsamples = 5\nlines = 4\nbands = 3\ndata type = 4\ninterleave = bsq\nbyte order = 0\n"
        f"data ignore value = {text}\n"
    )
    assert np.isfinite(open_scene(tmp_path / "a.hdr")["hsi"].values).all()
