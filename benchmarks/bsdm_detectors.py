"""BSDM before four detectors, and from scene to scene: the experiments that its abstract names.

    python -m benchmarks.bsdm_detectors [--scenes NAME ...] [--seeds 0 1 2] [--steps 100] [--encoder-steps 500]
        [--runs DIR] [--out DIR] [--page FILE]
    python -m benchmarks.bsdm_detectors --tiny

1. Every detector (RX, CRD, kernel forest, autoencoder) on the scene as it is, after the passes of the *untrained* network, and after those
   of the trained one.
2. The matrix of training scene x test scene: RX after the passes of a network that was trained on another scene, and RX of the same bands.

Each with AUC(D,F), average precision (AP), and PD at a false-alarm rate of 1 %. Writes DIR/bsdm_detectors.json, every single number, after
each scene and seed, and .md: means over scenes with wins and losses, and the test of every claim over scenes (Student's t of one gain
per scene, corrected for all claims by Holm). A number that is in the JSON already is not computed again. An hour for all scenes on two
cores; real data are looked for below WORKBENCH_DATA. `--runs DIR`: BSDM runs with the same settings and data in
that folder, such as runs/results/bsdm_scenes, are not trained again. `--page FILE`: the tables between the marks "detectors: begin" and
"detectors: end".
`--tiny`: two small simulated scenes and two steps, to see that all of it runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from workbench import runs
from workbench.baselines.anomaly import rx
from workbench.baselines.autoencoder import autoencoder
from workbench.baselines.crd import crd
from workbench.baselines.kernel_forest import kernel_forest
from workbench.data.catalog import open_scene
from workbench.data.synth import simulate
from workbench.event import drain
from workbench.methods import bsdm
from workbench.metrics.anomaly import measured
from workbench.reports.claims import Claim, corrected, counted
from workbench.scene import fingerprint
from workbench.views.tables import spread

SCENES = (
    *(f"abu-{name}" for name in ("airport-1", "airport-2", "airport-4", "beach-1", "beach-3")),
    *(f"abu-{name}" for name in ("urban-1", "urban-2", "urban-4")),
    *("hydice-urban-162", "hydice-urban-175", "lhdata", "muufl-gulfport", "pavia-centre-bridge", "san-diego-134"),
)
METRICS = {"auc": "AUC(D,F)", "average_precision": "AP", "pd_at_pf_001": "PD at PF 0.01"}
INPUTS = ("plain", "untrained", "trained")
Row = dict[str, Any]


def detectors(tiny: bool, steps: int) -> dict[str, Callable[[xr.DataArray, int], xr.DataArray]]:
    """Name -> detector of a cube and a seed, all with their default settings but the autoencoder's steps."""
    return {
        "RX": lambda cube, seed: rx(cube),
        "CRD": lambda cube, seed: crd(cube),
        "kernel forest": lambda cube, seed: kernel_forest(cube, trees=5 if tiny else 500, seed=seed),
        "autoencoder": lambda cube, seed: autoencoder(cube, steps, width=8 if tiny else 64, seed=seed),
    }


def opened(name: str) -> xr.Dataset:
    """A scene of the catalogue, or `tiny-0`, `tiny-1`, ..., in memory."""
    if name.startswith("tiny-"):
        return simulate("coast", size=24, bands=20 + 4 * int(name[5:]), seed=int(name[5:])).load()
    return open_scene(name).load()


def judged(score: xr.DataArray, scene: xr.Dataset) -> dict[str, float]:
    """The metrics of a score map."""
    found = measured(score, scene["truth"])
    return {metric: found[metric][0] for metric in METRICS}


def trained(scene: xr.Dataset, config: bsdm.Config, root: Path | None) -> tuple[xr.Dataset, Mapping[str, torch.Tensor]]:
    """Result and weights of BSDM on a scene: those of a finished run below `root` with these settings and data, else of a new one."""
    wanted = config.model_dump(mode="json")
    for file in sorted(root.rglob("weights.safetensors")) if root else ():
        about = runs.read(file.parent)
        same = about.get("method") == "bsdm" and about["status"] == "finished" and about["config"] == wanted
        if same and about["scene"]["fingerprint"] == fingerprint(scene):
            return runs.result(file.parent, chunks=None).load(), runs.weights(file.parent)["denoiser"]
    outcome = drain(bsdm.run(scene, config))
    return outcome.result, outcome.weights["denoiser"]


def cubes(
    scene: xr.Dataset, config: bsdm.Config, root: Path | None
) -> tuple[dict[str, xr.DataArray], xr.Dataset, Mapping[str, torch.Tensor]]:
    """The three inputs of a detector (band, y, x), and result and weights of the training."""
    result, weights = trained(scene, config, root)
    values, bands, valid = bsdm.spectra_of(scene)
    x0 = bsdm.scaled(torch.from_numpy(values), config.scaling)
    frame = bsdm.Frame(scene, bands, valid)
    quiet, _ = bsdm.suppressed(bsdm.Training(x0, config).network, x0, config)
    good = {"good": ("band", np.isin(np.arange(scene.sizes["band"]), bands))}
    inputs = {
        "plain": frame.cube(x0, "scaled scene"),
        "untrained": frame.cube(quiet, "after all passes"),
        "trained": result["suppressed"],
    }
    return {name: cube.assign_coords(good) for name, cube in inputs.items()}, result, weights


def measure(
    name: str, scenes: Sequence[str], config: bsdm.Config, tiny: bool, encoder_steps: int, root: Path | None
) -> Iterator[Row]:
    """All rows of one training scene and one seed."""
    scene = opened(name)
    inputs, result, weights = cubes(scene, config, root)
    about = {"scene": name, "seed": config.seed}
    for who, detector in detectors(tiny, encoder_steps).items():
        for kind, cube in inputs.items():
            yield {**about, "detector": who, "input": kind, **judged(detector(cube, config.seed), scene)}
    for test in scenes:
        if test != name:
            other = opened(test)
            found = bsdm.apply(weights, result.attrs["denoiser"], other)
            for kind, score in (("trained elsewhere", "score"), ("same bands", "score_rx")):
                yield {**about, "test": test, "detector": "RX", "input": kind, **judged(found[score], other)}


def value(rows: Sequence[Row], metric: str, **wanted: str) -> float:
    """Mean over seeds."""
    found = [row[metric] for row in rows if all(row.get(k) == v for k, v in wanted.items())]
    return float(np.mean(found)) if found else np.nan


def page(rows: Sequence[Row], steps: int, encoder_steps: int) -> str:
    """The tables as Markdown."""
    own = [row for row in rows if "test" not in row]
    scenes = list(dict.fromkeys(row["scene"] for row in own))
    who = list(dict.fromkeys(row["detector"] for row in own))
    claims, labels = [], []
    seeds = len({row["seed"] for row in rows})
    of_each = "one seed" if seeds == 1 else f"the mean over {counted(seeds)}"
    lines = [
        f"Mean ± standard deviation over {len(scenes)} scenes; of each scene {of_each}. BSDM: {steps} full-image steps, ten passes; "
        f"autoencoder: {encoder_steps} steps; the other detectors with their defaults.",
        "",
    ]
    lines += ["| detector | metric | " + " | ".join(INPUTS) + " |", "|---" * (2 + len(INPUTS)) + "|"]
    for one in who:
        for metric, title in METRICS.items():
            each = {k: [value(own, metric, scene=s, detector=one, input=k) for s in scenes] for k in INPUTS}
            lines.append(f"| {one} | {title} | " + " | ".join(spread(v) for v in each.values()) + " |")
            for control in ("plain", "untrained"):
                claims.append(Claim(f"{one}: trained beats {control}", each["trained"], each[control], over="scenes"))
                labels.append(title)
    away = [row for row in rows if "test" in row]
    for metric, title in METRICS.items() if away else ():
        ours, same = ([value(away, metric, test=s, input=k) for s in scenes] for k in ("trained elsewhere", "same bands"))
        claims.append(Claim("RX: networks of the other scenes beat RX of the same bands", ours, same, over="scenes"))
        labels.append(title)
    lines += ["", "| claim | metric | ours | control | gain [95 %] | verdict |", "|---" * 6 + "|"]
    for claim, title in zip(corrected(claims), labels, strict=True):
        lines.append(f"| {claim.text} | {title} | " + " | ".join(claim.row()[1:]) + " |")
    for metric, title in METRICS.items() if away else ():
        lines += [
            "",
            f"{title} of RX after the passes of a network trained on the scene of the row, minus RX of the same bands:",
            "",
        ]
        lines += ["| trained on | " + " | ".join(scenes) + " |", "|---" * (1 + len(scenes)) + "|"]
        for train in scenes:
            cells = []
            for test in scenes:
                if train == test:
                    after, plain = (value(own, metric, scene=train, detector="RX", input=k) for k in ("trained", "plain"))
                else:
                    after, plain = (
                        value(away, metric, scene=train, test=test, input=k) for k in ("trained elsewhere", "same bands")
                    )
                cells.append(f"{after - plain:+.3f}" if np.isfinite(after - plain) else "–")
            lines.append(f"| {train} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def ledger(rows: Sequence[Row], encoder_steps: int) -> dict[str, Any]:
    """The means over seeds of each scene, as docs/generate/claims.py reads them."""
    own, away = ([row for row in rows if ("test" in row) == elsewhere] for elsewhere in (False, True))
    scenes = list(dict.fromkeys(row["scene"] for row in own))
    names, headings = {}, {}
    for metric, title in METRICS.items():
        for who in dict.fromkeys(row["detector"] for row in own):
            for kind in INPUTS:
                names[key := f"{metric}_{who}_{kind}".replace(" ", "_")] = (
                    own,
                    "scene",
                    {"detector": who, "input": kind},
                    metric,
                )
                headings[key] = f"{who}, {kind}, {title}"
        for kind in ("trained elsewhere", "same bands") if away else ():
            names[key := f"{metric}_{kind}".replace(" ", "_")] = (away, "test", {"input": kind}, metric)
            headings[key] = f"RX, {kind}, {title}"
    return {
        "page": "docs/methods/bsdm.md",
        "command": f"python -m benchmarks.bsdm_detectors --encoder-steps {encoder_steps}",
        "numbers": headings,
        "scenes": {
            scene: {
                key: value(which, metric, **{axis: scene}, **wanted) for key, (which, axis, wanted, metric) in names.items()
            }
            for scene in scenes
        },
    }


def done(rows: Sequence[Row], about: Mapping[str, Any]) -> bool:
    return any(all(row.get(k) == v for k, v in about.items()) for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--encoder-steps", type=int, default=500, help="training steps of the autoencoder")
    parser.add_argument("--runs", type=Path, help="folder with BSDM runs that need not be trained again")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--ledger", type=Path, help="JSON of the scenes' means for docs/claims")
    parser.add_argument("--out", type=Path, default=Path("runs/bsdm_detectors"))
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args(arguments)
    scenes = ["tiny-0", "tiny-1"] if asked.tiny else asked.scenes
    small = (
        {"steps": 2, "embed": 16, "inner": 16, "width": 12, "code": 8, "time_width": 16, "passes": 2} if asked.tiny else {}
    )
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "bsdm_detectors.json"
    rows: list[Row] = json.loads(file.read_text()) if file.exists() else []
    for seed in asked.seeds:
        for name in scenes:
            if not done(rows, {"scene": name, "seed": seed}):
                config = bsdm.Config(**{"steps": asked.steps, "show_every": asked.steps, "seed": seed, **small})
                encoder_steps = 2 if asked.tiny else asked.encoder_steps
                rows += list(measure(name, scenes, config, asked.tiny, encoder_steps, asked.runs))
                file.write_text(json.dumps(rows, indent=1) + "\n")
    text = page(rows, 2 if asked.tiny else asked.steps, 2 if asked.tiny else asked.encoder_steps)
    file.with_suffix(".md").write_text(text)
    if asked.ledger:
        asked.ledger.write_text(json.dumps(ledger(rows, asked.encoder_steps), indent=1) + "\n")
    if asked.page:
        before, rest = asked.page.read_text().split("<!-- detectors: begin -->")
        after = rest.split("<!-- detectors: end -->")[1]
        asked.page.write_text(f"{before}<!-- detectors: begin -->\n{text}<!-- detectors: end -->{after}")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
