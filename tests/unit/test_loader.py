"""Small files that stand for huge values, and notebooks with a fault: InputError that names the place, at once."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_sweeps import notebook
from workbench.data.coresets import open_coreset
from workbench.errors import InputError
from workbench.reports.grid import Grid, plan, read_grid
from workbench.reports.notebook import notebook_hash, parameters_of
from workbench.reports.results import read_recipe
from workbench.runs.loader import json_of, read_json, read_yaml, yaml_of

LAUGHS = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, r"line 2: aliases \(\*a\) are not allowed"),
        ("[" * 5000, "more than 50 lists"),
        ("- " * 300 + "x", "more than 50 lists"),
        ("a: 2026-99-99", "is not YAML"),
        ("a: [1, 2", "is not YAML"),
        ("a: !!python/object/apply:os.system ['true']", "is not YAML"),
        (b"\xff\xfea", "is not YAML"),
    ],
)
def test_yaml_that_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        yaml_of(text, "grid.yml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "more than 50 lists"),
        ('{"a":' * 60 + "1" + "}" * 60, "more than 50 lists"),
        ("1" * 5000, "cannot be read as JSON"),
        ('{"a": "\\ud800"}', "cannot be read as JSON"),
        (b'{"a": "\xed\xa0\x80"}', "cannot be read as JSON"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_json_that_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        json_of(text, "run.json")


def test_what_is_fine() -> None:
    assert yaml_of("a: [1, {b: é}]", "x") == {"a": [1, {"b": "é"}]}
    assert json_of('{"a": [1, null, "\\u00e9 \\ud83d\\ude00"]}', "x") == {"a": [1, None, "é 😀"]}


def test_pipes_folders_and_long_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "long.json").write_text("[" + "1," * 100 + "1]")
    for read in (read_yaml, read_json, read_grid, read_recipe, lambda path: open_coreset(path, open), notebook_hash):
        for name in ("pipe.yml", "."):
            with pytest.raises(InputError, match="not an ordinary file"):
                read(tmp_path / name)
    with pytest.raises(InputError, match="at most 0 MB are read"):
        read_json(tmp_path / "long.json", largest=100)


def test_a_grid_that_never_ends(tmp_path: Path) -> None:
    axes = {f"overrides.{name}": list(range(1000)) for name in "abcdef"}
    (tmp_path / "grid.yml").write_text(json.dumps({"grid": axes}))
    with pytest.raises(InputError, match="has 1,000,000,000,000,000,000 cells"):
        read_grid(tmp_path / "grid.yml")
    with pytest.raises(InputError, match="a sweep has at most 10,000"):
        plan(notebook(tmp_path / "n.ipynb"), Grid(grid=axes))
    (tmp_path / "grid.yml").write_text("grid: {x: [2026-01-01]}")
    with pytest.raises(InputError, match="put it in quotes"):
        read_grid(tmp_path / "grid.yml")


def test_mutated_notebooks_name_the_place(tmp_path: Path) -> None:
    good = json.loads(notebook(tmp_path / "good.ipynb").read_text())
    rng = random.Random(11)
    refused = 0

    def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [at, *(place for key, one in inner for place in places(one, (*at, key)))]

    path = tmp_path / "bad.ipynb"
    for _ in range(120):
        bad = json.loads(json.dumps(good))
        place = rng.choice([p for p in places(bad) if p])
        holder: Any = bad
        for key in place[:-1]:
            holder = holder[key]
        if rng.random() < 0.4:
            del holder[place[-1]]
        else:
            holder[place[-1]] = rng.choice([None, 1, -1, "x", [], {}, [1], {"a": 1}, True])
        path.write_text(json.dumps(bad))
        try:
            notebook_hash(path)
            parameters_of(path)
        except InputError as error:
            refused += "bad.ipynb" in str(error)
    assert refused > 40
    path.write_text(json.dumps({**good, "cells": [good["cells"][0], {"cell_type": "code", "metadata": {}}]}))
    with pytest.raises(InputError, match=r"cells\.1\.source: Field required"):
        notebook_hash(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path, encoding):
    (tmp_path / "a.yml").write_bytes("a: Größe\r\n".encode(encoding))
    (tmp_path / "a.json").write_bytes('{"a": "Größe"}'.encode(encoding))
    assert read_yaml(tmp_path / "a.yml") == read_json(tmp_path / "a.json") == {"a": "Größe"}
