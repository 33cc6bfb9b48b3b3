"""The acceptance experiments of AR-CDNet: change and uncertainty on held-out pairs, beside rivals and controls, by seed.

    python benchmarks/arcdnet_acceptance.py [--data sim levir ...] [--seeds 0 1 2] [--out DIR] [--page FILE] [--tiny]

Every experiment trains on the training part of a scene and is judged on its test part; the seed draws split (where the scene
has none), weights, crops and augmentation. `sim` has all rivals and all uncertainties; `ablations` are the same scene with one
module off; `halves` are simulated tiles in which a known share of labels is made wrong in one half.

Writes DIR/arcdnet-DATA-SEED.json (every single number) and prints tables, mean and standard deviation over seeds, and gates;
with --page FILE also between the marks "numbers: begin" and "numbers: end" of that page. Numbers in DIR are used again, so an
interrupted table is continued. Ends with exit code 1 when a gate is missed. Real data are looked for below WORKBENCH_DATA.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from workbench.config import override
from workbench.data.catalog import open_scene
from workbench.event import drain, tee
from workbench.methods.arcdnet import Config, run
from workbench.parts.device import device

LEARNT = ["fc-ef", "fc-siam-conc", "fc-siam-diff"]


@dataclass(frozen=True)
class Setup:
    """A scene and how it is trained on."""

    scene: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    gated: bool = False


SETUPS = {
    "sim": Setup("sim-change-tiles", {"steps": 200, "rivals": LEARNT, "measures": ["mc-dropout", "ensemble"]}, gated=True),
    # few crops are learnt by heart at the default rate of 0.01: this is the protocol of a pilot with a network of this size
    "levir": Setup("levir", {"steps": 260, "lr": 0.002, "augment": ["flip", "exchange"], "rivals": []}, gated=True),
    "dsifn": Setup("dsifn-256", {"steps": 200, "test_share": 0.375, "rivals": []}),
    "taizhou": Setup("landsat-taizhou", {"steps": 100, "rivals": [], "block": 50}),
    "ottawa": Setup("sar-ottawa", {"steps": 100, "rivals": [], "block": 40}),
    "no-krm": Setup("sim-change-tiles", {"steps": 200, "rivals": [], "controls": False, "krm": False}),
    "no-oue": Setup("sim-change-tiles", {"steps": 200, "rivals": [], "controls": False, "oue": False}),
    "abs": Setup("sim-change-tiles", {"steps": 200, "rivals": [], "controls": False, "difference": "abs"}),
    "halves": Setup("halves", {"steps": 150, "rivals": [], "controls": False}, gated=True),
}
TITLES = {
    "sim": "simulated tiles",
    "levir": "LEVIR-CD, 12 crops",
    "dsifn": "DSIFN, 7 crops",
    "taizhou": "Landsat Taizhou",
    "ottawa": "SAR Ottawa",
    "no-krm": "simulated, without KRM",
    "no-oue": "simulated, without OUE",
    "abs": "simulated, |a - b| for TDE",
    "halves": "simulated, 0 and 20 % wrong labels",
}


def levir(seed: int) -> xr.Dataset:
    """Eight crops of LEVIR-CD, three of them held back, and for training the four quarters of the larger sample pair, too."""
    crops, large = open_scene("levir-cd-256").load(), open_scene("levir-cd-512-sample").load()
    quarters = large.coarsen(y=256, x=256).construct(y=("row", "y"), x=("column", "x")).stack(sample=("row", "column"))
    quarters = quarters.drop_vars(["sample", "row", "column", "y", "x"], errors="ignore").assign_coords(
        sample=[f"quarter_{n}" for n in range(4)], split=("sample", ["train"] * 4), y=crops["y"], x=crops["x"]
    )
    return xr.concat([crops, quarters], "sample", combine_attrs="override").transpose("sample", "band", "y", "x")


def halves(seed: int) -> xr.Dataset:
    """Simulated tiles whose right half is darker, and there a fifth of all labels is wrong; `wrong_share (x)` is the truth of U.

    The darker half is what a network can know the halves by: it does not see where a pixel lies.
    """
    scene = open_scene("sim-change-tiles").load().copy(deep=True)
    right = np.arange(scene.sizes["x"]) >= scene.sizes["x"] // 2
    for date in ("before", "after"):
        scene[date].values[..., right] *= 0.5
    flip = (np.random.default_rng(seed).random(scene["truth"].shape) < 0.2) & right
    scene["truth"].values[:] = np.where(flip, 1 - scene["truth"], scene["truth"])
    return scene.drop_vars(["chance", "ambiguity"])


def measured(name: str, seed: int, folder: Path | None = None, tiny: bool = False) -> dict[str, Any]:
    """All numbers of one experiment: `scores` {rival: {metric: value}}, `uncertainty` {measure: {quantity: value}}, `numbers`."""
    path = None if folder is None else folder / f"arcdnet-{name}-{seed}.json"
    if path is not None and path.exists():
        return json.loads(path.read_text())
    setup = SETUPS[name]
    settings: dict[str, Any] = {**setup.settings, "seed": seed, "show_every": 50}
    if tiny:
        settings |= {"steps": 3, "width": 2, "batch": 2, "crop": 32, "passes": 2}
    made = {"halves": halves, "levir": levir}
    scene = made[setup.scene](seed) if setup.scene in made else open_scene(setup.scene)
    losses: list[float] = []
    begun = time.monotonic()

    def note(event: Any) -> None:
        if "loss" in event.scalars:
            losses.append(event.scalars["loss"])

    result = drain(tee(run(scene, override(Config(), settings)), note)).result
    found = {
        "data": name,
        "seed": seed,
        "seconds": time.monotonic() - begun,
        "first_loss": float(np.mean(losses[:5])),
        "last_loss": float(np.mean(losses[-10:])),
        "scores": _table(result["scores"]),
        "uncertainty": _table(result["uncertainty_scores"]),
        "numbers": {str(n): float(v) for n, v in result.data_vars.items() if v.ndim == 0},
    }
    if "ambiguity" in result and "uncertainty" in result:
        found["ambiguity"] = _doubt(result)
    if name == "halves":
        middle = result.sizes["x"] // 2
        u = result["uncertainty"].mean(("sample", "y")).values
        found["left"], found["right"] = float(u[:middle].mean()), float(u[middle:].mean())
    if path is not None:
        path.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _table(array: xr.DataArray) -> dict[str, dict[str, float]]:
    rows, columns = array.dims
    return {
        str(r): {str(c): float(v) for c, v in zip(array[columns].values, row, strict=True)}
        for r, row in zip(array[rows].values, array.values, strict=True)
    }


def _doubt(result: xr.Dataset) -> dict[str, float]:
    """Mean of each uncertainty where the simulation's labels are a coin's throw, and where they are not."""
    doubtful = result["ambiguity"].values > 0
    found = {}
    for name in ("uncertainty", "uncertainty_variance", "uncertainty_temperature"):
        values = result[name].values
        found[f"{name}_doubtful"], found[f"{name}_plain"] = float(values[doubtful].mean()), float(values[~doubtful].mean())
    return found | {"truth_doubtful": float(result["ambiguity"].values[doubtful].mean())}


# --- gates ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate:
    text: str
    value: float
    passed: bool


def gates(rows: Sequence[Mapping[str, Any]]) -> list[Gate]:
    """The gates of an experiment over its seeds."""
    name = rows[0]["data"]
    if name == "halves":
        gaps = [r["right"] - r["left"] for r in rows]
        return [Gate("mean U right half - mean U left half, every seed", min(gaps), min(gaps) > 0.1)]
    if not SETUPS[name].gated:
        return []
    u = [r["uncertainty"]["uncertainty"] for r in rows]
    auroc = [x["error_auroc"] for x in u]
    fake = [r["uncertainty"]["shuffled"]["error_auroc"] for r in rows]
    apart = min(x["mean_on_wrong"] - x["mean_on_right"] for x in u)
    gap = float(np.mean([abs(r["numbers"]["train_mean_uncertainty"] - r["numbers"]["train_mean_error"]) for r in rows]))
    kept = float(np.mean([x["error_rate"] - x["error_rate_kept_80"] for x in u]))
    f1 = float(np.mean([r["numbers"]["train_f1"] for r in rows]))
    fall = float(np.mean([r["last_loss"] / r["first_loss"] for r in rows]))
    found = [
        Gate("G1 AUROC(U, error), mean of seeds, at least .60", float(np.mean(auroc)), float(np.mean(auroc)) >= 0.6),
        Gate("G1 AUROC(U, error), worst seed, above .55", min(auroc), min(auroc) > 0.55),
        Gate(
            "G1 AUROC of a branch with shuffled targets, .50 +- .05", float(np.mean(fake)), abs(np.mean(fake) - 0.5) <= 0.05
        ),
        Gate("G2 mean U on wrong less on right pixels, worst seed, above 0", apart, apart > 0),
        Gate("G3 mean U against mean abs(y - P) on training pixels, apart less than .06", gap, gap < 0.06),
        Gate("G4 error rate of all less that of the surest 80 %, above 0", kept, kept > 0),
        Gate("G5 F1 on training pixels, above .70", f1, f1 > 0.7),
        Gate("G5 last loss over first, at most .5", fall, fall <= 0.5),
    ]
    if name == "sim":
        lead = float(np.mean([r["scores"]["arcdnet"]["f1"] - r["scores"]["cva"]["f1"] for r in rows]))
        found.append(Gate("F1 over CVA + Otsu on held-back pairs, at least .15", lead, lead >= 0.15))
    return found


# --- tables -----------------------------------------------------------------------------------------------------------


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """All tables, as Markdown."""
    names = list(dict.fromkeys(r["data"] for r in rows))
    of = {n: [r for r in rows if r["data"] == n] for n in names}
    seeds = sorted({r["seed"] for r in rows})
    lines = [
        f"Mean and standard deviation over seeds {seeds}; {device().type}, {torch.get_num_threads()} thread(s), {platform.machine()}.",
        "",
    ]
    lines += [
        "**Change**, test pixels pooled:",
        "",
        "| data | who | F1 | IoU | kappa | precision | recall |",
        "|---|---|---|---|---|---|---|",
    ]
    for n in names:
        for who in of[n][0]["scores"]:
            cells = [spread(r["scores"][who][m] for r in of[n]) for m in ("f1", "iou", "kappa", "precision", "recall")]
            lines.append(f"| {TITLES[n]} | {who} | " + " | ".join(cells) + " |")
    quantities = (
        "error_auroc",
        "aurc",
        "calibration_error",
        "mean_uncertainty",
        "mean_error",
        "error_rate",
        "error_rate_kept_80",
    )
    heads = ("AUROC(U, wrong)", "AURC", "calibration error", "mean U", "mean abs(y-P)", "error rate", "of the surest 80 %")
    lines += [
        "",
        "**Uncertainty** against the errors of its own change map, test pixels:",
        "",
        f"| data | measure | {' | '.join(heads)} |",
    ]
    lines.append("|---" * (2 + len(heads)) + "|")
    for n in names:
        for who in of[n][0]["uncertainty"]:
            cells = [spread(r["uncertainty"][who][q] for r in of[n]) for q in quantities]
            lines.append(f"| {TITLES[n]} | {who} | " + " | ".join(cells) + " |")
    lines += ["", "**By seed**: AUROC of the branch and of entropy of the same P, F1 on test and training pixels:", ""]
    lines += ["| data | seed | U | entropy | test F1 | training F1 | seconds |", "|---|---|---|---|---|---|---|"]
    for r in rows:
        u = r["uncertainty"]
        own = f"{u['uncertainty']['error_auroc']:.3f}" if "uncertainty" in u else "-"
        cells = (
            own,
            f"{u['entropy']['error_auroc']:.3f}",
            f"{r['scores']['arcdnet']['f1']:.3f}",
            f"{r['numbers']['train_f1']:.3f}",
        )
        lines.append(f"| {TITLES[r['data']]} | {r['seed']} | " + " | ".join(cells) + f" | {r['seconds']:.0f} |")
    judged = [(n, g) for n in names for g in gates(of[n])]
    lines += ["", "**Gates:**", "", "| data | gate | value | |", "|---|---|---|---|"]
    lines += [f"| {TITLES[n]} | {g.text} | {g.value:.3f} | {'met' if g.passed else '**missed**'} |" for n, g in judged]
    if "sim" in of and "ambiguity" in of["sim"][0]:
        d = {k: spread(r["ambiguity"][k] for r in of["sim"]) for k in of["sim"][0]["ambiguity"]}
        lines += ["", "Where the simulation's own labels are in doubt (a perfect U shows "]
        lines[-1] += (
            f"{d['truth_doubtful']} there with a perfect P) and elsewhere, mean U: branch {d['uncertainty_doubtful']} and "
        )
        lines[-1] += (
            f"{d['uncertainty_plain']}; 2P(1-P) {d['uncertainty_variance_doubtful']} and {d['uncertainty_variance_plain']}; "
        )
        lines[-1] += f"temperature {d['uncertainty_temperature_doubtful']} and {d['uncertainty_temperature_plain']}."
    return "\n".join(lines)


def spread(values: Iterable[float]) -> str:
    known = np.array([v for v in values if np.isfinite(v)])
    return f"{known.mean():.3f}+-{known.std(ddof=1) if len(known) > 1 else 0:.3f}" if len(known) else "-"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", choices=list(SETUPS), default=list(SETUPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--page", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a few steps, to see that it runs; the numbers mean nothing")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in asked.data:
        for seed in asked.seeds:
            rows.append(measured(name, seed, asked.out, asked.tiny))
            print(f"{name} {seed}: {rows[-1]['seconds']:.0f} s", file=sys.stderr, flush=True)
    text = page(rows)
    print(text)
    if asked.page is not None:
        before, _, rest = asked.page.read_text().partition("<!-- numbers: begin -->\n")
        _, mark, after = rest.partition("<!-- numbers: end -->")
        if not mark:
            sys.exit(f"{asked.page} has no marks for the numbers")
        asked.page.write_text(f"{before}<!-- numbers: begin -->\n{text}\n{mark}{after}")
    missed = [g for name in asked.data for g in gates([r for r in rows if r["data"] == name]) if not g.passed]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
