"""Does the frequency parser of MDFL help to tell textures? Recall on `sim-textures`, simulated, with and without it.

    python -m benchmarks.mdfl_textures [--seeds 3] [--steps 400]

Two pairs of classes share spectrum and height, and differ only in the period of a texture, 2 or 4 pixels: a recall of 0.5 in the mean
of a pair is chance. Halves of the scene with a guard band; logistic regression on each set of features, and a random forest. Nothing is
asserted.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from workbench.data.catalog import open_scene
from workbench.event import drain
from workbench.methods.mdfl import Config, run
from workbench.metrics.classify import confusion, recall

ROWS = ("raw", "bank", "bank_none", "untrained", "raw_bank", "raw_bank_none", "forest")
PAIRS = 4  # the first four classes are the two pairs


def measured(seed: int, steps: int) -> dict[str, tuple[float, float]]:
    """Row -> mean recall of the four texture classes, and of the two others."""
    config = Config(
        seed=seed, split="halves", steps=steps, rivals=("none",), networks=(), head_steps=20, map=False, trees=50
    )
    result = drain(run(open_scene("sim-textures"), config)).result
    true = result["test_true"].values.astype(int)
    rows = {}
    for name in ROWS:
        found = recall(confusion(true, result["test_given"].sel(classifier=name).values.astype(int), result.sizes["true"]))
        rows[name] = (float(found[:PAIRS].mean()), float(found[PAIRS:].mean()))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for seed in range(asked.seeds):
        found.append(measured(seed, asked.steps))
        print(f"seed {seed}: " + ", ".join(f"{name} {a:.3f} / {b:.3f}" for name, (a, b) in found[-1].items()), flush=True)
    for name in ROWS:
        pairs, others = np.array([one[name] for one in found]).T
        print(
            f"{name:14} texture pairs {pairs.mean():.3f} ({pairs.min():.3f} to {pairs.max():.3f}), others {others.mean():.3f}"
        )


if __name__ == "__main__":
    main()
