"""What every test stands on: one thread, a fixed hypothesis profile, no network, small scenes, the real-data folder."""

from __future__ import annotations

import gc
import multiprocessing.util
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch
import xarray as xr

from tests.importing import Importing
from tests.scheduling import dearest_first

TESTS = Path(__file__).parent
STARTING = {"importing", "two_ranks", "places"}  # fixtures that start processes
RETRIED = {"browser", "notebook", "process"}  # they wait for other processes; the summary of pytest names each second try
torch.set_num_threads(1)
gc.disable()  # until all is collected: it found nothing in the millions of objects of imports, and took half of the time

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=50, print_blob=True)
hypothesis.settings.load_profile("fixed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from tests.scheduling import ByFile

    config.option.loadscopereorder = False  # keep the order that pytest_collection_modifyitems gives
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS / "notebooks"):
            item.add_marker("notebook")
        if item.path.is_relative_to(TESTS / "dashboards"):
            item.add_marker("page")
        if STARTING.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("process")
        if RETRIED.intersection(mark.name for mark in item.iter_markers()):
            item.add_marker(pytest.mark.flaky(reruns=1))
    dearest_first(items)


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()  # what was imported stays; a test that asks for a collection looks through its own objects only
    gc.set_threshold(50_000)  # as a server has it


# --- a test that starts a process says so, else `make quick` would not be quick ---------------------------------------------

_started: list[str] = []  # what was started since the test's setup began


def _watch_processes() -> None:
    def noted(event: str, args: tuple) -> None:
        if event == "subprocess.Popen" and args[0] == sys.executable:  # git or mount cost nothing beside an interpreter
            _started.append(str(args[1]))

    def spawned(path: str, args: list, passfds: list) -> int:
        _started.append(str(args))
        return spawn(path, args, passfds)

    sys.addaudithook(noted)
    spawn = multiprocessing.util.spawnv_passfds  # no audit event tells of it
    multiprocessing.util.spawnv_passfds = spawned


_watch_processes()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    _started.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    result = yield
    if _started and not {"process", "notebook", "browser"}.intersection(mark.name for mark in item.iter_markers()):
        pytest.fail(f"starts an interpreter and is not marked `process`: {_started[0][:200]}", pytrace=False)
    return result


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scenes; skips where there is none."""
    folder = os.environ.get("WORKBENCH_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the real scenes: set WORKBENCH_DATA to a folder that holds them (see docs/data.md)")
    return Path(folder)


@pytest.fixture(scope="session")
def importing() -> Iterator[Importing]:
    """What an import loads: `importing("import a", "import b")` gives the modules after each, as seen by a fresh interpreter."""
    with Importing() as asked:
        yield asked


@pytest.fixture(scope="session")
def _small_scene() -> xr.Dataset:
    from workbench.data.synth import small

    return small(seed=0, size=24, bands=30).compute()


@pytest.fixture
def small_scene(_small_scene: xr.Dataset) -> xr.Dataset:
    """A 24 x 24 x 30 simulated scene with truth, lazy as from a reader; each test has a copy of its own."""
    return _small_scene.copy(deep=True).chunk()
