"""The kernel isolation forest against a literal one: kernel components by their eigenvectors, path lengths by walking the trees."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from sklearn.ensemble import IsolationForest

from tests.unit.baselines.test_crd import random_cube
from workbench.baselines import kernel_forest as module
from workbench.baselines.kernel_forest import kernel_forest
from workbench.errors import InputError

FEW = {"components": 4, "samples": 40, "trees": 15, "subset": 32}


def literal(cube: xr.DataArray, components: int, samples: int, trees: int, subset: int, seed: int) -> np.ndarray:
    pixels = cube.values.reshape(cube.sizes["band"], -1).T
    rng = np.random.default_rng(seed)
    drawn = pixels[rng.choice(len(pixels), samples, replace=False)]
    apart = [np.linalg.norm(a - b) for n, a in enumerate(drawn) for b in drawn[n + 1 :]]
    width = np.mean(apart)

    def kernel(a: np.ndarray) -> np.ndarray:
        return np.array([[np.exp(-(np.linalg.norm(p - q) ** 2) / (2 * width**2)) for q in drawn] for p in a])

    inner = kernel(drawn)
    middle = np.eye(samples) - 1 / samples
    values, vectors = np.linalg.eigh(middle @ inner @ middle)
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(0), np.arange(components)])  # as scikit-learn fixes the sign
    projected = (kernel(pixels) - inner.mean(0)) @ middle @ vectors / np.sqrt(values)

    seen = rng.choice(len(pixels), len(pixels), replace=False)
    forest = IsolationForest(n_estimators=trees, max_samples=subset, random_state=seed).fit(projected[seen])

    def average(n: int) -> float:  # comparisons of an unsuccessful search in a binary tree of n
        return 0.0 if n < 2 else 1.0 if n == 2 else 2 * (np.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n

    depth = np.zeros(len(pixels))
    for tree in (one.tree_ for one in forest.estimators_):
        for n, pixel in enumerate(projected.astype(np.float32)):
            node = steps = 0
            while tree.children_left[node] >= 0:
                left = pixel[tree.feature[node]] <= tree.threshold[node]
                node = tree.children_left[node] if left else tree.children_right[node]
                steps += 1
            depth[n] += steps + average(int(tree.n_node_samples[node]))
    return (2 ** (-depth / trees / average(subset))).reshape(cube.shape[1:])


@pytest.mark.parametrize("seed", [0, 3])
def test_is_the_literal_one(seed: int) -> None:
    cube = random_cube(rows=9, cols=11)
    np.testing.assert_allclose(kernel_forest(cube, **FEW, seed=seed), literal(cube, **FEW, seed=seed), rtol=1e-9)


def test_a_foreign_pixel_stands_out() -> None:
    cube = random_cube(rows=12, cols=12)
    cube[:, 5, 7] += 60
    found = kernel_forest(cube, **{**FEW, "samples": 144, "trees": 100, "subset": 100})
    assert np.unravel_index(int(found.values.argmax()), found.shape) == (5, 7)
    assert ((found > 0) & (found < 1)).all()


def test_missing_pixels_bad_bands_strips_and_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = random_cube(rows=9, cols=11)
    whole = kernel_forest(cube, **FEW)
    bad = xr.concat([cube, cube[:1] * np.nan], "band").assign_coords(good=("band", [True] * 6 + [False]))
    np.testing.assert_array_equal(kernel_forest(bad, **FEW), whole)
    holes = cube.copy(deep=True)
    holes[2, 4, 5] = np.nan
    found = kernel_forest(holes, **FEW)
    assert np.isnan(found).sum() == 1
    assert np.isnan(found[4, 5])
    monkeypatch.setattr(module, "ROOM", 500)  # strips of few rows, and a forest that sees few pixels
    small = kernel_forest(cube, **FEW)
    lazy = kernel_forest(cube.chunk({"band": 2, "y": 4}), **FEW)
    np.testing.assert_array_equal(lazy, small)
    assert np.isfinite(small).all()


def test_the_seed_decides() -> None:
    cube = random_cube(rows=9, cols=11)
    np.testing.assert_array_equal(kernel_forest(cube, **FEW), kernel_forest(cube, **FEW))
    assert not np.array_equal(kernel_forest(cube, **FEW), kernel_forest(cube, **FEW, seed=1))


def test_a_small_scene_uses_all_pixels_and_says_so() -> None:
    found = kernel_forest(random_cube(rows=3, cols=4), trees=5)
    assert found.attrs["note"] == "300 components were requested; 12 pixels give 11."


@pytest.mark.parametrize("wrong", [{"trees": 0}, {"subset": 1}, {"components": 0}])
def test_refuses_numbers(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1 and a subset"):
        kernel_forest(random_cube(), **{**FEW, **wrong})


def test_refuses_fewer_samples_than_components() -> None:
    with pytest.raises(InputError, match="got 3 and 4"):
        kernel_forest(random_cube(), **{**FEW, "samples": 3})
