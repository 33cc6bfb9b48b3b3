"""Speckle: simulated gamma speckle of known looks, edges, missing pixels, and the real Sentinel-1 chip."""

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import generic_filter

from workbench.errors import InputError
from workbench.parts.speckle import boxcar, equivalent_looks, intensity, lee, looks_within, multilook, refined_lee

SIMULATED = "simulated gamma speckle"


def speckled(reflectivity, looks, seed=0):
    """Intensity of that mean with gamma speckle of that many looks: SIMULATED."""
    rng = np.random.default_rng(seed)
    return xr.DataArray(reflectivity * rng.gamma(looks, 1 / looks, np.shape(reflectivity)), dims=("y", "x"))


def step(size=96, low=1.0, high=8.0, turn=0.0):
    """Two fields with a straight edge through the middle, turned by degrees."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    y, x = y + 0.02, x + 0.01  # no pixel lies on the edge
    return np.where(np.cos(np.radians(turn)) * x + np.sin(np.radians(turn)) * y > 0, high, low)


# --- looks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("looks", [1, 4.4, 16])
def test_looks_of_simulated_speckle_are_recovered(looks):
    found = [float(equivalent_looks(speckled(np.full((360, 360), 0.2), looks, seed))) for seed in range(4)]
    assert np.mean(found) == pytest.approx(looks, rel=0.06)
    assert np.allclose(found, looks, rtol=0.12)
    assert float(looks_within(speckled(np.full((360, 360), 0.2), looks))) == pytest.approx(looks, rel=0.03)


def test_looks_are_those_of_the_homogeneous_parts():
    """Half of the scene is strongly textured: the mean over windows is far too low, the mode is not."""
    rng = np.random.default_rng(1)
    reflectivity = np.full((450, 450), 0.2)
    reflectivity[:, :220] *= rng.gamma(1.5, 1 / 1.5, (450, 220))
    scene = speckled(reflectivity, 5)
    assert float(equivalent_looks(scene)) == pytest.approx(5, rel=0.08)
    assert float(looks_within(scene)) < 3


def test_mean_squared_over_variance_by_hand():
    assert float(looks_within(xr.DataArray([[1.0, 3.0]], dims=("y", "x")))) == 2


def test_multilook_multiplies_the_looks_and_keeps_the_map():
    scene = speckled(np.full((301, 402), 0.2), 4)
    scene = scene.assign_coords(y=np.arange(301) * -10.0, x=5 + np.arange(402) * 10.0)
    scene[0, 0] = np.nan
    coarse = multilook(scene, y=3, x=4)
    assert coarse.shape == (100, 100)
    assert (float(coarse["y"][0]), float(coarse["x"][0])) == (-10.0, 20.0)
    assert float(coarse[0, 0]) == pytest.approx(float(scene[:3, :4].mean()))
    assert float(looks_within(coarse)) == pytest.approx(48, rel=0.06)
    assert multilook(scene).identical(scene)


def test_multilook_of_a_georeferenced_scene(real_data):
    from workbench.data.catalog import open_scene

    fine = open_scene("sentinel1-vv-utm31")["sar"]
    coarse = multilook(fine, y=2, x=2)
    assert coarse.rio.transform() == pytest.approx((40, 0, fine.rio.transform().c, 0, -40, fine.rio.transform().f, 0, 0, 1))
    assert coarse.rio.crs == fine.rio.crs
    assert coarse.attrs == fine.attrs


def test_complex_amplitude_becomes_intensity():
    z = xr.DataArray(np.array([[3 + 4j]], np.complex64), dims=("y", "x"))
    assert intensity(z).values.tolist() == [[25.0]]
    assert multilook(z.pad(x=(0, 1), constant_values=1), x=2).values.tolist() == [[13.0]]


# --- filters ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "smooth"),
    [("boxcar", lambda z: boxcar(z)), ("lee", lambda z: lee(z, 4)), ("refined", lambda z: refined_lee(z, 4))],
)
def test_filters_keep_the_mean_and_raise_the_looks(name, smooth):
    scene = speckled(np.full((300, 300), 0.2), 4)
    quiet = smooth(scene)
    assert float(quiet.mean()) == pytest.approx(float(scene.mean()), rel=0.01)
    assert float(looks_within(quiet)) > 100
    assert quiet.dims == scene.dims


@pytest.mark.parametrize("turn", [0, 45, 90, 135, 30])
def test_the_refined_filter_keeps_edges_better_than_both_rivals(turn):
    """Root mean squared relative error within three pixels of the edge, also where the edge runs between the four directions."""
    truth = step(turn=turn)
    y, x = np.mgrid[:96, :96] - 47.5 + 0.01
    near = np.abs(np.cos(np.radians(turn)) * x + np.sin(np.radians(turn)) * y) < 3
    near[:8], near[-8:], near[:, :8], near[:, -8:] = False, False, False, False
    scores = {"boxcar": [], "lee": [], "refined": []}
    for seed in range(4):
        scene = speckled(truth, 4, seed)
        for name, quiet in (("boxcar", boxcar(scene)), ("lee", lee(scene, 4)), ("refined", refined_lee(scene, 4))):
            scores[name].append(float(np.sqrt(np.mean((quiet.values[near] / truth[near] - 1) ** 2))))
    error = {k: np.mean(v) for k, v in scores.items()}
    assert error["refined"] < 0.6 * error["boxcar"]
    assert error["refined"] < 0.9 * error["lee"]


def test_lee_is_its_formula():
    """Against the formula written with scipy's generic filter, away from the border."""
    scene = speckled(step(40), 3)
    mean = generic_filter(scene.values, np.mean, 5)
    variance = generic_filter(scene.values, lambda w: np.var(w, ddof=1), 5)
    signal = np.maximum((variance - mean**2 / 3) / (1 + 1 / 3), 0)
    want = mean + signal / variance * (scene.values - mean)
    np.testing.assert_allclose(lee(scene, 3, size=5).values[2:-2, 2:-2], want[2:-2, 2:-2], rtol=1e-9)
    np.testing.assert_allclose(boxcar(scene, 5).values[2:-2, 2:-2], mean[2:-2, 2:-2], rtol=1e-12)


def test_the_half_window_is_on_the_side_of_the_pixel():
    """Without speckle a step of two values stays a step, in all eight positions beside an edge; a boxcar smears it."""
    for turn in (0, 45, 90, 135, 180, 225, 270, 315):
        scene = xr.DataArray(step(40, turn=turn), dims=("y", "x"))
        inner = refined_lee(scene, 100).values[3:-3, 3:-3]  # in a corner of the image half a window may see one side only
        np.testing.assert_allclose(inner, scene.values[3:-3, 3:-3], rtol=1e-12)
        assert np.abs(boxcar(scene).values - scene.values).max() > 2


def test_missing_pixels_stay_missing_and_touch_nobody():
    scene = speckled(np.full((60, 60), 1.0), 4)
    scene[:, :20] = np.nan
    scene[30, 40] = np.nan
    for smooth in (lambda z: boxcar(z), lambda z: lee(z, 4), lambda z: refined_lee(z, 4)):
        quiet = smooth(scene)
        assert (quiet.isnull() | ~scene.isnull()).all()
        assert np.isfinite(quiet.values[:, 20:]).sum() >= 60 * 40 - 1
        alone = smooth(scene[:, 20:])  # the missing part might as well not be there
        np.testing.assert_array_equal(quiet.values[:, 20:], alone.values)
    lone = xr.DataArray([[2.0]], dims=("y", "x"))
    assert refined_lee(lone, 4).values.tolist() == [[2.0]]


def test_a_large_mean_loses_nothing():
    """Deviations of 1e-3 on a mean of 1e6: variances by mean of squares would be noise."""
    rng = np.random.default_rng(0)
    scene = xr.DataArray(1e6 + 1e-3 * rng.standard_normal((30, 30)), dims=("y", "x"))
    want = generic_filter(scene.values, np.mean, 7)[3:-3, 3:-3]
    np.testing.assert_allclose(lee(scene, 4).values[3:-3, 3:-3], want, atol=2e-9)


def test_what_is_refused():
    scene = speckled(np.ones((40, 40)), 4)
    for call, why in (
        (lambda: refined_lee(scene, 0), "not possible"),
        (lambda: lee(scene, float("nan")), "not possible"),
        (lambda: lee(scene, 4, size=4), "odd size"),
        (lambda: multilook(scene, y=41), "do not fit"),
        (lambda: multilook(scene, y=0), "do not fit"),
        (lambda: equivalent_looks(scene, 60), "does not fit"),
        (lambda: equivalent_looks(scene, 15), "at least 20"),
        (lambda: boxcar(scene.rename(y="row")), "dims y and x"),
        (lambda: boxcar(scene.astype(int)), "as floats"),
    ):
        with pytest.raises(InputError, match=why):
            call()


def test_the_real_sentinel1_image(real_data):
    """On real water the looks grow by more than eight. The level there falls by less than a tenth: strong echoes are kept from
    spreading but lose a part of their own height (weight below L / (L + 1)), a property of the published filter."""
    from scipy.ndimage import binary_erosion

    from workbench.data.catalog import open_scene

    scene = open_scene("sen1floods11-spain")
    vv = scene["sar"].sel(sar_band=0).compute()
    looks = float(equivalent_looks(vv))
    assert 3 < looks < 7  # IW GRD has 4.4 (ESA's product definition); it was resampled
    water = scene["truth"].copy(data=binary_erosion(scene["truth"].values == 1, iterations=6))
    quiet = refined_lee(vv, looks)
    before, after = (float(equivalent_looks(z.where(water), 7)) for z in (vv, quiet))
    assert before == pytest.approx(looks, rel=0.4)
    assert after > 8 * before
    assert 0.9 < float(quiet.where(water).mean() / vv.where(water).mean()) < 1
