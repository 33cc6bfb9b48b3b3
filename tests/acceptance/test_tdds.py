"""TDDS against chance and early hardness, on real digits (ten seeds) and real EuroSAT chips (three): gates met and missed.

The experiments and the gates are in benchmarks/tdds_acceptance.py; random selection and the other rivals are beside TDDS in
every one. CPU time of one thread: a minute a seed for the digits, ten minutes a seed for EuroSAT. With
WORKBENCH_NUMBERS set to a folder, numbers and tables are written there.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tdds_acceptance import NOISE, SETUPS, experiment, gates, open_data, table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]

SEEDS = {"digits": range(10), "eurosat": range(3)}  # on the digits TDDS and EL2N are .003 apart: three seeds cannot tell
# gates that TDDS misses here, with what was measured; docs/methods/tdds.md tells them, and no other one may be missed
MISSED = (
    "eurosat: TDDS(10,5) over random at keep 0.2",  # -0.025
    "eurosat: TDDS(10,5) over random at keep 0.3",  # -0.031
    "eurosat: wrong labels in the top 10 % of EL2N",  # 0.711, a gate on the rival
)


def measured(name, noise):
    scene = open_data(name).load()
    rows = [row for seed in SEEDS[name] for row in experiment(scene, name, SETUPS[name], noise, seed)]
    folder = os.environ.get("WORKBENCH_NUMBERS")
    if folder and Path(folder).is_dir():
        stem = Path(folder) / f"tdds-{name}-{noise:g}"
        stem.with_suffix(".json").write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")
        stem.with_suffix(".md").write_text(table(rows) + "\n\n" + table(rows, "noise_share") + "\n")
    return rows


def check(rows, count):
    judged = gates(rows)
    assert len(judged) == count
    missed = [f"{g.text}: {g.value:.4f}" for g in judged if not g.passed and not g.text.startswith(MISSED)]
    assert not missed, "\n".join([*missed, table(rows)])


@pytest.mark.parametrize("noise", [0.0, NOISE])
def test_digits(noise):
    rows = measured("digits", noise)
    check(rows, 3)
    full = [r.accuracy for r in rows if r.selector == "full"]
    assert np.mean(full) > (0.96 if noise == 0 else 0.9)  # the scoring run learned something


@pytest.mark.parametrize("noise", [0.0, NOISE])
def test_eurosat(noise, real_data):
    rows = measured("eurosat", noise)
    check(rows, 3)
