"""The simulated scenes: always the same, within the vocabulary, as hard as real ones, and physically in order."""

import csv
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.stats import rankdata

from workbench.data import synth
from workbench.errors import InputError
from workbench.resources import folder
from workbench.scene import describe, fingerprint, require


@pytest.fixture(scope="module", params=synth.NAMES)
def scene(request):
    return synth.make(request.param)


def rx_auc(scene):
    """Area under the ROC of global RX by the textbook, float64: no code in common with the detectors under test."""
    pixels = scene.hsi.values.reshape(scene.sizes["band"], -1).T.astype(float)
    pixels -= pixels.mean(0)
    score = np.einsum("ij,ij->i", pixels, np.linalg.solve(np.cov(pixels.T), pixels.T).T)
    hit = scene.truth.values.ravel() > 0
    hits, rest = hit.sum(), (~hit).sum()
    return (rankdata(score)[hit].sum() - hits * (hits + 1) / 2) / (hits * rest)


def test_as_hard_as_real_scenes(scene):
    assert 0.82 < rx_auc(scene) < 0.95


def test_vocabulary_and_provenance(scene):
    require(scene, "hsi", "truth")
    assert dict(scene.sizes) == {"band": 190, "y": 100, "x": 100}
    assert scene.hsi.dtype == "float32"
    assert scene.truth.dtype == "int16"
    assert scene.hsi.chunks is not None
    assert scene.wavelength.chunks is None
    assert "reflectance" in scene.hsi.attrs["units"]
    assert scene.attrs["id"] in synth.NAMES
    assert "SIMULATED" in describe(scene)
    for key in ("title", "source", "citation", "licence", "notes"):
        assert scene.attrs[key]
    assert "sha256" not in scene.attrs
    assert bool(np.isfinite(scene.hsi.values).all())


def test_no_band_where_water_vapour_makes_the_air_opaque(scene):
    nm = scene.wavelength.values
    assert (nm[0], nm[-1]) == (400.0, 2450.0)
    assert np.all(np.diff(nm) > 0)
    assert not np.any((nm > 1350) & (nm < 1460))
    assert not np.any((nm > 1790) & (nm < 1960))
    assert np.count_nonzero(np.diff(nm) > 50) == 2  # the two gaps and nothing else


def test_truth_is_the_stated_share_of_targets(scene):
    fraction = scene.fraction.values
    assert np.array_equal(scene.truth.values, fraction >= synth.THRESHOLD)
    assert fraction.min() == 0
    assert fraction.max() <= 1
    marked = fraction[scene.truth.values == 1]
    assert 60 <= marked.size <= 150
    assert np.count_nonzero(marked < 0.6) >= 30  # sub-pixel
    assert np.count_nonzero(marked > 0.9) >= 3  # the inside of targets of several pixels


def test_values_are_those_the_docs_were_written_for(scene):
    # Read off once from the scenes of the documentation; a change here is a change of the data and needs a changelog line.
    expected = {
        "sim-coast-town": ([0.0252, 0.2840, 0.1682], 0.162819, 79),
        "sim-dry-airfield": ([0.1181, 0.1815, 0.1749], 0.320147, 117),
    }[scene.attrs["id"]]
    at = scene.hsi.values[[0, 60, 150], 50, [10, 50, 90]]
    np.testing.assert_allclose(at, expected[0], atol=1.01e-4)  # one storage step
    assert float(scene.hsi.values.mean(dtype=float)) == pytest.approx(expected[1], abs=2e-6)
    assert int((scene.truth > 0).sum()) == expected[2]


@pytest.mark.process
def test_same_bytes_at_every_call_and_in_another_process():
    code = (
        "import numpy as np; np.random.seed(5); np.random.rand(7)\n"
        "from workbench.data import synth; from workbench.scene import fingerprint\n"
        "print(fingerprint(synth.small(seed=3)))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    state = np.random.get_state()[1].copy()
    assert fingerprint(synth.small(seed=3)) == fingerprint(synth.small(seed=3)) == other
    assert fingerprint(synth.small(seed=4)) != other
    assert np.array_equal(np.random.get_state()[1], state)  # draws nothing from the caller's generator


def test_values_are_stored_in_steps_so_that_the_last_bit_of_a_machine_is_lost():
    values = synth.small().hsi.values.astype(float) / synth.STEP
    np.testing.assert_allclose(values, np.round(values), atol=1e-3)


@pytest.mark.parametrize("layout", ["coast", "airfield"])
@pytest.mark.parametrize("seed", range(4))
def test_every_small_scene_has_targets_and_background(layout, seed):
    scene = synth.simulate(layout, size=24, bands=30, seed=seed)
    marked = int((scene.truth > 0).sum())
    assert 2 <= marked <= 40
    assert scene.hsi.shape == (30, 24, 24)


def test_noise_has_the_size_and_the_dependence_on_signal_that_the_docs_state():
    quiet, loud = (synth.simulate("airfield", bands=20, seed=1, noise=n).hsi.values.astype(float) for n in (0.0, 1.0))
    error = loud - quiet
    # band 10 lies near 1330 nm; var = (0.0008 (1 + 1.5 exp(-(2450 - nm) / 120)))^2 + 4e-6 r + (0.0012 r)^2 + rounding
    for band, low, high in [(9, 0.10, 0.20), (9, 0.45, 0.60)]:
        at = (quiet[band] > low) & (quiet[band] < high)
        r = quiet[band][at].mean()
        assert np.count_nonzero(at) > 300
        expected = np.sqrt(0.0008**2 + 4e-6 * r + (0.0012 * r) ** 2 + 2 * synth.STEP**2 / 12)
        assert error[band][at].std() == pytest.approx(expected, rel=0.12)


def test_a_pixel_full_of_one_target_shows_that_material():
    """With no noise the purest target pixel correlates best with its own material of the library."""
    scene = synth.simulate("airfield", seed=5, noise=0.0)
    nm = scene.wavelength.values
    candidates = np.stack([synth._spectrum(key, nm) for key in synth.TARGETS["airfield"]])
    y, x = np.unravel_index(np.argmax(scene.fraction.values), (100, 100))
    pixel = scene.hsi.values[:, y, x]
    best = max(np.corrcoef(pixel, c)[0, 1] for c in candidates)
    assert best > 0.995
    background = scene.hsi.values[:, scene.fraction.values == 0]
    assert np.median([max(np.corrcoef(p, c)[0, 1] for c in candidates) for p in background.T[::97]]) < best


def test_targets_use_no_material_of_the_ground():
    ground = {key for cover in synth.COVERS.values() for key in cover.spectra}
    for materials in synth.TARGETS.values():
        assert not ground & set(materials)


def test_shadow_falls_away_from_the_sun_as_far_as_the_wall_is_high():
    height = np.zeros((40, 40))
    height[20, 20] = 2.0  # pixels, so 8 cells; sun in the south-east, 45 degrees high
    dark = synth._shadow(height)
    ys, xs = np.nonzero(dark)
    assert ys.max() < 20
    assert xs.max() <= 20
    # the furthest cell: 0.8 * 8 = 6.4 -> 6 up, 0.6 * 8 = 4.8 -> 5 left
    assert (ys.min(), xs.min()) == (14, 15)


def test_optics_conserve_light():
    # an image of ones stays one, also at the border
    np.testing.assert_allclose(synth._average(16, np.ones((64, 64))), 1, atol=1e-12)
    point = np.zeros((64, 64))
    point[32:36, 32:36] = 1  # exactly pixel (8, 8)
    seen = synth._average(16, point)
    assert seen.argmax() == 8 * 16 + 8
    assert seen.sum() == pytest.approx(1, abs=1e-6)


def test_the_extract_matches_its_readme():
    with (folder("data_catalog") / "spectra" / "earthlib_extract.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:8] == ["key", "line", "name", "level_2", "level_3", "kind", "source", "notes"]
    assert len(rows) == 53
    readme = (folder("data_catalog") / "spectra" / "README.md").read_text()
    for key, line, *_ in rows:
        assert f"{key} {line}" in readme
    simulated = {row[0] for row in rows if row[5] != "measured"}
    assert simulated == {f"canopy-{i}" for i in range(1, 7)}
    values = np.array([row[8:] for row in rows], float)
    assert np.all((values >= 0) & (values <= 1))
    used = {key for cover in synth.COVERS.values() for key in cover.spectra} | {k for t in synth.TARGETS.values() for k in t}
    assert used - {"water-clear", "water-turbid", "foam"} == {row[0] for row in rows}
    assert (folder("data_catalog") / "spectra" / "LICENSE-earthlib").read_text().startswith("MIT License")


def test_made_in_moments(scene):
    start = time.perf_counter()
    synth.make(scene.attrs["id"])
    assert time.perf_counter() - start < 6  # 0.5 s on an idle machine; the margin is for a loaded one


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: synth.make("sim-coast-tow"), "Did you mean 'sim-coast-town'"),
        (lambda: synth.simulate("coats"), "Did you mean 'coast'"),
        (lambda: synth.simulate(size=8), "size=8"),
        (lambda: synth.simulate(bands=2), "bands=2"),
        (lambda: synth.simulate(noise=float("nan")), "noise=nan"),
        (lambda: synth.small(seed=-1), "seed=-1"),
    ],
)
def test_what_cannot_be_made_is_said(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_fast_length_is_that_of_scipy():
    from scipy.fft import next_fast_len

    assert [synth.fast_length(n) for n in range(1, 3000)] == [next_fast_len(n, real=True) for n in range(1, 3000)]
