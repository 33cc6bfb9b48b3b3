"""Sentinel-1 SAFE: real metadata with blanked pixels (GRD), and generated products that follow the product specification."""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from tests.elsewhere import sent
from tests.unit.data import safe_product
from workbench.data.catalog import open_scene
from workbench.data.readers import sentinel1
from workbench.data.readers.sentinel1 import geolocate, is_safe, open_keys, open_safe
from workbench.errors import InputError

REAL = (
    "sar_geotiff/sentinel1-grdh-safe-constant-pixels/"
    "S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_ECC8.SAFE"
)


def digital(high=60, wide=130, seed=0):
    return np.random.default_rng(seed).integers(1, 2000, (high, wide))


def bilinear(table, line, sample, high, wide):
    """The table's value between its four nodes, written out for one pixel."""
    lines, samples = safe_product.nodes(high, wide)
    n = max(i for i, v in enumerate(lines[:-1]) if v <= line)
    s = max(i for i, v in enumerate(samples[:-1]) if v <= sample)
    u = (line - lines[n]) / (lines[n + 1] - lines[n])
    v = (sample - samples[s]) / (samples[s + 1] - samples[s])
    corner = [[table(lines[n + i], samples[s + j]) for j in (0, 1)] for i in (0, 1)]
    return (1 - u) * ((1 - v) * corner[0][0] + v * corner[0][1]) + u * ((1 - v) * corner[1][0] + v * corner[1][1])


def curved(line, sample):
    """A gain that is not linear, so that nearest neighbour or one-dimensional interpolation gives other numbers."""
    return 300 + 0.002 * (sample - 50) ** 2 + 0.01 * (line - 20) ** 2


@pytest.mark.parametrize(("quantity", "factor"), [("sigma0", 1.0), ("gamma0", 0.9)])
def test_grd_is_dn_squared_over_the_interpolated_gain_squared(tmp_path, quantity, factor):
    dn = digital()
    scene = open_safe(safe_product.write(tmp_path, {"VV": dn, "VH": dn // 2}, gain=curved), quantity=quantity)
    assert scene["sar"].dims == ("sar_band", "y", "x")
    assert scene["sar"].dtype == np.float32
    assert scene["polarization"].values.tolist() == ["VV", "VH"]
    for line, sample in ((0, 0), (59, 129), (17, 93), (54, 41)):
        want = (dn[line, sample] / (factor * bilinear(curved, line, sample, 60, 130))) ** 2
        assert scene["sar"][0, line, sample].values == pytest.approx(want, rel=1e-6)


def test_beta0_and_dn(tmp_path):
    dn = digital()
    folder = safe_product.write(tmp_path, {"VV": dn})
    assert np.allclose(open_safe(folder, quantity="beta0")["sar"].values[0], dn**2 / 237.0**2, rtol=1e-6)
    assert np.allclose(open_safe(folder, quantity="dn")["sar"].values[0], dn**2.0, rtol=1e-6)


def test_zero_is_missing_and_windows_agree_with_the_whole(tmp_path):
    dn = digital()
    dn[3, 5] = 0
    folder = safe_product.write(tmp_path, {"VV": dn}, gain=curved)
    whole = open_safe(folder)["sar"].values
    assert np.isnan(whole[0, 3, 5])
    assert np.isfinite(whole).sum() == whole.size - 1
    lazy = open_safe(folder, chunks=None)["sar"]
    small = open_safe(folder, chunks={"y": 7, "x": 50})["sar"]
    for window in (
        {"y": slice(5, 40), "x": slice(17, 90)},
        {"y": slice(None, None, 9), "x": slice(3, None, 7)},
        {"y": slice(50, 2, -3), "x": slice(None, None, -1)},
        {"y": 4, "x": 5},
        {"sar_band": 0, "y": slice(0, 0)},
    ):
        for array in (lazy, small):
            np.testing.assert_array_equal(
                array.isel(window).values, whole[tuple(window.get(d, slice(None)) for d in array.dims)]
            )


def test_thermal_noise_old_and_new_annotation(tmp_path):
    dn, noise = digital(), lambda line, sample: 5000 + 10 * sample + 3 * line
    plain = safe_product.write(tmp_path, {"VV": dn}, noise=noise, old_noise=True, name="a.SAFE")
    line, sample = np.mgrid[:60, :130]
    power = np.maximum(dn.astype(float) ** 2 - noise(line, sample), 0)
    want = power / (300 + 0.5 * sample - 0.25 * line) ** 2
    assert (want == 0).any()  # some pixels are below the noise
    assert np.allclose(open_safe(plain, noise=True)["sar"].values[0], want, rtol=1e-5, atol=1e-9)
    new = safe_product.write(tmp_path, {"VV": dn}, noise=noise, name="b.SAFE")
    factor = np.where(sample < 65, 1 + line / 100, 1)
    power = np.maximum(dn.astype(float) ** 2 - factor * noise(line, sample), 0)
    want = power / (300 + 0.5 * sample - 0.25 * line) ** 2
    assert np.allclose(open_safe(new, noise=True)["sar"].values[0], want, rtol=1e-5, atol=1e-9)
    assert "noise was taken off" in open_safe(new, noise=True).attrs["notes"]


def slc_pixels(high=60, wide=130, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(-900, 900, (high, wide)) + 1j * rng.integers(-900, 900, (high, wide))


def test_slc_bursts(tmp_path):
    """GENERATED product: three bursts of 20 lines; two lines and samples at each border are not valid."""
    values = slc_pixels()
    folder = safe_product.write(tmp_path, {"VV": values}, kind="SLC", swath="IW1", bursts=3, invalid=2, gain=curved)
    scene = open_safe(folder, burst=1)
    assert scene["slc"].dtype == np.complex64
    assert scene["slc"].shape == (1, 20, 130)
    assert scene["y"].values.tolist() == list(range(20, 40))  # lines of the measurement
    inside = scene["slc"].values[0, 2:-2, 2:-2]
    assert np.isfinite(inside).all()
    assert np.isnan(scene["sar"].values).sum() == 20 * 130 - 16 * 126
    want = values[29, 77] / bilinear(curved, 29, 77, 60, 130)
    assert scene["slc"].sel(y=29, x=77).values[0] == pytest.approx(want, rel=1e-6)
    np.testing.assert_allclose(np.abs(scene["slc"].values) ** 2, scene["sar"].values, rtol=1e-5)
    # the burst begins when its annotation says, not where the lines of the burst before end
    assert (scene["azimuth_time"].values[0] - np.datetime64(safe_product.START)) == np.timedelta64(2750, "ms")
    whole = open_safe(folder)
    np.testing.assert_array_equal(whole["sar"].values[:, 20:40], scene["sar"].values)
    assert whole["burst"].values[[0, 19, 20, 59]].tolist() == [0, 0, 1, 2]
    with pytest.raises(InputError, match="bursts 0 to 2"):
        open_safe(folder, burst=3)


def test_swaths_and_polarizations(tmp_path):
    for swath in ("IW1", "IW2"):
        safe_product.write(tmp_path, {"VV": slc_pixels(), "VH": slc_pixels(seed=2)}, kind="SLC", swath=swath, bursts=3)
    folder = tmp_path / "S1A_IW_TEST.SAFE"
    assert "swath IW1 of IW1, IW2" in open_safe(folder).attrs["notes"]
    scene = open_keys(folder / "manifest.safe", {"swath": "IW2", "polarization": "VH", "burst": "2"})
    assert scene["polarization"].values.tolist() == ["VH"]
    assert scene.attrs["s1_swath"] == "IW2"
    for keys, why in (
        ({"swath": "IW3"}, "no swath"),
        ({"polarization": "HH"}, "no polarization"),
        ({"burst": "-1"}, "not a whole number"),
        ({"noise": "off"}, "noise=remove"),
        ({"quantity": "sigma"}, "Did you mean 'sigma0'"),
        ({"swat": "IW1"}, "Did you mean 'swath'"),
        ({"noise": "remove"}, "noise-s1a"),
    ):
        with pytest.raises(InputError, match=why):
            open_keys(folder, keys)


def test_geolocation_is_bilinear(tmp_path):
    where = geolocate(open_safe(safe_product.write(tmp_path, {"VV": digital()})))
    assert where["latitude"].chunks is not None
    assert where["latitude"][41, 99].values == pytest.approx(47 - 0.041)
    assert where["longitude"][41, 99].values == pytest.approx(12 - 0.198)
    assert where["incidence_angle"][0, 129].values == pytest.approx(31.29)


def test_lines_of_bursts_are_where_their_time_says(tmp_path):
    """GENERATED product: three bursts of 20 lines that begin 14 lines apart, so six of them overlap on the ground."""
    about = {"kind": "SLC", "swath": "IW1", "bursts": 3, "apart": 14 * safe_product.INTERVAL}
    folder = safe_product.write(tmp_path, {"VV": slc_pixels()}, **about)
    for scene in (open_safe(folder), open_safe(folder, burst=1)):
        for line, same in ((20, 14), (39, 33), (25, 19)):
            want = 47 - 0.001 * same
            assert geolocate(scene)["latitude"].sel(y=line)[7].values == pytest.approx(want, abs=1e-6)
            longitude, latitude = sentinel1.longitude_latitude(scene, np.array([line, line]), np.array([0.0, 50.0]))
            assert latitude == pytest.approx([want, want], abs=1e-6)
            assert longitude == pytest.approx([12, 11.9])
    whole = open_safe(folder)
    best = sentinel1.shown_best(whole, np.arange(60.0))
    assert best.tolist() == [True] * 17 + [False] * 6 + [True] * 14 + [False] * 6 + [True] * 17
    assert sentinel1.shown_best(open_safe(folder, burst=1), np.arange(20.0, 40)).all()


def test_pixels_travel_to_another_process(tmp_path):
    scene = open_safe(safe_product.write(tmp_path, {"VV": digital()}))
    again = sent(scene["sar"].data)
    np.testing.assert_array_equal(again.compute(), scene["sar"].values)


@pytest.mark.parametrize("kind", ["GRD", "SLC"])
def test_a_product_becomes_zarr_and_an_engine_opens_it(tmp_path, kind):
    import xarray as xr

    from workbench.data.convert import convert

    about = {"kind": "SLC", "swath": "IW1", "bursts": 3, "invalid": 2} if kind == "SLC" else {}
    folder = safe_product.write(tmp_path, {"VV": slc_pixels() if kind == "SLC" else digital()}, **about)
    scene = open_scene(folder)
    again = open_scene(convert(folder, tmp_path / "a.zarr"))
    engine = xr.open_dataset(folder, engine="workbench")
    assert engine["sar"].variable._in_memory is False
    for other in (again, engine):
        assert set(other.data_vars) == set(scene.data_vars)
        for name in (*scene.data_vars, *scene.coords):
            np.testing.assert_array_equal(other[name].values, scene[name].values, err_msg=str(name))


@pytest.mark.parametrize(
    ("where", "old", "new", "why"),
    [
        ("annotation", "<numberOfLines>60<", "<numberOfLines>61<", "promises 61 lines"),
        ("annotation", "<productType>GRD<", "<productType>OCN<", "type 'OCN'"),
        ("annotation", "<productType>GRD<", "<productType>SLC<", "not a type of SLC products"),
        ("annotation", "2021-04-01T05:26:24<", "yesterday<", "a time that cannot be read"),
        ("annotation", "<latitude>47.0<", "<latitude>north<", "not a number"),
        ("annotation", "<product>", "<prodict>", "well-formed"),
        ("annotation", "<azimuthTimeInterval>2", "<azimuthTimeInterval>-2", "not above 0"),
        ("calibration", 'count="5">0 40', 'count="6">0 40', "promises 6"),
        ("calibration", ">0 40 80", ">0 80 40", "increase"),
        ("calibration", "<sigmaNought", "<sigmaNonsense", "well-formed"),
        ("calibration", "3.01750000", "-3.0175000", "not above 0"),
    ],
)
def test_damaged_annotations_are_refused(tmp_path, where, old, new, why):
    folder = safe_product.write(tmp_path, {"VV": digital()})
    path = next((folder / "annotation").glob("*.xml" if where == "annotation" else "calibration/cal*.xml"))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=why):
        open_safe(folder, quantity="sigma0")


def test_what_is_no_product_is_refused(tmp_path):
    assert not is_safe(tmp_path)
    with pytest.raises(InputError, match=r"manifest\.safe"):
        open_safe(tmp_path)
    folder = safe_product.write(tmp_path, {"VV": digital()})
    tiff = next((folder / "measurement").glob("*.tiff"))
    tiff.write_bytes(tiff.read_bytes()[:9000])
    with pytest.raises(InputError, match="truncated"):
        open_safe(folder)
    tiff.unlink()
    with pytest.raises(InputError, match="no measurement"):
        open_safe(folder)


def real() -> Path:
    root = os.environ.get("WORKBENCH_DATA")
    if not root or not (Path(root) / REAL).is_dir():
        pytest.skip("the real Sentinel-1 SAFE is not below WORKBENCH_DATA")
    return Path(root) / REAL


def test_real_metadata_open_at_once_and_without_calibration_say_so():
    """The folder brings no calibration annotation; its 16685 x 25788 pixels were all set to 1 by its publisher."""
    begin = time.perf_counter()
    scene = open_safe(real())
    assert time.perf_counter() - begin < 5  # it takes 0.2 s; reading the pixels takes minutes
    assert scene["sar"].shape == (1, 16685, 25788)
    assert scene.attrs["s1_mode"] == "IW"
    assert "not calibrated" in scene.attrs["notes"]
    assert "VH left out" in scene.attrs["notes"]
    assert scene["sar"][0, 8000:8020, 12000:12020].values.tolist() == [[1.0] * 20] * 20
    # GRD lines are equally spaced in time, and the last one is where the annotation says
    last = np.datetime64("2021-04-01T05:26:48.793373")
    assert abs(scene["azimuth_time"].values[-1] - last) < np.timedelta64(2, "us")
    assert geolocate(scene)["latitude"][0, 0].values == pytest.approx(47.11702756724707)  # first point of the grid
    with pytest.raises(InputError, match="calibration-s1b"):
        open_safe(real(), quantity="gamma0")
    named = open_scene("sentinel1-grdh-safe-blank")  # from the catalogue, verified file by file
    assert named["sar"].shape == scene["sar"].shape
    assert "every digital number is 1" in named.attrs["notes"]


def test_real_metadata_with_a_generated_calibration(tmp_path):
    """The real product beside a calibration table made here: a window far inside must be DN^2 / A^2 with DN = 1."""
    folder = tmp_path / real().name
    (folder / "annotation" / "calibration").mkdir(parents=True)
    for path in (*real().glob("annotation/*.xml"), *real().glob("measurement/*"), real() / "manifest.safe"):
        target = folder / path.relative_to(real())
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(path)
    stem = next(real().glob("annotation/*-vv-*.xml")).stem
    lines, samples = np.arange(-1000, 18000, 668), np.append(np.arange(0, 25788, 40), 25787)
    gain = 330 + 1e-3 * samples[None] - 5e-7 * (lines[:, None] - 9000.0) * samples[None]
    vectors = "".join(
        f"<calibrationVector>{safe_product.vector(n, samples.tolist(), sigmaNought=row.tolist())}</calibrationVector>"
        for n, row in zip(lines, gain, strict=True)
    )
    path = folder / "annotation" / "calibration" / f"calibration-{stem}.xml"
    path.write_text(f"<calibration><calibrationVectorList>{vectors}</calibrationVectorList></calibration>")
    window = open_safe(folder)["sar"][0, 11000:11300, 20000:20064].values
    from scipy.interpolate import RegularGridInterpolator  # independent of Lut

    line, sample = np.mgrid[11000:11300, 20000:20064]
    between = RegularGridInterpolator((lines, samples), gain)(np.stack([line, sample], -1))
    np.testing.assert_allclose(window, 1 / between**2, rtol=1e-6)
    assert sentinel1.open_safe(folder).attrs["notes"].count("calibrat") == 0


@pytest.mark.parametrize("wrong", ["1e30", "-2", "0.5", "nan"])
def test_valid_samples_that_cannot_be_are_refused(tmp_path, wrong):
    folder = safe_product.write(tmp_path, {"VV": slc_pixels()}, kind="SLC", swath="IW1", bursts=3, invalid=2)
    path = next((folder / "annotation").glob("*.xml"))
    path.write_text(re.sub(r"(<firstValidSample count='\d+'>)\S+", rf"\g<1>{wrong}", path.read_text(), count=1))
    with pytest.raises(InputError, match=r"first valid sample|firstValidSample"):
        open_scene(folder)
