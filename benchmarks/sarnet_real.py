"""SAR-Net on real chips that are left out: trained on simulated chips, on real ones, and on both; beside CFAR on the same images.

    python -m benchmarks.sarnet_real --out sarnet_real.jsonl [--seeds 0 1 2] [--scene hrsid-27] [--folds 4] [--steps 500]

The real images are dealt into folds, as `workbench run sarnet` does; each image is tested once, by networks that have not seen it. One
line of JSON for each seed and fold; the last table pools the detections of all folds of a seed before it computes AP, so every ship
counts once. Arms:

    simulated   trained on sim-ships only (--simulated steps)
    real        trained on the other folds only
    wide        the same, the plain neck of equal parameters
    both        the simulated network, trained on with the other folds
    ca_cfar, os_cfar            with the factor that is best on the images of the other folds
    ca_cfar_best, os_cfar_best  with the factor that is best on the tested images, which favours CFAR

CPU time: some seven minutes a seed on one thread. A seed that is complete in --out is not computed again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.baselines.detection import CFARS, components, ratio
from workbench.data.boxed_images import Images, images_of
from workbench.data.catalog import open_scene
from workbench.methods.sarnet import Config
from workbench.methods.sarnet.result import scored
from workbench.methods.sarnet.training import Learner
from workbench.metrics.detect import Boxes, evaluate
from workbench.metrics.image_boxes import true_boxes
from workbench.parts.sarnet_network import SARNet

PART = tuple[Boxes, Boxes]  # detections and true boxes of the test images of one fold


def learnt(name: str, images: Images, config: Config, begin: SARNet | None = None) -> SARNet:
    """An arm trained on the training images, from random weights or from those of another network."""
    learner = Learner(name, images, config)
    if begin is not None:
        learner.network.load_state_dict(begin.state_dict())
    while learner.done < config.steps:
        learner.step()
    return learner.network


def cfar(factor: float, ratios: Sequence[np.ndarray], images: Images, positions: Sequence[int]) -> Boxes:
    """Detections of CFAR with one factor."""
    rows = [components(ratios[n], factor) for n in positions]
    owner = np.repeat(images.ids[list(positions)], [len(box) for box, _ in rows])
    box, score = (np.concatenate([row[i] for row in rows]) for i in range(2))
    return Boxes(box, owner, np.zeros(len(owner), int), score)


def best_factor(ratios: Sequence[np.ndarray], images: Images, positions: Sequence[int], config: Config) -> float:
    """The factor with the best AP50 on these images."""
    true = true_boxes(images, positions)
    return max(config.cfar_factors, key=lambda f: evaluate(cfar(f, ratios, images, positions), true, 1, config.most).ap50)


def pooled(parts: Sequence[PART]) -> PART:
    """The detections and true boxes of all folds as one."""
    found, true = zip(*parts, strict=True)

    def joined(boxes: Sequence[Boxes], scores: bool) -> Boxes:
        score = np.concatenate([b.score for b in boxes]) if scores else None
        return Boxes(*(np.concatenate([getattr(b, n) for b in boxes]) for n in ("box", "image", "label")), score)

    return joined(found, True), joined(true, False)


def numbers(part: PART, most: int) -> dict[str, float]:
    scores = evaluate(*part, 1, most)
    return {"ap50": scores.ap50, "ap": scores.ap}


def one_seed(seed: int, asked: argparse.Namespace, write: Any) -> None:
    simulated = Config(seed=seed, steps=asked.simulated)
    network = learnt("sarnet", images_of(open_scene("sim-ships").compute(), simulated), simulated)
    scene = open_scene(asked.scene).compute()
    parts: dict[str, list[PART]] = {}
    ratios: dict[str, list[np.ndarray]] = {}
    for fold in range(asked.folds):
        config = Config(seed=seed, steps=asked.steps, folds=asked.folds, fold=fold)
        images = images_of(scene, config)
        ratios = ratios or {
            name: [ratio(name, 255 * images.amplitude(n)[0].numpy(), 12, 24) for n in range(len(images.ids))]
            for name in CFARS
        }
        tested, others = ([int(n) for n in p] for p in (images.test, np.concatenate([images.train, images.val])))
        true = true_boxes(images, tested)
        networks = {
            "simulated": network,
            "real": learnt("sarnet", images, config),
            "wide": learnt("wide", images, config),
            "both": learnt("sarnet", images, config, network),
        }
        row = {arm: (scored(one, images, tested, config)[0], true) for arm, one in networks.items()}
        for name in CFARS:
            fair, best = (best_factor(ratios[name], images, p, config) for p in (others, tested))
            row[name] = (cfar(fair, ratios[name], images, tested), true)
            row[f"{name}_best"] = (cfar(best, ratios[name], images, tested), true)
        for arm, part in row.items():
            parts.setdefault(arm, []).append(part)
        facts = {"seed": seed, "fold": fold, "ships": len(true.box), "images": len(tested)}
        write({**facts, **{arm: numbers(part, config.most) for arm, part in row.items()}})
    write({"seed": seed, "fold": "all", **{arm: numbers(pooled(p), config.most) for arm, p in parts.items()}})


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and deviation over the seeds of the pooled numbers."""
    whole = [row for row in rows if row["fold"] == "all"]
    lines = [f"{len(whole)} seeds{'':12} AP50              AP"]
    for arm in (n for n in whole[0] if n not in ("seed", "fold")):
        both = [np.array([row[arm][n] for row in whole]) for n in ("ap50", "ap")]
        spread = [f"{v.mean():.3f} ± {v.std(ddof=1) if len(v) > 1 else 0:.3f}" for v in both]
        lines.append(f"{arm:16} {spread[0]:>16} {spread[1]:>16}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scene", default="hrsid-27")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--simulated", type=int, default=1000)
    asked = parser.parse_args()
    rows = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []

    def write(row: dict[str, Any]) -> None:
        rows.append(row)
        with asked.out.open("a") as file:
            file.write(json.dumps(row) + "\n")

    for seed in asked.seeds:
        if not any(row["seed"] == seed and row["fold"] == "all" for row in rows):
            one_seed(seed, asked, write)
    print(table(rows))


if __name__ == "__main__":
    main()
