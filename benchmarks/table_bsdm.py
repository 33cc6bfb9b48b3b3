"""Renew the table of measured numbers in docs/methods/bsdm.md from the JSON that tests/acceptance/test_bsdm.py writes.

WORKBENCH_NUMBERS=bsdm.json python -m pytest -m slow tests/acceptance/test_bsdm.py
python -m benchmarks.table_bsdm bsdm.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "methods" / "bsdm.md"
BEGIN, END = "<!-- numbers: begin -->", "<!-- numbers: end -->"

Run = dict[str, float]


def table(runs: list[Run]) -> str:
    """Markdown: a row per scene, mean and standard deviation over seeds."""
    columns: list[tuple[str, Callable[[Run], float]]] = [
        ("RX", lambda r: r["auc_rx"]),
        ("trained, K=10", lambda r: r["auc"]),
        ("trained, K=1", lambda r: r["auc_k"][1]),  # type: ignore[index]
        ("untrained, K=10", lambda r: r["auc_untrained"]),
        ("untrained, K=1", lambda r: r["auc_k_untrained"][1]),  # type: ignore[index]
        ("PCA-RX 30", lambda r: r["auc_pca_rx"]),
        ("ridge-RX 1e-4", lambda r: r["auc_ridge_rx"]),
        ("RP-RX 61", lambda r: r["auc_rp_rx"]),
        ("oracle", lambda r: r["auc_oracle"]),
        ("trained - RX", lambda r: r["auc"] - r["auc_rx"]),
        ("trained - untrained", lambda r: r["auc"] - r["auc_untrained"]),
        ("trained - best of PCA, ridge", lambda r: r["auc"] - max(r["auc_pca_rx"], r["auc_ridge_rx"])),
        *(
            (f"{title}, {who}", lambda r, name=name: r[name])
            for metric, title in (
                ("average_precision", "AP"),
                ("pd_at_pf_001", "PD at PF 0.01"),
                ("objects_at_pf_001", "objects"),
            )
            for who, name in (("trained", metric), ("untrained", f"{metric}_untrained"), ("RX", f"{metric}_rx"))
        ),
        ("loss / sigma^2", lambda r: r["loss_final"] / r["sigma2"]),
    ]
    scenes = list(dict.fromkeys(run["scene"] for run in runs))
    lines = ["| | " + " | ".join(scenes) + " |", "|---|" + "---|" * len(scenes)]
    first = [next(run for run in runs if run["scene"] == scene) for scene in scenes]
    lines.append("| bands, marked pixels | " + " | ".join(f"{r['bands']:.0f}, {r['anomalies']}" for r in first) + " |")
    lines.append("| SHA-256 of the file | " + " | ".join(f"`{r['sha256'][:8]}`" for r in first) + " |")  # type: ignore[index]
    for title, value in columns:
        cells = []
        for scene in scenes:
            values = [value(run) for run in runs if run["scene"] == scene]
            sign = "+" if " - " in title else ""
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):{sign}.4f}" + (f" ± {spread:.4f}" if spread >= 5e-5 else ""))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    seeds = sorted({int(run["seed"]) for run in runs})
    steps = sorted({int(run["steps"]) for run in runs})
    note = f"Seeds {', '.join(map(str, seeds))}; {steps[0]} full-image steps; mean ± standard deviation over seeds."
    return "\n".join([note, "", *lines])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", type=Path, help="the JSON file")
    text = table(json.loads(parser.parse_args().numbers.read_text()))
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
