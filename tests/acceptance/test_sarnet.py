"""SAR-Net's gates: it learns its training chips by heart, and finds more than CFAR on simulated and real chips that it has not seen.

The simulated comparison of all arms is docs/results/sarnet.md. CPU time of one thread: two minutes for the first, one minute a
seed for the second, two minutes a fold for the third. Between the arms there is no gate: their order changes with the seed.
"""

import numpy as np
import pytest
import xarray as xr

from workbench.data.boxed_images import images_of
from workbench.data.catalog import open_scene
from workbench.event import drain
from workbench.methods.sarnet import Config, run
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


def test_a_dozen_chips_are_learnt_without_a_fault():
    """Twelve training chips, no augmentation, 300 steps: AP50 on them is near 1. Half a minute."""
    scene = open_scene("sim-ships").compute()
    some = np.r_[:14, 192:194]
    keep = np.isin(scene["box_sample"].values, scene["sample"].values[some])
    config = Config(steps=300, augment=())
    images = images_of(scene.isel(sample=some, object=keep), config)
    learner = Learner("sarnet", images, config)
    while learner.done < config.steps:
        learner.step()
    assert len(images.train) == 12
    assert scored(learner.network, images, [int(n) for n in images.train], config)[1].ap50 > 0.97


def test_more_than_cfar_on_simulated_chips():
    """G2: the mean over three seeds of AP50 on test chips is at least .05 above the best CFAR."""
    scene = open_scene("sim-ships").compute()
    results = [drain(run(scene, Config(steps=500, seed=seed, rivals=(), controls=False))).result for seed in range(3)]
    cfar = max(float(results[0][f"ap50_{name}"]) for name in ("ca_cfar", "os_cfar"))
    assert np.mean([float(r["ap50"]) for r in results]) > cfar + 0.05


def halves(scene: xr.Dataset, name: str, row: int) -> xr.Dataset:
    """The chip `name` divided at a row into two images, NaN below each, with the boxes whose centres are in it; the other chips whole."""
    names, parts, boxes = [], [], []
    size = scene.sizes["y"]
    for sample in scene["sample"].values.astype(str):
        image = scene["image"].sel(sample=sample).values
        own = scene["box"].values[scene["box_sample"].values == sample]
        middle = (own[:, 1] + own[:, 3]) / 2
        for top, end in ((0, row), (row, size)) if name in sample else ((0, size),):
            names.append((f"{sample}-{top}", end - top))
            part = np.full_like(image, np.nan)
            part[:, : end - top] = image[:, top:end]
            parts.append(part)
            here = own[(middle >= top) & (middle < end)] - [0, top, 0, top]
            boxes.append(np.clip(here, 0, [size, end - top, size, end - top]))
    owner = np.repeat([n for n, _ in names], [len(b) for b in boxes])
    values = {
        "image": (("sample", "band", "y", "x"), np.stack(parts)),
        "box": (("object", "edge"), np.concatenate(boxes).astype(np.float32)),
        "box_sample": ("object", owner),
        "box_label": ("object", np.zeros(len(owner), np.int64), {"names": ["ship"]}),
    }
    height, width = ("sample", [h for _, h in names]), ("sample", [size] * len(names))
    return xr.Dataset(values, {"sample": [n for n, _ in names], "height": height, "width": width}, {"id": "hrsid-halves"})


def test_more_than_cfar_on_the_other_half_of_a_real_chip(real_data):
    """P0119, 122 small ships: trained on its upper rows and on P0123, watched on P0135, tested on its lower rows; three seeds.

    Whole chips that are left out are another matter: there OS-CFAR finds more, see docs/methods/sarnet.md.
    """
    whole = open_scene("hrsid-27")
    some = [n for n in whole["sample"].values.astype(str) if any(p in n for p in ("P0119", "P0123", "P0135"))]
    keep = np.isin(whole["box_sample"].values, some)
    scene = halves(whole.sel(sample=some).isel(object=keep).compute(), "P0119", 480)
    lower, watched = (next(n for n in scene["sample"].values if part in n) for part in ("-480", "P0135"))
    rows = []
    for seed in range(3):
        config = Config(steps=400, seed=seed, test=(lower,), val=(watched,), rivals=(), controls=False)
        result = drain(run(scene, config)).result
        rows.append((float(result["ap50"]), max(float(result[f"ap50_{name}"]) for name in ("ca_cfar", "os_cfar"))))
    ours, cfar = np.mean(rows, 0)
    assert ours > cfar + 0.05, rows
