"""Does the frequency parser of MDFL help to tell textures? Recall on `sim-textures`, simulated, with and without it.

    python -m benchmarks.mdfl_textures [--seeds 5] [--steps 400] [--out textures.json]

Two pairs of classes share spectrum and height, and differ only in the period of a texture, 2 or 4 pixels: a recall of 0.5 in the mean
of a pair is chance. Halves of the scene with a guard band; logistic regression on each set of features, and a random forest. Every mean
stands with its 95 % interval over the seeds (Student's t), and so does the gain by the parser, seed by seed. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from workbench.data.catalog import open_scene
from workbench.event import drain
from workbench.methods.mdfl import Config, run
from workbench.metrics.classify import confusion, recall
from workbench.reports.claims import Claim

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
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", help="file for the numbers of every seed, as JSON")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for seed in range(asked.seeds):
        found.append(measured(seed, asked.steps))
        print(f"seed {seed}: " + ", ".join(f"{name} {a:.3f} / {b:.3f}" for name, (a, b) in found[-1].items()), flush=True)
        if asked.out:
            Path(asked.out).write_text(json.dumps({"steps": asked.steps, "seeds": found}))
    print("\n".join(summary(found)))


def summary(found: Sequence[Mapping[str, tuple[float, float]]]) -> list[str]:
    """One line a row, and one for each gain by the parser, of the numbers of several seeds."""
    lines = []
    for name in ROWS:
        pairs, others = np.array([one[name] for one in found]).T
        lines.append(f"{name:14} texture pairs {spread(pairs)}, others {spread(others)}")
    for name in ("bank", "raw_bank"):
        with_parser, without = ([one[row][0] for one in found] for row in (name, f"{name}_none"))
        gain = Claim("the parser helps", with_parser, without)
        low, high = gain.interval
        lines.append(
            f"{name} minus {name}_none, texture pairs: {gain.gains.mean():+.3f} [{low:+.3f}, {high:+.3f}], {gain.verdict}"
        )
    return lines


def spread(values: Sequence[float]) -> str:
    """Mean, and its 95 % interval over the seeds."""
    low, high = Claim("", values, [0.0]).interval
    return f"{np.mean(values):.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
