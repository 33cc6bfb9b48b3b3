"""Renew the tables of measured numbers in docs/methods/bsdm.md from docs/results/bsdm_scenes.json.

make results RECIPES=bsdm_scenes
python -m benchmarks.table_bsdm
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from workbench.views.tables import spread

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- numbers: begin -->", "<!-- numbers: end -->"
METRICS = {"auc": "AUC(D,F)", "average_precision": "AP", "pd_at_pf_001": "PD at PF 0.01", "objects_at_pf_001": "objects"}
WHO = {
    "trained": "trained, K=10",
    "untrained": "untrained, K=10",
    "rx": "RX",
    "ridge_rx": "ridge-RX 1e-4",
    "pca_rx": "PCA-RX 30",
    "rp_rx": "RP-RX 61",
}
Numbers = Mapping[str, Mapping[str, list[float]]]  # scene -> metric -> one number for each seed


def over_scenes(scenes: Numbers) -> list[str]:
    """Rows of detectors: mean and standard deviation over scenes of each metric, and how often the trained network is better, worse."""
    lines = ["| mean of all scenes | " + " | ".join(f"{t} | trained wins, loses" for t in METRICS.values()) + " |"]
    lines.append("|---" * (1 + 2 * len(METRICS)) + "|")
    for who, title in WHO.items():
        cells = []
        for metric in METRICS:
            values = _means(scenes, f"{metric}_{who}")
            gains = _means(scenes, f"{metric}_trained") - values
            against = "" if who == "trained" else f"{(gains > 1e-12).sum()}, {(gains < -1e-12).sum()}"
            cells += [spread(values.tolist(), 3), against]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def by_scene(scenes: Numbers) -> list[str]:
    """Rows of scenes: AUC of every detector, and what the training and the better of two quick detectors change."""
    heads = [*WHO.values(), "trained - untrained", "trained - better of ridge, PCA"]
    lines = ["| AUC(D,F) | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]
    for scene, numbers in scenes.items():
        auc = {who: np.array(numbers[f"auc_{who}"]) for who in WHO}
        gains = (auc["trained"] - auc["untrained"], auc["trained"] - np.maximum(auc["ridge_rx"], auc["pca_rx"]))
        cells = [spread(v.tolist()) for v in auc.values()] + [f"{g.mean():+.4f}" for g in gains]
        lines.append(f"| `{scene}` | " + " | ".join(cells) + " |")
    return lines


def _means(scenes: Numbers, metric: str) -> np.ndarray:
    """The mean over seeds, for each scene."""
    return np.array([np.mean(numbers[metric]) for numbers in scenes.values()])


def text(made: Mapping[str, Mapping[str, Mapping[str, Numbers]]]) -> str:
    """Both tables, from the JSON of the results page."""
    scenes: Numbers = {label.removeprefix("scene "): v["numbers"] for label, v in made["variants"].items()}  # type: ignore[misc]
    seeds = len(next(iter(next(iter(scenes.values())).values())))
    note = f"{len(scenes)} scenes, {seeds} seeds, 100 full-image steps; mean ± standard deviation over scenes, of each the mean over seeds."
    second = "Scene by scene; mean ± standard deviation over seeds, a number alone draws nothing at random."
    return "\n".join([note, "", *over_scenes(scenes), "", second, "", *by_scene(scenes)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numbers", type=Path, default=DOCS / "results" / "bsdm_scenes.json")
    parser.add_argument("--page", type=Path, default=DOCS / "methods" / "bsdm.md")
    asked = parser.parse_args()
    table = text(json.loads(asked.numbers.read_text()))
    before, rest = asked.page.read_text().split(BEGIN)
    _, after = rest.split(END)
    asked.page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")
    print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
