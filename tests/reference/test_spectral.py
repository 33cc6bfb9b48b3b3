"""Global and dual-window RX equal those of SPy (`spectral.rx`), an independent implementation.

SPy inverts each covariance by `numpy.linalg.pinv`, recomputes every ring from its pixels, and rounds its local scores to
float32. The scenes are simulated in the test except for the last, which has the windows and the size of the benchmark.
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from workbench.baselines.anomaly import local_rx, rx

spectral = pytest.importorskip("spectral", reason="needs the peer: pip install 'workbench[peers]'")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(spectral.settings, "show_progress", False)


def spy_rx(cube: xr.DataArray, **window) -> np.ndarray:
    return spectral.rx(np.ascontiguousarray(cube.values.transpose(1, 2, 0).astype(np.float64)), **window)


def test_global(small_scene):
    cube = small_scene["hsi"].compute()
    np.testing.assert_allclose(rx(cube), spy_rx(cube), rtol=1e-6)


@pytest.mark.parametrize("window", [(1, 7), (3, 9), (5, 19), (3, 23)])
def test_local(small_scene, window):
    cube = small_scene["hsi"].compute()
    np.testing.assert_allclose(local_rx(cube, *window), spy_rx(cube, window=window), rtol=1e-6)


def test_global_on_a_real_scene(real_data):
    from workbench.data.catalog import open_scene

    cube = open_scene("abu-airport-1")["hsi"].compute()
    np.testing.assert_allclose(rx(cube), spy_rx(cube), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["abu-airport-1", "abu-urban-4", "hydice-urban-162"])
def test_local_on_a_real_scene(real_data, scene):
    from workbench.data.catalog import open_scene

    # So narrow that the windows are shifted at all four edges.
    cube = open_scene(scene)["hsi"].compute()[:, :21, -23:]
    np.testing.assert_allclose(local_rx(cube), spy_rx(cube, window=(5, 19)), rtol=1e-6)
