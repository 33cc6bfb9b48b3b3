"""`python -m workbench.reports.demo`, which is `make demo`: the anomaly report on an embedded simulated scene, in about a minute.

It uses fewer steps and pixels than the paper, to be fast on two cores; the report says so.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from workbench import runs
from workbench.errors import InputError
from workbench.execution import RUNS
from workbench.reports.notebook import report

SCENE = "sim-coast-town"
SETTINGS = {"steps": 60, "pixels": 2000, "show_every": 30}  # the paper's: 500 steps on all pixels

HEADLINE = {
    "rx": "RX",
    "ridge_rx": "ridge-RX",
    "pca_rx": "PCA-RX",
    "rp_rx": "RX, random projections",
    "untrained": "BSDM, untrained",
    "trained": "BSDM, trained",
}


def main() -> int:
    """Make the report; print its headline table, its path and further commands. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workbench.reports.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder to make (default: a new one under runs/)")
    folder = parser.parse_args().out or runs.new_folder(RUNS, "report-bsdm", SCENE)
    print(f"BSDM and its rivals on {SCENE}, a simulated scene; {SETTINGS['steps']} steps, three seeds.", file=sys.stderr)
    begun = time.monotonic()
    try:
        page = report("bsdm", SCENE, SETTINGS, folder)
    except InputError as error:
        print(f"workbench: {error}", file=sys.stderr)
        return 2
    numbers = runs.metrics(folder)
    print(
        f"\nAUC(D,F) on {SCENE} (simulated), mean ± standard deviation over three seeds where a method draws random numbers"
    )
    for name, title in HEADLINE.items():
        print(f"  {title:<24} {as_text(numbers, f'auc_{name}')}")
    print(f"\nReport ({time.monotonic() - begun:.0f} s): {page}\n")
    print("Next, try")
    print("  .venv/bin/workbench serve                                    explore scenes and watch training in a browser")
    print("  .venv/bin/workbench report bsdm YOUR_CUBE --truth YOUR_MASK  the same report on your own data")
    return 0


def as_text(numbers: Mapping[str, float], name: str) -> str:
    """A metric of a report as text: the number, or mean ± standard deviation.

    >>> as_text({"auc_mean": 0.95, "auc_std": 0.01}, "auc")
    '0.9500 ± 0.0100'
    """
    if name in numbers:
        return f"{numbers[name]:.4f}"
    return f"{numbers[f'{name}_mean']:.4f} ± {numbers[f'{name}_std']:.4f}"


if __name__ == "__main__":
    sys.exit(main())
