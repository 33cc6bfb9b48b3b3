"""The acceptance experiments of TDDS: train on coresets chosen by it and by its rivals, with right and with wrong labels.

    python benchmarks/tdds_acceptance.py [--data digits eurosat] [--seeds 0 1 2] [--out DIR] [--tiny]
    python benchmarks/tdds_acceptance.py --data eurosat --selectors random tdds_10_5 tdds_10_5_ccs el2n_ccs ccs   # in strata
    python benchmarks/tdds_acceptance.py --data cifar10 --network resnet18 --epochs 60     # worth it on a GPU only

For every data set, with the labels as they are and with 20 % of the training labels made wrong, and every seed: one scoring
run on all training samples; then, for every budget and selector, a training from scratch on the coreset, all for the same
number of steps, from the same initial weights. Accuracy is that of the last step on held-out samples with right labels.

Writes DIR/tdds_acceptance.json (every single number) and .md (mean and spread over seeds, and the gates), and prints the
latter; with --page FILE also between the marks "numbers: begin" and "numbers: end" of that page. Ends with exit code 1 when
a gate is missed. The seed draws split, wrong labels, weights and order.
Real data are looked for below WORKBENCH_DATA; the device is the one of `workbench.parts.device`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from workbench.baselines.coresets import AUM, EL2N, Forgetting, selectors
from workbench.config import override
from workbench.data.chips import digits, open_chips
from workbench.errors import InputError
from workbench.methods.tdds.samples import samples_of
from workbench.methods.tdds.scoring import TDDS
from workbench.methods.tdds.settings import Config
from workbench.methods.tdds.training import Training
from workbench.parts.device import device
from workbench.parts.dynamics import Recorder

NOISE = 0.2
SELECTORS = (
    "random", "tdds_30_10", "tdds_10_5", "tdds_10_5_balanced", "tdds_10_5_ccs", "el2n", "el2n_ccs", "forgetting", "ccs",
)  # fmt: skip
TITLES = {
    "random": "random",
    "tdds_30_10": "TDDS(30,10)",
    "tdds_10_5": "TDDS(10,5)",
    "tdds_10_5_balanced": "TDDS(10,5) by class",
    "tdds_10_5_ccs": "TDDS(10,5) in strata",
    "el2n": "EL2N, 5th epoch",
    "el2n_ccs": "EL2N in strata",
    "forgetting": "forgetting",
    "ccs": "CCS on AUM",
    "full": "all samples",
}


@dataclass(frozen=True)
class Setup:
    """One data set and how it is trained on."""

    config: Config
    keeps: tuple[float, ...]
    gated: bool


SETUPS = {
    # 1300 for training, 497 for testing; 630 steps are 30 epochs of half of them
    "digits": Setup(Config(epochs=30, batch=32, lr=0.02, iterations=630, test_share=497 / 1797), (0.5, 0.3, 0.2, 0.1), True),
    # 1500 for training, 500 for testing, averaged down to 32 x 32 so that a CPU can do it; 705 steps are 30 epochs of half
    "eurosat": Setup(Config(epochs=30, batch=32, lr=0.02, size=32, iterations=705), (0.3, 0.2, 0.1), True),
    "cifar10": Setup(Config(epochs=30, batch=64, lr=0.05, augment="crop-flip"), (0.7, 0.5, 0.3, 0.2, 0.1), False),
}


@dataclass(frozen=True)
class Row:
    """One training and its test accuracy, of each class too. noise_share: wrong labels among the kept."""

    data: str
    noise: float
    seed: int
    keep: float
    selector: str
    accuracy: float
    noise_share: float
    class_accuracy: tuple[float, ...] = ()

    @property
    def worst_class(self) -> float:
        """Accuracy of the worst class that has test samples."""
        return min((a for a in self.class_accuracy if math.isfinite(a)), default=math.nan)


def open_data(name: str) -> xr.Dataset:
    if name == "digits":
        return digits()
    root = os.environ.get("WORKBENCH_DATA")
    if not root:
        raise InputError(f"{name} is looked for below the folder named by WORKBENCH_DATA, which is not set.")
    if name == "eurosat":
        return open_chips(Path(root) / "scene_classification" / "eurosat-rgb")
    folder = Path(root) / "image_classification" / "cifar10-jpg"
    return open_chips([folder / "cifar10_subset_train5000.zip", folder / "cifar10_subset_test1000.zip"])


def experiment(
    scene: xr.Dataset, name: str, setup: Setup, noise: float, seed: int, chosen: Sequence[str] = SELECTORS
) -> list[Row]:
    """All trainings of one data set, noise and seed; the scores of all selectors come from one scoring run."""
    config = override(setup.config, {"seed": seed, "label_noise": noise})
    samples = samples_of(scene, config)
    labels = samples.label.numpy()[samples.train]
    long, short = (TDDS(min(J, config.epochs), min(T, config.epochs)) for T, J in ((30, 10), (10, 5)))
    rivals = {"el2n": EL2N(min(4, config.epochs - 1), min(5, config.epochs)), "forgetting": Forgetting(), "aum": AUM()}
    recorder = Recorder(labels, samples.classes, {"tdds_30_10": long, "tdds_10_5": short, **rivals})
    per_epoch = math.ceil(len(labels) / config.batch)
    training = Training(samples, samples.train, config, config.epochs * per_epoch, seed)
    for _ in range(config.epochs):
        training.advance(per_epoch, recorder)
        recorder.end_epoch()
    scores = recorder.scores()
    flipped = samples.flipped[samples.train]

    def row(keep: float, selector: str, done: Training, wrong: float) -> Row:
        return Row(name, noise, seed, keep, selector, done.test_accuracy(), wrong, tuple(done.class_accuracy()))

    rows = [row(1.0, "full", training, float(flipped.mean()))]
    steps = config.iterations or config.epochs * per_epoch
    for keep in setup.keeps:
        for selector, choose in selectors(list(chosen)).items():
            kept = choose(scores, keep, labels, seed).values
            again = Training(samples, samples.train[kept], config, steps, seed + 1)
            again.advance(steps)
            rows.append(row(keep, selector, again, float(flipped[kept].mean())))
    return rows


@dataclass(frozen=True)
class Gate:
    text: str
    value: float
    bound: float
    passed: bool


def gates(rows: Iterable[Row]) -> list[Gate]:
    """The claims, for every data set that has gates and every noise there are rows of; means over seeds."""
    rows = list(rows)
    found = []
    for data, noise in sorted({(r.data, r.noise) for r in rows if SETUPS[r.data].gated}):

        def mean(selector: str, keep: float, of: str = "accuracy", data: str = data, noise: float = noise) -> float:
            here = [getattr(r, of) for r in rows if (r.data, r.noise, r.selector, r.keep) == (data, noise, selector, keep)]
            return float(np.mean(here)) if here else math.nan

        def least(text: str, value: float, bound: float, data: str = data) -> None:
            found.append(Gate(f"{data}: {text}, at least {bound:g}", value, bound, value >= bound))

        if noise == 0:
            for keep in (0.2, 0.3):
                gain = mean("tdds_10_5", keep) - mean("random", keep)
                least(f"TDDS(10,5) over random at keep {keep:g}", gain, 0.01)
            gain = mean("tdds_10_5", 0.2) - mean("el2n", 0.2)
            found.append(Gate(f"{data}: TDDS(10,5) over EL2N at keep 0.2, above 0", gain, 0.0, gain > 0))
        else:
            share = mean("tdds_10_5", 0.1, "noise_share")
            found.append(
                Gate(f"{data}: wrong labels in the top 10 % of TDDS(10,5), at most 0.35", share, 0.35, share <= 0.35)
            )
            least("wrong labels in the top 10 % of EL2N", mean("el2n", 0.1, "noise_share"), 0.9)
            least("TDDS(10,5) over EL2N at keep 0.3, wrong labels", mean("tdds_10_5", 0.3) - mean("el2n", 0.3), 0.3)
    return found


def table(rows: Iterable[Row], of: str = "accuracy") -> str:
    """Markdown: a line for every data set, noise and budget, mean +- standard deviation over seeds."""
    rows = list(rows)
    columns = [s for s in SELECTORS if any(r.selector == s for r in rows)]
    seeds = len({r.seed for r in rows})
    lines = [
        f"| data | wrong labels | keep | {' | '.join(TITLES[c] for c in columns)} | {TITLES['full']} |",
        "|---" * (len(columns) + 4) + "|",
    ]

    def cell(data: str, noise: float, keep: float, selector: str) -> str:
        here = [getattr(r, of) for r in rows if (r.data, r.noise, r.keep, r.selector) == (data, noise, keep, selector)]
        spread = f"+-{np.std(here, ddof=1):.3f}" if seeds > 1 else ""
        return f"{np.mean(here):.3f}{spread}"

    for data, noise, keep in sorted({(r.data, r.noise, -r.keep) for r in rows if r.selector != "full"}):
        cells = [cell(data, noise, -keep, c) for c in columns] + [cell(data, noise, 1.0, "full")]
        lines.append(f"| {data} | {noise:g} | {-keep:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tiny(setup: Setup) -> Setup:
    """A few steps, to see that all of it runs; the numbers mean nothing."""
    return Setup(
        override(setup.config, {"epochs": 3, "J": 3, "iterations": 6, "size": 8, "batch": 64}),
        (*setup.keeps[:1], 0.1),
        False,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(SETUPS), default=["digits", "eurosat"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, NOISE])
    parser.add_argument("--selectors", nargs="+", choices=SELECTORS, default=list(SELECTORS))
    parser.add_argument("--network", choices=("auto", "cnn", "resnet18"))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--augment", choices=("crop-flip",))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--page", type=Path)
    parser.add_argument("--tiny", action="store_true")
    a = parser.parse_args(arguments)
    torch.set_num_threads(a.threads)
    changes: dict[str, Any] = {
        n: getattr(a, n) for n in ("network", "epochs", "iterations", "size", "batch", "lr", "augment") if getattr(a, n)
    }
    rows: list[Row] = []
    begin = time.perf_counter()
    for name in a.data:
        setup = SETUPS[name]
        setup = tiny(setup) if a.tiny else Setup(override(setup.config, changes), setup.keeps, setup.gated)
        scene = open_data(name).load()
        for noise in a.noise:
            for seed in a.seeds:
                rows += experiment(scene, name, setup, noise, seed, a.selectors)
                print(
                    f"{name}, noise {noise:g}, seed {seed}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True
                )
    judged = [] if a.tiny or set(a.selectors) != set(SELECTORS) else gates(rows)  # gates need all selectors
    about = {
        "seconds": time.perf_counter() - begin,
        "device": torch.cuda.get_device_name()
        if device().type == "cuda"
        else f"cpu, {a.threads} thread(s), {platform.machine()}",
        "torch": torch.__version__,
        "changes": changes,
        "tiny": a.tiny,
    }
    noisy = [r for r in rows if r.noise]
    text = "\n".join(
        [
            f"Test accuracy at the last step, mean and standard deviation over seeds {a.seeds}; {about['device']}.",
            "",
            table(rows),
            "",
            "Accuracy of the worst class:",
            "",
            table(rows, "worst_class"),
            "",
            *(["Share of wrong labels in the coreset:", "", table(noisy, "noise_share"), ""] if noisy else []),
            *(f"- {'met' if g.passed else 'MISSED'}: {g.text}: {g.value:.3f}" for g in judged),
            "",
        ]
    )
    a.out.mkdir(parents=True, exist_ok=True)
    found = {"about": about, "rows": [asdict(r) for r in rows], "gates": [asdict(g) for g in judged]}
    (a.out / "tdds_acceptance.json").write_text(json.dumps(found, indent=1))
    (a.out / "tdds_acceptance.md").write_text(text)
    if a.page:
        before, rest = a.page.read_text().split("<!-- numbers: begin -->")
        after = rest.split("<!-- numbers: end -->")[1]
        a.page.write_text(f"{before}<!-- numbers: begin -->\n{text}<!-- numbers: end -->{after}")
    print(text)
    return int(not all(g.passed for g in judged))


if __name__ == "__main__":
    sys.exit(main())
