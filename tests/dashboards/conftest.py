"""A little scene in a file, a folder for runs, and pages that are closed again."""

from __future__ import annotations

from pathlib import Path

import pytest

TINY = {"embed": 16, "inner": 16, "width": 12, "code": 8, "time_width": 16, "passes": 2, "show_every": 2}


@pytest.fixture
def scene_file(tmp_path: Path, small_scene) -> Path:
    """The small simulated scene as a NetCDF file, which a launched process can open too."""
    path = tmp_path / "little.nc"
    small_scene.load().to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture
def page(tmp_path: Path):
    """`page(scene, **state)` makes an Explorer whose runs lie in a temporary folder."""
    from workbench.pages.anomaly.page import Explorer

    made = []

    def make(scene=None, **state):
        explorer = Explorer(scene, root=tmp_path / "runs", **state)
        for tab in (1, 2, 0):
            explorer.tab = tab  # as a visitor would: a tab is built when it is first seen
        made.append(explorer)
        return explorer

    yield make
    for explorer in made:
        explorer.close()
