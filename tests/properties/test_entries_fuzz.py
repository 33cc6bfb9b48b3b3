"""Spoiled catalogue files and notebooks: listing, describing, opening, executing end in a result or in InputError, without a hang.

A sample here; `make fuzz` sets WORKBENCH_FUZZ=2000 for 2000 of each.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import papermill
import pytest
import rasterio
import yaml
from affine import Affine
from PIL import Image

from tests.properties.fuzzing import CASES, limited, reworded, spoiled, spoiling
from tests.unit.test_sweeps import notebook
from workbench.data import catalog, fetch
from workbench.errors import InputError
from workbench.reports.cells import cells_of
from workbench.reports.grid import Grid, plan
from workbench.reports.html import html
from workbench.reports.notebook import NotebookFailed, check_parameters, notebook_hash, run_notebook

SAMPLE = 150
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 7, 1e308, 10**30, float("nan"), float("inf"), "", "x", "\ud800", "\u202e", "a\0b", "\x1b[2J", "../../etc/passwd",
    "/etc/passwd", "one/../../x", "one\\..\\x", "C:x", "a" * 5000, "hsi", "simulated", "hyperspectral", "file:///etc/passwd",
    "https://127.0.0.1:1/x", "2026-99-99", [], [1], [[]], {}, {"a": 1}, [{}], {"path": "/etc/passwd"}, "code", "markdown", 4,
    "import os; os.abort()", {"tags": ["parameters"]}, ["x: int = ", "\n"], "x = [" * 300, "x: 'a' * 10**10 = 1",
)  # fmt: skip
TEXTS = (
    "[" * 100_000, "- " * 100_000, "{" * 100_000, "a: &a [*a]\n", "&a a: *a\n", "\0", "entries: 3\n", "---\n---\n",
    "!!python/object:os.system {}\n",
)  # fmt: skip


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, one in inner for place in _places(one, (*at, key)))]


def retyped(value: Any, rng: random.Random) -> Any:
    """The value with one to three parts that have another type, are gone, or are doubled."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.choice(_places(value)[1:] or [()])
        if not place:
            return copy.deepcopy(rng.choice(VALUES))
        holder = value
        for key in place[:-1]:
            holder = holder[key]
        kind = rng.random()
        if kind < 0.2:
            del holder[place[-1]]
        elif kind < 0.3 and isinstance(holder, list):
            holder.append(holder[place[-1]])
        else:
            same = [one for one in VALUES if type(one) is type(holder[place[-1]])]
            holder[place[-1]] = copy.deepcopy(rng.choice(same if same and rng.random() < 0.5 else VALUES))
    return value


def _spoil(path: Path, good: bytes, value: Any, rng: random.Random) -> None:
    kind = rng.random()
    if kind < 0.15:
        path.write_bytes(spoiled(good, rng)[0])
    elif kind < 0.3:
        path.write_bytes(reworded(good.decode(), rng).encode())
    elif kind < 0.35:
        text = rng.choice(TEXTS)
        path.write_bytes(text.encode() if rng.random() < 0.5 else good + b"\n" + text.encode())
    else:
        path.write_bytes(json.dumps(retyped(value, rng)).encode())


# --- the catalogue ----------------------------------------------------------------------------------------------------


def _raster(path: Path, bands: int, dtype: str = "float32") -> None:
    options = {"driver": "GTiff", "count": bands, "height": 6, "width": 7, "dtype": dtype}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=Affine(30, 0, 0, 0, -30, 0), **options) as file:
        file.write(np.random.default_rng(bands).uniform(1, 9, (bands, 6, 7)).astype(dtype))


def _picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (6, 7, 3), dtype="u1")).save(path)


def _catalogue(data: Path) -> dict[str, Any]:
    """A catalogue of all kinds of entries that have files, with these files below `data`."""
    _raster(data / "one/cube.tif", 4)
    _raster(data / "one/height.tif", 1)
    _raster(data / "one/sar.tif", 2)
    np.save(data / "one/cube.npy", np.random.default_rng(0).uniform(0.1, 1, (6, 7, 4)).astype("f4"))
    np.save(data / "one/truth.npy", np.eye(6, 7))
    for n, name in enumerate(("A/1.png", "B/1.png", "boxes/images/1.png")):
        _picture(data / "one" / name, n)
    Image.fromarray((np.eye(6, 7) * 255).astype("u1")).convert("L").save(data / "one/label.png")
    (data / "one/boxes/labels").mkdir()
    (data / "one/boxes/labels/1.txt").write_text("0 0.5 0.5 0.4 0.4\n")

    def file(path: str, **more: object) -> dict[str, Any]:
        content = (data / "one" / path).read_bytes()
        return {"path": f"one/{path}", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **more}

    url = {"url": "https://example.org/x"}
    about = {"title": "One", "citation": "c", "licence": "MIT", "notes": ["a note"]}
    pair = [("before", "A/1.png"), ("after", "B/1.png"), ("truth", "label.png")]
    entries = [
        {
            "kind": "hyperspectral",
            "id": "cube",
            "shape": {"band": 4, "y": 6, "x": 7},
            "keys": {"truth": "none"},
            "wavelengths": [450, 550, 650, 2200],
            "files": [file("cube.npy", role="cube", **url)],
        },
        {
            "kind": "hyperspectral",
            "id": "masked",
            "shape": {"band": 4, "y": 6, "x": 7},
            "anomalous_pixels": 6,
            "reference": {"rx_auc": 0.9, "source": "x"},
            "files": [file("cube.npy", role="cube", **url), file("truth.npy", role="truth", **url)],
        },
        {
            "kind": "multimodal",
            "id": "place-1",
            "site": "X",
            "shape": [4, 6, 7],
            "mirrors": {"one": "https://example.org"},
            "files": [file("cube.tif", role="hsi"), file("height.tif", role="lidar")],
        },
        {"kind": "sar", "id": "radar", "keys": {"scale": "linear"}, "files": [file("sar.tif", role="sar", **url)]},
        {
            "kind": "pairs",
            "id": "pair",
            "shape": {"band": 3, "y": 6, "x": 7},
            "labelled_pixels": 42,
            "changed_pixels": 6,
            "files": [file(path, role=role, sample="1", **url) for role, path in pair],
        },
        {
            "kind": "boxes",
            "id": "boxes",
            "folder": "one/boxes/images",
            "samples": 1,
            "files": [file("boxes/images/1.png", **url)],
        },
        {"kind": "simulated", "id": "made", "generator": "sim-nowhere"},
        {"kind": "simulated-pairs", "id": "made-pairs", "generator": "sim-nowhere"},
        {"kind": "simulated-boxes", "id": "made-boxes", "generator": "sim-nowhere"},
        {"kind": "simulated-sensors", "id": "made-sensors", "generator": "sim-nowhere"},
    ]
    for entry in entries[:6]:
        entry.update(sensor="s", publisher="somebody")
    return {"defaults": about, "entries": entries}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_spoiled_catalogue_ends_in_entries_or_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, data = tmp_path / "catalogue", tmp_path / "data"
    folder.mkdir()
    (data / "one").mkdir(parents=True)
    good = _catalogue(data)
    text = yaml.safe_dump(good, sort_keys=False).encode()

    def nothing(*_: object, **__: object) -> None:
        raise InputError("no network in a test")

    monkeypatch.setattr(fetch, "_download", nothing)
    monkeypatch.setenv("WORKBENCH_DATA", str(data))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    read: dict[str, Any] = {}
    monkeypatch.setattr(catalog, "_by_id", lambda: read)
    ended: Counter[str] = Counter()
    path = folder / "a.yml"
    refused: list[str] = []

    def asked(what: str, call: Callable[[], object]) -> None:
        try:
            call()
            ended[f"{what}: result"] += 1
        except InputError as error:
            str(error).encode()  # can be printed
            ended[f"{what}: refused"] += 1

    for number in range(-1, CASES or SAMPLE):
        with spoiling("catalogue", number) as rng:
            if number < 0:
                path.write_bytes(text)
            else:
                _spoil(path, text, good, rng)
            read.clear()
            catalog._by_sha256.cache_clear()
            with limited():
                asked("read", lambda: read.update(catalog.read_folder(folder)))
                asked("list", lambda: [(e.id, str(e.title).encode(), e.provides, e.many) for e in catalog.entries()])
                for name in list(read):
                    asked("describe", lambda name=name: catalog.describe_entry(name).encode())
                    asked("content", lambda name=name: catalog.content(name))
                    asked("fetch", lambda name=name: catalog.fetch(name))
                    asked("open", lambda name=name: catalog.open_scene(name))
            if number < 0:
                assert ended["open: result"] == 6, refused
    catalog._by_sha256.cache_clear()
    if CASES:
        print(dict(sorted(ended.items())))
    assert min(ended[f"{what}: {how}"] for what in ("read", "open") for how in ("result", "refused")) > 0
    assert not (tmp_path / "cache").exists()


# --- notebooks --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_spoiled_notebook_ends_in_a_result_or_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the kernel: reading, planning a sweep, hashing, Papermill's parameters cell, the page."""
    first = notebook(tmp_path / "good.ipynb")
    good, path = json.loads(first.read_text()), tmp_path / "spoiled.ipynb"
    real = papermill.execute_notebook

    def prepared(*given: object, **options: object) -> object:
        return real(*given, **{**options, "prepare_only": True})

    monkeypatch.setattr(papermill, "execute_notebook", prepared)
    given = {"x": 3, "scene": "digits", "run_dir": "runs/é\"'\n{}", "overrides": {"a": [1, None, 2.5]}}
    operations: dict[str, Callable[[], object]] = {
        "cells": lambda: cells_of(path),
        "hash": lambda: notebook_hash(path),
        "parameters": lambda: check_parameters(path, given),
        "plan": lambda: plan(path, Grid(grid={"x": [2, 3]}, seeds=[0])),
        "execute": lambda: html(run_notebook(path, given, tmp_path / "out.ipynb", progress=False), "a title", "rx"),
    }
    ended: Counter[str] = Counter()
    for number in range(-1, CASES or SAMPLE // 2):
        with spoiling("notebook", number) as rng:
            if number < 0:
                path.write_bytes(first.read_bytes())
            else:
                _spoil(path, first.read_bytes(), good, rng)
            for name, call in operations.items():
                try:
                    with limited():
                        call()
                    ended[f"{name}: result"] += 1
                except (InputError, NotebookFailed) as error:
                    str(error).encode()
                    ended[f"{name}: refused"] += 1
            if number < 0:
                assert all(ended[f"{name}: result"] for name in operations), ended
    if CASES:
        print(dict(sorted(ended.items())))
    assert min(ended[f"{name}: {how}"] for name in operations for how in ("result", "refused")) > 0
