"""SAR-Net's gates: it learns its training chips by heart, and finds more than CFAR on simulated and real chips that it has not seen.

The simulated comparison of all arms is docs/results/sarnet.md. CPU time of one thread: two minutes for the first, one minute a
seed for the second, two minutes a fold for the third. Between the arms there is no gate: their order changes with the seed.
"""

import numpy as np
import pytest

from workbench.data.catalog import open_scene
from workbench.event import drain
from workbench.methods.sarnet import Config, run
from workbench.methods.sarnet.chips import images_of
from workbench.methods.sarnet.result import scored
from workbench.methods.sarnet.training import Learner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * 3600)]


def test_chips_are_learnt_by_heart():
    """G1: AP50 on 48 training chips after 1500 steps."""
    scene = open_scene("sim-ships").compute()
    some = np.r_[:56, 192:194]
    keep = np.isin(scene["box_sample"].values, scene["sample"].values[some])
    config = Config(steps=1500, augment=("flip",))
    images = images_of(scene.isel(sample=some, object=keep), config)
    learner = Learner("sarnet", images, config)
    while learner.done < config.steps:
        learner.step()
    assert len(images.train) == 48
    assert scored(learner.network, images, [int(n) for n in images.train], config)[1].ap50 > 0.8


def test_more_than_cfar_on_simulated_chips():
    """G2: the mean over three seeds of AP50 on test chips is at least .05 above the best CFAR."""
    scene = open_scene("sim-ships").compute()
    results = [drain(run(scene, Config(steps=500, seed=seed, rivals=(), controls=False))).result for seed in range(3)]
    cfar = max(float(results[0][f"ap50_{name}"]) for name in ("ca_cfar", "os_cfar"))
    assert np.mean([float(r["ap50"]) for r in results]) > cfar + 0.05


def test_more_than_cfar_on_real_chips(real_data):
    """Images of HRSID that were left out, four folds: the mean AP50 is above that of the best CFAR of each fold."""
    scene = open_scene("hrsid-27")
    rows = []
    for fold in range(4):
        result = drain(run(scene, Config(steps=500, fold=fold, rivals=(), controls=False))).result
        rows.append((float(result["ap50"]), max(float(result[f"ap50_{name}"]) for name in ("ca_cfar", "os_cfar"))))
    ours, cfar = np.mean(rows, 0)
    assert ours > cfar
