"""PIC-PQ on real EuroSAT chips, with the settings of recipes/long/picpq.yml: the gates. Its rivals are reported there, never asserted.

CPU time of one thread: one to two minutes a seed.
"""

from pathlib import Path

import pytest
import yaml

from workbench.event import drain
from workbench.execution import start

RECIPE = Path(__file__).parents[2] / "recipes" / "long" / "picpq.yml"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * 3600)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_gates(seed):
    recipe = yaml.safe_load(RECIPE.read_text())
    settings = {**recipe["sweep"]["parameters"]["overrides"], "seed": seed, "rivals": ["lsq4"]}
    r = drain(start("picpq", "eurosat-rgb-200", settings)).result
    assert float(r["accuracy_lsq4"]) >= float(r["accuracy_dense"]) - 0.03
    assert float(r["search_loss_best"]) <= float(r["search_loss_identity"])
    assert float(r["candidates"]) >= 20
    assert 0.2 < float(r["macs_left_picpq"]) <= 0.3
    assert float(r["accuracy_file_picpq"]) == pytest.approx(float(r["accuracy_picpq"]), abs=0.01)
