"""A little scene in a file, a folder for runs, and pages that are closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

TINY = {"embed": 16, "inner": 16, "width": 12, "code": 8, "time_width": 16, "passes": 2, "show_every": 2}


@contextmanager
def restored(page: Any, *names: str) -> Iterator[Any]:
    """A page that several tests look at: when a test is over, its parameters of these names are as they were."""
    before = {name: getattr(page, name) for name in names}
    yield page
    for name, value in before.items():
        setattr(page, name, value)


@pytest.fixture(scope="session")
def scene_file(tmp_path_factory: pytest.TempPathFactory, _small_scene: xr.Dataset) -> Path:
    """The small simulated scene as a NetCDF file, which a launched process can open too; tests only read it."""
    path = tmp_path_factory.mktemp("scene") / "little.nc"
    _small_scene.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture
def page(tmp_path: Path):
    """`page(scene, tabs, **state)` makes an Explorer whose runs lie in a temporary folder, with these further tabs built."""
    from workbench.pages.anomaly.page import Explorer

    made = []

    def make(scene=None, tabs=(), **state):
        explorer = Explorer(scene, root=tmp_path / "runs", **state)
        for tab in (*tabs, 0) if tabs else ():
            explorer.tab = tab  # as a visitor would: a tab is built when it is first seen
        made.append(explorer)
        return explorer

    yield make
    for explorer in made:
        explorer.close()
