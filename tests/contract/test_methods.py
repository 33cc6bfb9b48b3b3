"""What every method keeps, in one list: add a room here and all of this is asked of it; anomaly rooms keep a little more.

A room is driven once and recorded; whatever only reads events and outcome shares that recording. Another drive is made only where
the drive itself differs: another scene, a listener that draws random numbers, an early end.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import xarray as xr

from docs.generate.settings import with_tables
from tests.driving import played
from workbench.config import Settings, override
from workbench.errors import InputError
from workbench.event import Event, Outcome, drain, never_yielded
from workbench.methods import METHODS, load, summary, undeclared
from workbench.scene import VOCABULARY, other_dims

# method -> (its page in docs/methods, what that page must name as the source)
ROOMS: dict[str, tuple[str, str]] = {
    "rx": ("rx", "10.1109/29.60107"),
    "ridge-rx": ("rx", "Nasrabadi"),
    "pca-rx": ("rx", "10.1109/MAES.2010.5546306"),
    "rp-rx": ("rx", "10.1109/TIP.2011.2159730"),
    "local-rx": ("rx", "10.1117/1.1614265"),
    "crd": ("rx", "10.1109/TGRS.2014.2343955"),
    "kifd": ("rx", "10.1109/TGRS.2019.2936308"),
    "auto-ad": ("rx", "10.1109/TGRS.2021.3057721"),
    "bsdm": ("bsdm", "2307.09861"),
    "tdds": ("tdds", "2311.13613"),
    "rsdgc": ("rsdgc", "10.1109/TGRS.2024.3394501"),
    "arcdnet": ("arcdnet", "2305.19513"),
    "sarnet": ("sarnet", "2312.16943"),
    "ghost": ("ghost", "2301.00131"),
    "mdfl": ("mdfl", "2311.09520"),
    "feddiff": ("feddiff", "2401.02433"),
    "fedfusion": ("fedfusion", "2311.09540"),
    "picpq": ("picpq", "2312.00851"),
}
# beside SMOKE: an image of 24 pixels, and a drive of every behaviour without rivals and second processes
SMALLER: dict[str, dict[str, object]] = {
    "local-rx": {"inner": 3, "outer": 9},
    "tdds": {"keep": 0.5, "block": 6},
    "rsdgc": {"rivals": ["rsdgc", "magnitude-dynamic"], "workers": 1},
    "arcdnet": {"rivals": []},
    "sarnet": {"rivals": []},
    "ghost": {"rivals": [], "uniform_bits": []},
    "mdfl": {"split": "class", "rivals": [], "networks": [], "map": True},
    "feddiff": {"split": "class", "rivals": ["dense"], "pooled": ["mdfl"]},
    "fedfusion": {"split": "class", "rivals": ["random_basis:1"], "horizontal": ["fedavg"]},
    "picpq": {"rivals": ["lsq3"], "generations": 2},
}
# rooms whose score is a map of how anomalous each pixel is
DETECTORS = ("rx", "ridge-rx", "pca-rx", "rp-rx", "local-rx", "crd", "kifd", "auto-ad", "bsdm")
BY_BLOCKS = ("rx", "ridge-rx", "pca-rx", "rp-rx", "local-rx")  # their sums depend on the blocks of a scene

CHIPS = ("rsdgc", "picpq")  # rooms that are driven with chips, not with a cube
PAIRS = ("arcdnet",)  # rooms that take two dates
BOXES = ("sarnet", "ghost")  # rooms that take chips with boxes
SENSORS = ("mdfl", "feddiff", "fedfusion")  # rooms that take classes seen by several sensors

PROCESSES = ("rsdgc",)  # rooms that start processes


def _params(names):
    return pytest.mark.parametrize(
        "name", [pytest.param(n, marks=pytest.mark.process) if n in PROCESSES else n for n in names]
    )


every_room = _params(ROOMS)
every_cube_room = _params([n for n in ROOMS if n not in (*CHIPS, *PAIRS, *BOXES, *SENSORS)])
every_detector = _params(DETECTORS)
every_room_by_blocks = _params(BY_BLOCKS)


@pytest.fixture
def room(name):
    return load(name)


@pytest.fixture
def scene(name, small_scene):
    """A scene that the room can use; each test has a copy of its own."""
    if name not in (*CHIPS, *PAIRS, *BOXES, *SENSORS):
        return small_scene.assign_coords(y=np.arange(24) * -30.0 + 5e6, x=np.arange(24) * 30.0 + 4e5, spatial_ref=0)
    return simulated(name).copy(deep=True)


@cache
def simulated(name: str) -> xr.Dataset:
    """Noisy chips of three classes, simulated pairs, simulated ships, or a simulated place of two sensors."""
    if name in PAIRS:
        from workbench.data.synth_change import small

        return small(seed=0).compute()
    if name in BOXES:
        from workbench.data.synth_ships import small as ships

        return ships(seed=0).compute()
    if name in SENSORS:
        from workbench.data.synth_sensors import simulate

        return simulate("sim-two-sensors", 24, bands=6)
    label = np.arange(48) % 3
    image = np.random.default_rng(0).random((48, 3, 6, 6), np.float32)
    image[np.arange(48), label] += 0.5
    values = {"image": (("sample", "band", "y", "x"), image), "label": ("sample", label, {"names": ["a", "b", "c"]})}
    coords = {"sample": [f"chip-{n}" for n in range(48)]}
    return xr.Dataset(values, coords, {"id": "chips", "simulated": "uniform noise, one band brighter"})


@pytest.fixture
def config(name, room):
    return override(room.Config(), {**room.SMOKE, **SMALLER.get(name, {})})


@dataclass
class Recording:
    """One drive to the end. given, before: the scene and a copy made before. gradients: whether torch had them on, at each event.

    numbers: what torch and NumPy drew after the drive; expected: what they draw after the same seeds without one.
    """

    given: xr.Dataset
    before: xr.Dataset
    events: list[Event]
    outcome: Outcome
    gradients: list[bool]
    numbers: tuple[list[float], list[float]]
    expected: tuple[list[float], list[float]]


def record(room: ModuleType, given: xr.Dataset, config: Settings) -> Recording:
    def seed() -> None:
        torch.manual_seed(5)
        np.random.seed(5)

    def numbers() -> tuple[list[float], list[float]]:
        return torch.randn(3).tolist(), np.random.random(3).tolist()

    seed()
    expected = numbers()
    before, gradients = given.copy(deep=True), []
    seed()
    events, outcome = played(room.run(given, config), lambda _: gradients.append(torch.is_grad_enabled()))
    return Recording(given, before, events, outcome, gradients, numbers(), expected)


@pytest.fixture(scope="session")
def recordings() -> dict[str, Recording]:
    return {}


@pytest.fixture
def recorded(name, room, config, scene, recordings) -> Recording:
    """The room's recording on its scene, in memory; made by the first test that asks."""
    if name not in recordings:
        recordings[name] = record(room, scene.compute(), config)
    return recordings[name]


def computed(scalars: Mapping[str, float]) -> dict[str, float]:
    """Without what was measured on the machine meanwhile."""
    return {name: value for name, value in scalars.items() if not name.startswith("measured")}


def assert_same(first: tuple[list[Event], Outcome], second: tuple[list[Event], Outcome], rtol: float = 0.0) -> None:
    assert [e.step for e in first[0]] == [e.step for e in second[0]]
    for a, b in zip(first[0], second[0], strict=True):
        assert computed(a.scalars) == pytest.approx(computed(b.scalars), rel=rtol, abs=0)
        assert list(a.arrays) == list(b.arrays)
        for key, array in a.arrays.items():
            xr.testing.assert_allclose(array, b.arrays[key], rtol=rtol, atol=0)
    results = [outcome.result.drop_vars("bytes_measured", errors="ignore") for _, outcome in (first, second)]
    xr.testing.assert_allclose(*results, rtol=rtol, atol=0)


@every_room
def test_the_list_is_whole(name):
    assert set(ROOMS) == set(METHODS)


@every_room
def test_declares_all_of_its_face(name, room):
    assert undeclared(room) == []
    assert len(summary(name)) > 10
    assert summary(name) == room.__doc__.strip().partition("\n")[0]


@every_room
def test_what_it_shows_is_yielded(room, recorded):
    events, result = recorded.events, recorded.outcome.result
    scalars, arrays = ({name for event in events for name in getattr(event, kind)} for kind in ("scalars", "arrays"))
    assert never_yielded(room.SHOWS, scalars, arrays, result.data_vars, recorded.given.data_vars) == []
    assert [name for name in room.HEADLINE if name not in result] == []
    assert other_dims(result) == []
    assert [n for n, v in result.data_vars.items() if v.ndim == 0 and not v.attrs.get("long_name")] == []


@every_room
def test_yields_events(recorded):
    assert recorded.events
    assert all(isinstance(event, Event) for event in recorded.events)


@pytest.mark.long
@every_room
def test_same_seed_same_events_whatever_the_listener_draws(name, room, config, recorded):
    """Also from a Dask scene, whose numbers are the same to the last bit where the room does not work block by block."""

    def draw(_):
        random.random()
        np.random.random(7)
        torch.randn(5)

    np.random.seed(99)
    torch.manual_seed(99)
    given = recorded.given if name in BY_BLOCKS else recorded.given.chunk(band=2, y=10, x=11)
    assert_same((recorded.events, recorded.outcome), played(room.run(given, config), draw))


@every_room
def test_leaves_the_listeners_randomness_and_gradients_alone(recorded):
    assert recorded.numbers == recorded.expected
    assert recorded.gradients
    assert all(recorded.gradients)


@every_room_by_blocks
def test_dask_equals_numpy(room, config, recorded):
    lazy = played(room.run(recorded.given.chunk(band=2, y=10, x=11), config))
    assert_same((recorded.events, recorded.outcome), lazy, rtol=1e-6)


@every_room
def test_the_input_is_untouched(recorded):
    xr.testing.assert_identical(recorded.given, recorded.before)


@every_cube_room
def test_keeps_coordinates_and_vocabulary(recorded):
    scene, result = recorded.before, recorded.outcome.result
    for coord in ("x", "y", "spatial_ref"):
        xr.testing.assert_equal(result[coord].reset_coords(drop=True), scene[coord].reset_coords(drop=True))
    assert "score" in result
    assert result["score"].dtype == np.float64
    for key, value in result.data_vars.items():
        if key in VOCABULARY:
            assert value.dims == VOCABULARY[key]
        assert value.attrs.get("long_name"), f"{key} has no long_name"
    assert [value for value in result.data_vars.values() if value.ndim == 0]  # what becomes metrics.json
    assert result.attrs["id"] == scene.attrs["id"]


@every_detector
def test_the_score_is_a_map_with_its_metrics(recorded):
    result = recorded.outcome.result
    assert result["score"].dims == ("y", "x")
    for value in result.data_vars.values():
        assert value.ndim == 0 or set(value.dims) & {"y", "x", "k", "band"}
    assert {"auc", "auc_d_tau", "auc_f_tau"} <= set(result.data_vars)


@every_room
def test_events_are_finite_labelled_and_ordered(recorded):
    events, outcome = recorded.events, recorded.outcome
    steps = [event.step for event in events]
    assert steps == sorted(set(steps))
    assert all(event.of is None or event.step <= event.of for event in events)
    for event in events:
        for key, value in event.scalars.items():
            assert isinstance(value, float), f"{key} is a {type(value).__name__}"
            assert np.isfinite(value), f"{key} is {value} at step {event.step}"
        for key, array in event.arrays.items():
            assert isinstance(array, xr.DataArray)
            assert array.chunks is None, f"{key} is lazy"
            assert array.name or array.attrs.get("long_name"), f"{key} is not labelled"
    assert "score" not in outcome.result or np.isfinite(outcome.result["score"]).all()


@every_detector
def test_a_missing_pixel_has_no_score_and_spoils_no_other(room, config, small_scene):
    scene = small_scene.compute()
    scene["hsi"][{"band": 4, "y": 3, "x": 20}] = np.nan
    score = drain(room.run(scene, config)).result["score"]
    assert np.isnan(score[3, 20])
    assert int(np.isnan(score).sum()) == 1


@every_detector
def test_the_truth_does_not_enter_the_score(room, config, recorded):
    scene = recorded.before
    shuffled = scene.copy(deep=True)
    shuffled["truth"].values[:] = np.random.default_rng(0).permutation(scene["truth"].values.ravel()).reshape(24, 24)
    without = scene.drop_vars("truth")
    found = [recorded.outcome.result, *(drain(room.run(s, config)).result for s in (shuffled, without))]
    np.testing.assert_array_equal(found[0]["score"], found[1]["score"])
    np.testing.assert_array_equal(found[0]["score"], found[2]["score"])
    assert float(found[0]["auc"]) != float(found[1]["auc"])
    assert "auc" not in found[2]


@every_room
@pytest.mark.parametrize("after", [1, 2])
def test_closing_early_raises_nothing_and_leaves_no_thread(room, config, recorded, after):
    before = set(threading.enumerate())  # after a whole drive: libraries may start threads of their own, once
    trace = room.run(recorded.given, config)
    for _ in islice(trace, after):
        pass
    trace.close()
    assert set(threading.enumerate()) <= before


@every_room
def test_config_survives_json(room, config):
    text = json.dumps(config.model_dump(mode="json"))
    assert room.Config.model_validate_json(text) == config
    assert override(room.Config(), json.loads(text)) == config


@every_cube_room
def test_a_scene_without_a_cube_is_refused_by_name(name, room, config, small_scene):
    with pytest.raises(InputError, match=r"needs .*'hsi' \(band, y, x\).*; this scene has") as caught:
        drain(room.run(small_scene.drop_vars("hsi"), config))
    assert name in str(caught.value)


@every_detector
def test_a_detector_needs_a_cube_and_nothing_else(room):
    assert room.NEEDS == ("hsi",)


@every_cube_room
@pytest.mark.parametrize("spoil", ["constant", "complex", "all missing", "chips"])
def test_unusable_cubes_are_input_errors_before_the_first_event(room, config, small_scene, spoil):
    scene = small_scene.compute()
    hsi = scene["hsi"]
    scene["hsi"] = {
        "constant": lambda: hsi * 0 + 3,
        "complex": lambda: hsi.astype(complex),
        "all missing": lambda: hsi * np.nan,
        "chips": lambda: hsi.expand_dims(sample=2),
    }[spoil]()
    with pytest.raises(InputError) as caught:
        next(room.run(scene, config))
    assert len(str(caught.value)) > 30


@every_room
def test_an_unknown_setting_is_refused_with_a_suggestion(room):
    with pytest.raises(InputError, match="Did you mean 'seed'"):
        override(room.Config(), {"sead": 1})


def test_no_room_imports_a_gui(importing):
    after = importing(*(f"from workbench.methods import load; load({name!r}).run" for name in ROOMS))
    for name, modules in zip(ROOMS, after, strict=True):
        assert METHODS[name][0].partition(":")[0] in modules
        assert not modules & {"panel", "holoviews", "bokeh", "matplotlib", "ipywidgets"}, name


@every_room
def test_has_a_page_that_names_its_source(name):
    page, source = ROOMS[name]
    text = (Path(__file__).parents[2] / "docs" / "methods" / f"{page}.md").read_text()
    assert source in text
    text = with_tables(text)
    for field in set(load(name).Config.model_fields) - set(Settings.model_fields):
        assert f"`{field}`" in text, f"docs/methods/{page}.md does not explain the setting {field}"
