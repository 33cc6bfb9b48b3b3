"""Checks that read the pixels of a scene: once for each scene, and again for another one."""

from __future__ import annotations

import gc

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from workbench.data import checks
from workbench.data.checks import check, check_cube, check_pair
from workbench.errors import InputError


class Counted:
    """Pixels that count how often they are read."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.ndim, self.reads = values, values.shape, values.dtype, values.ndim, 0

    def __getitem__(self, key):
        self.reads += 1
        return self.values[key]


def counted(values):
    source = Counted(values)
    return source, da.from_array(
        source, chunks=-1, name=False, asarray=True, fancy=False, meta=np.empty((0,) * 3, values.dtype)
    )


@pytest.fixture
def cube():
    source, data = counted(np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32))
    return source, xr.Dataset({"hsi": (("band", "y", "x"), data)})


@pytest.fixture
def pair():
    source, data = counted(np.random.default_rng(0).uniform(size=(3, 4, 5)).astype(np.float32))
    truth = (("y", "x"), np.eye(4, 5).astype(np.int16))
    return source, xr.Dataset({d: (("band", "y", "x"), data + i) for i, d in enumerate(("before", "after"))}).assign(
        truth=truth
    )


@pytest.mark.parametrize(("name", "which"), [("cube", check_cube), ("pair", check_pair)])
def test_a_scene_is_read_once_whoever_asks(request, name, which):
    source, scene = request.getfixturevalue(name)
    which(scene, "one")
    read = source.reads
    assert read > 0
    which(scene, "another")
    check(scene, list(scene.data_vars))
    assert source.reads == read
    scene.load()  # the same scene, now in memory
    read = source.reads
    which(scene)
    assert source.reads == read


def test_another_scene_and_an_exchanged_variable_are_checked_anew(pair):
    _, scene = pair
    check_pair(scene)
    with pytest.raises(InputError, match="Infinite"):
        check_pair(scene.assign(after=scene["after"] * np.inf))
    check_pair(scene)
    scene["after"] = scene["after"] * np.nan
    with pytest.raises(InputError, match="known on both dates"):
        check_pair(scene)
    with pytest.raises(InputError, match="known on both dates"):
        check_pair(scene)  # what failed is not remembered as passed


def test_dates_are_compared_each_time(pair):
    _, scene = pair
    check_pair(scene)
    scene["before"].attrs["time"], scene["after"].attrs["time"] = "2003-02-06", "2000-03-17"
    with pytest.raises(InputError, match="swapped"):
        check_pair(scene)


def test_only_the_checks_of_the_wanted_names_run(cube):
    source, scene = cube
    check(scene, ("truth", "before"))
    assert source.reads == 0
    constant = xr.Dataset({"hsi": (("band", "y", "x"), np.ones((3, 4, 5), np.float32))})
    check(constant, ("truth",))
    with pytest.raises(InputError, match="constant"):
        check(constant, ("hsi",))


@pytest.mark.long
def test_a_scene_that_is_gone_is_forgotten(cube):
    gc.collect()
    before = len(checks._passed)
    scene = cube[1].copy()
    check_cube(scene)
    assert len(checks._passed) == before + 1
    del scene
    gc.collect()
    assert len(checks._passed) == before
