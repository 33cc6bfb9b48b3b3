"""No CSV file that we write has a cell that a spreadsheet takes for a formula."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from workbench.data.coresets import write_index
from workbench.data.export_boxes import write_boxes
from workbench.reports import sweep as sweeps
from workbench.reports.grid import Cell
from workbench.runs.spreadsheet import csv_field
from workbench.views.save import spectra_csv

EVIL = '=HYPERLINK("http://evil")'


def check(rows: list[list[str]]) -> None:
    cells = [c for row in rows for c in row]
    assert any(c == f"'{EVIL}" for c in cells)
    assert not [c for c in cells if c != csv_field(c)]


def test_every_writer(tmp_path: Path) -> None:
    result = xr.Dataset({"label": ("sample", [0, 1]), "score": ("sample", [-1.5, 2.0])}, {"sample": [EVIL, "b"]})
    with open(write_index(tmp_path / "kept.csv", result), newline="") as file:
        check(list(csv.reader(file)))
    boxes: dict[str, Any] = {"features": [{"properties": {"class": EVIL, "score": -0.5}}]}
    with open(write_boxes(boxes, tmp_path / "boxes.csv"), newline="") as file:
        check(list(csv.reader(file)))
    check(list(csv.reader(spectra_csv({EVIL: np.array([-0.5, np.nan]), "a": ["-2", "x"]}))))
    done = sweeps.Sweep(tmp_path)
    cell = Cell({"scene": EVIL, "overrides.x": -1}, {}, {}, {})
    sweeps._write_table(done, [cell], {cell.key: {"status": "failed", "error": EVIL}})
    with open(done.table, newline="") as file:
        rows = list(csv.reader(file))
    check(rows)
    assert rows[1][1] == "-1"  # a number stays one
