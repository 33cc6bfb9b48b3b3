"""The result: boxes of the quantised detector, scores, bits and cost of all arms, distances of attention maps, switches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from workbench.data.boxed_images import Images, entered
from workbench.methods.ghost.detecting import apart, scored
from workbench.methods.ghost.network import Detector
from workbench.methods.ghost.plans import Plans
from workbench.methods.ghost.settings import Config
from workbench.methods.ghost.shown import about_layers, attention_of, found_by_teacher
from workbench.methods.ghost.training import quantised
from workbench.metrics.detect import RECALLS, Scores, best_f1
from workbench.parts.cluster_bits import LEVELS
from workbench.scene import PROVENANCE, TABLE

WORDS = {
    "ghost": "our copy: bits by cluster centres, attention of the teacher through switches",
    "teacher": "the float teacher",
    "ptq": "uniform bits, calibrated, not trained",
    "uniform": "uniform bits, taught as ours",
    "spread": "bits from the standard deviation alone, taught as ours",
    "greedy": "bits by measured sensitivity, taught as ours",
    "off": "our bits, no teacher",
    "on": "our bits, all switches open",
    "coin": "our bits, switches by chance",
    "logit": "our bits, the teacher's outputs instead of its attention",
    "published": "our bits, the published quantiser with a fixed clip",
}
RECORDS = 20  # columns of `openness`


def result_of(
    scene: xr.Dataset,
    images: Images,
    config: Config,
    plans: Plans,
    networks: Mapping[str, Detector],
    bits: Mapping[str, Mapping[str, int]],
    ours: Mapping[str, Any],
) -> tuple[xr.Dataset, float]:
    """(result, lowest score of a box in use). networks, bits: of each arm, ours first. ours: its record of the switches."""
    positions, names = [int(n) for n in images.test], list(plans.weights)
    uniform = plans.of("ptq")
    calibrated = quantised(plans.teacher, uniform, config.quantizer, plans.start)
    every = {**networks, "ptq": calibrated, "teacher": plans.teacher}
    table = {name: scored(network, images, positions, config) for name, network in every.items()}
    arm_bits = {**bits, "ptq": uniform}
    distance = {name: apart(plans.teacher, every[name], images, positions, config) for name in arm_bits}

    operating, of_teacher = (_operating(every[who], images, config) for who in ("ghost", "teacher"))
    found = table["ghost"][0]
    assert found.score is not None
    kept = found.score >= operating
    plan, threshold = plans.ours()
    result = xr.Dataset(
        {
            "box": (("object", "edge"), found.box[kept], {"long_name": "detections in the test images", "units": "pixel"}),
            "box_sample": ("object", found.image[kept].astype(str), {"long_name": "image of the detection"}),
            "box_score": ("object", found.score[kept], {"long_name": "score of the detection"}),
            "box_label": ("object", found.label[kept], {"long_name": "class of the detection", "names": images.names}),
            "bits": ("layer", [plan[n] for n in names], {"long_name": "bits per weight"}),
            "macs": ("layer", [plans.macs[n] for n in names], {"long_name": "multiply-accumulates of a crop"}),
            "distance": (
                ("layer", "width"),
                np.log10(np.maximum(np.stack([plans.distance[n] for n in names]), 1e-9)),
                {"long_name": "log10 of the mean squared error of 2^n centres, times 10^6"},
            ),
            "arm_bits": (
                ("arm", "layer"),
                [[arm_bits[a][n] for n in names] for a in arm_bits],
                {"long_name": "bits per weight"},
            ),
            "attention_distance": (
                ("arm", "block"),
                np.stack(list(distance.values())),
                {"long_name": "squared distance of attention maps of unit length", "units": "1"},
            ),
            "precision": (
                ("detector", "recall"),
                np.stack([scores.curve for _, scores in table.values()]),
                {"long_name": f"precision at IoU 0.5, at most {config.most} detections an image", "units": "1"},
            ),
        },
        coords={
            "edge": ["x0", "y0", "x1", "y1"],
            "layer": names,
            "width": [str(n) for n in LEVELS],
            "arm": list(arm_bits),
            "block": list(plans.teacher.blocks),
            "detector": list(table),
            "recall": RECALLS,
        },
        attrs={k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs},
    )
    shown = max(positions, key=lambda n: len(images.box[n]))  # the test image with most boxes, as background of its boxes
    about = {"long_name": "input of the network: a test image", "sample": str(images.ids[shown])}
    result["chip"] = (("band", "chip_y", "chip_x"), entered(images.amplitude(shown), config).numpy(), about)
    result["tested"] = ("tested", [str(images.ids[n]) for n in positions], {"long_name": "test images", TABLE: "tested"})
    result.coords["who"] = ["teacher", "copy"]
    result = result.assign(about_layers(plans, networks["ghost"], [plan[n] for n in names]))
    result = result.assign(attention_of(plans.teacher, networks["ghost"], images, shown, config))
    result = result.assign(found_by_teacher(table["teacher"][0], of_teacher, images.names))
    _switches(result, ours, plans.teacher.blocks)
    for who, (_, scores) in table.items():
        _metrics(result, who, scores)
    for who, of in arm_bits.items():
        _costs(result, who, of, plans, distance[who])
    _put(result, "distance_threshold", threshold, "T of our bits, in 10^-6 of squared weights")
    _put(result, "operating_threshold", operating, "lowest score of the boxes: the best F1 on the validation images")
    _put(result, "kilobytes_teacher", plans.kilobytes({}), "kilobytes of the float weights")
    parts = {"training": images.train, "validation": images.val, "testing": images.test}
    result.attrs["split"] = ", ".join(f"{len(n)} images for {part}" for part, n in parts.items())
    linear = ", linear layers" if config.network == "sarnet" else ""
    result.attrs["convention"] = (
        f"input-act, the image enters with 8 bits, the last convolution of each head{linear} in float"
    )
    return result, operating


def _operating(network: Detector, images: Images, config: Config) -> float:
    """The lowest score of a box in use: that of the best F1 on the validation images."""
    best = best_f1(scored(network, images, [int(n) for n in images.val], config)[1].matched)
    return best.threshold if best.f1 > 0 else config.threshold


def _put(result: xr.Dataset, name: str, value: float, text: str, units: str = "") -> None:
    if np.isfinite(value):
        result[name] = ((), float(value), {"long_name": text, **({"units": units} if units else {})})


def _ending(who: str) -> str:
    return "" if who == "ghost" else f"_{who}"


def _words(who: str) -> str:
    return WORDS.get(who, f"{who[3:]} bits everywhere, no teacher")


def _metrics(result: xr.Dataset, who: str, scores: Scores) -> None:
    for name, value, text in (
        ("ap50", scores.ap50, "AP at IoU 0.5 on test images"),
        ("ap", scores.ap, "AP, mean over IoU 0.5 to 0.95, on test images"),
        ("f1", best_f1(scores.matched).f1, "F1 at the best threshold, IoU 0.5"),
    ):
        _put(result, name + _ending(who), value, f"{text}: {_words(who)}", "1")


def _costs(result: xr.Dataset, who: str, bits: Mapping[str, int], plans: Plans, distance: np.ndarray) -> None:
    end = _ending(who)
    _put(result, f"bops_ratio{end}", plans.whole / plans.cost(bits), f"bit operations in float / those of: {_words(who)}")
    _put(result, f"kilobytes{end}", plans.kilobytes(bits), f"kilobytes of the weights, packed: {_words(who)}")
    _put(result, f"mean_bits{end}", float(np.mean(list(bits.values()))), f"mean bits of the layers: {_words(who)}")
    _put(
        result,
        f"attention{end}",
        float(distance.mean()),
        f"distance of attention maps, mean of blocks, test images: {_words(who)}",
    )


def _switches(result: xr.Dataset, ours: Mapping[str, Any], blocks: Sequence[str]) -> None:
    """`openness (block, record)` and `logits (student, teacher)`."""
    opened = np.array(ours["opened"], float)  # (steps, blocks); none where nothing is heard
    if len(opened):
        parts = np.array_split(opened, min(RECORDS, len(opened)))
        result["openness"] = (
            ("block", "record"),
            np.stack([p.mean(0) for p in parts], 1),
            {"long_name": "share of open switches, mean of equal parts of the training", "units": "1"},
        )
    result["logits"] = (
        ("student_block", "teacher_block"),
        np.asarray(ours["logits"], float),
        {"long_name": "logit of the switch, last batch; only the diagonal is used"},
    )
    result.coords["student_block"], result.coords["teacher_block"] = list(blocks), list(blocks)
