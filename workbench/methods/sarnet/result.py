"""Results: pictures of the watched image during training; boxes and scores of all detectors on the test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch.nn import functional as F

from workbench.baselines.detection import CFARS, components, random_boxes, ratio
from workbench.data.boxed_images import Images, entered, padded
from workbench.methods.sarnet.settings import Config
from workbench.methods.sarnet.tiles import Read, detect_all
from workbench.metrics.detect import RECALLS, Boxes, Scores, best_f1, evaluate, false_alarms_at, recall_at
from workbench.metrics.detect_errors import KINDS, errors
from workbench.metrics.image_boxes import found_boxes, true_boxes
from workbench.parts.device import device
from workbench.parts.sarnet_network import SARNet, parameters
from workbench.scene import PROVENANCE, TABLE

VIEW = 256  # largest side of the watched window
WATCHED = 16  # validation images that are scored during training
SHOWN = 0.3  # lowest score of a box in the watched picture
RECALL = (0.6, 0.8)  # at which false alarms are counted
STRAIGHT = ("pier", "rail", "streak")  # kinds of clutter that simulated chips know
RANDOM = 20  # random boxes of each image

Table = Mapping[str, tuple[Boxes, Scores]]


# --- detections of images ---------------------------------------------------------------------------------------------


def reads_of(images: Images, positions: Sequence[int]) -> list[tuple[tuple[int, int], Read]]:
    """The (height, width) of each image, and a function that reads a window of it, as `detect_all` takes them."""

    def read(n: int, rows: slice, columns: slice) -> torch.Tensor:
        return images.amplitude(n)[:, rows, columns]

    return [(images.size[n], partial(read, n)) for n in positions]


def scored(
    network: SARNet, images: Images, positions: Sequence[int], config: Config, shuffled: bool = False
) -> tuple[Boxes, Scores]:
    """Detections of a network on these images, and their scores."""
    found = found_boxes(images, positions, detect_all(network, reads_of(images, positions), config, shuffled))
    return found, evaluate(found, true_boxes(images, positions), len(images.names), config.most)


# --- the watched image ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Watched:
    """A window of one validation image, fixed for the run, and the validation images that are scored."""

    image: int
    rows: slice
    columns: slice
    scored: tuple[int, ...]

    def score(self, network: SARNet, images: Images, config: Config) -> float:
        """AP50 on the validation images."""
        return scored(network, images, self.scored, config)[1].ap50

    def _labelled(self, values: np.ndarray, dims: tuple[str, ...], text: str, images: Images) -> xr.DataArray:
        return xr.DataArray(values, dims=dims, attrs={"long_name": text, "sample": str(images.ids[self.image])})

    def still(self, images: Images, config: Config) -> dict[str, xr.DataArray]:
        """`chip (band, y, x)`, the network's input, and `truth (y, x)`, 1 inside true boxes."""
        chip = entered(images.amplitude(self.image)[:, self.rows, self.columns], config).numpy()
        truth = np.zeros(chip.shape[1:], np.float32)
        for x0, y0, x1, y1 in np.rint(self._true(images)).astype(int):
            truth[max(y0, 0) : y1, max(x0, 0) : x1] = 1
        return {
            "chip": self._labelled(chip, ("band", "y", "x"), "input of the network", images),
            "truth": self._labelled(truth, ("y", "x"), "true boxes", images),
        }

    def _true(self, images: Images) -> np.ndarray:
        """True boxes (M, 4) whose centres are in the window, in pixels of the window."""
        box = images.box[self.image] - np.array([self.columns.start, self.rows.start] * 2, np.float32)
        middle = (box[:, :2] + box[:, 2:]) / 2
        edge = (self.columns.stop - self.columns.start, self.rows.stop - self.rows.start)
        return box[((middle >= 0) & (middle < edge)).all(1)]

    def found(self, network: SARNet, images: Images, config: Config) -> dict[str, xr.DataArray]:
        """`heat (y, x)`, the highest class probability around each pixel; boxes; and the gates of the first level.

        True boxes are among the boxes, as a class of their own.
        """
        amplitude = images.amplitude(self.image)[:, self.rows, self.columns]
        high, wide = amplitude.shape[1:]
        with torch.inference_mode():
            whole = padded(amplitude, 32)
            whole = padded(whole, -(-max(whole.shape[1:]) // 32) * 32)
            out = network.eval()(entered(whole, config)[None].to(device()))
            levels = [torch.sigmoid(x[:, 4:]).amax(1, keepdim=True) for x in out.levels]
            heat = torch.stack([F.interpolate(x, size=whole.shape[1:], mode="nearest") for x in levels]).amax(0)[
                0, 0, :high, :wide
            ]
            (found,) = detect_all(network, [((high, wide), lambda rows, columns: amplitude[:, rows, columns])], config)
        kept = found.score >= SHOWN
        true = self._true(images)
        box = np.concatenate([found.box[kept].numpy(), true]).astype(np.float32)
        score = np.concatenate([found.score[kept].numpy(), np.ones(len(true))]).astype(np.float32)
        label = np.concatenate([found.label[kept].numpy(), np.full(len(true), len(images.names))])
        text = f"found with a score of at least {SHOWN}, and true"
        made = {
            "heat": self._labelled(heat.cpu().numpy(), ("y", "x"), "highest class probability", images),
            "box": self._labelled(box, ("object", "edge"), text, images),
            "box_score": self._labelled(score, ("object",), "score; 1 of true boxes", images),
            "box_label": self._labelled(label, ("object",), "class", images),
        }
        made["box_label"].attrs["names"] = [*images.names, "true"]
        if out.gates:
            row, column = out.gates[0].row[0, :, :, 0].cpu().numpy(), out.gates[0].column[0, :, 0, :].cpu().numpy()
            made["row_gate"] = self._labelled(row, ("channel", "row"), "gates of the rows", images)
            made["column_gate"] = self._labelled(column, ("channel", "column"), "gates of the columns", images)
        return made


def watched(images: Images) -> Watched:
    """The window with most ships of the validation image with most ships."""
    count = np.array([len(images.box[n]) for n in images.val])
    order = images.val[np.argsort(-count, kind="stable")]
    n = int(order[0])
    middle = (images.box[n][:, :2] + images.box[n][:, 2:]) / 2
    columns, rows = (_window(middle[:, axis], length) for axis, length in ((0, images.size[n][1]), (1, images.size[n][0])))
    return Watched(n, rows, columns, tuple(int(i) for i in np.sort(order[:WATCHED])))


def _window(at: np.ndarray, length: int) -> slice:
    """The VIEW pixels with most of these positions; starts at a multiple of 32."""
    side = min(VIEW, length)
    first = np.arange(0, length - side + 1, 32)
    best = int(first[((at >= first[:, None]) & (at < first[:, None] + side)).sum(1).argmax()])
    return slice(best, best + side)


# --- the result -------------------------------------------------------------------------------------------------------


def operating_threshold(network: SARNet, images: Images, config: Config) -> float:
    """The score threshold with the best F1 on the validation images; that of the settings if no detection there is right."""
    best = best_f1(scored(network, images, [int(n) for n in images.val], config)[1].matched)
    return best.threshold if best.f1 > 0 else config.threshold


def result_of(
    scene: xr.Dataset, images: Images, config: Config, networks: Mapping[str, SARNet], operating: float
) -> xr.Dataset:
    """Boxes of SAR-Net on the test images, and scores of all detectors there.

    networks: arm -> trained network, sarnet first. operating: lowest score of a box that is kept; the scores count all.
    """
    positions = [int(n) for n in images.test]
    table = {who.replace("-", "_"): scored(network, images, positions, config) for who, network in networks.items()}
    if config.controls:
        if len(positions) > 1:
            table["shuffled_gates"] = scored(networks["sarnet"], images, positions, config, shuffled=True)
        table["random_boxes"] = _random(images, positions, config)
    factors = {}
    for name in CFARS:
        table[name], factors[name] = _cfar(name, images, positions, config)
    result = _boxes(images, table["sarnet"][0], operating)
    _at_threshold(result, table["sarnet"][1], operating)
    shown = max(positions, key=lambda n: len(images.box[n]))  # the test image with most ships, as background of its boxes
    attrs = {"long_name": "input of the network: a test image", "sample": str(images.ids[shown])}
    result["chip"] = (("band", "chip_y", "chip_x"), entered(images.amplitude(shown), config).numpy(), attrs)
    result["precision"] = (
        ("detector", "recall"),
        np.stack([scores.curve for _, scores in table.values()]),
        {"long_name": f"precision at IoU 0.5, at most {config.most} detections an image", "units": "1"},
    )
    why = errors(table["sarnet"][0], true_boxes(images, positions), len(images.names), most=config.most)
    text = "AP50 that mending one kind of error would add (TIDE)"
    result["lost_ap50"] = ("error", np.nan_to_num([why.lost[k] for k in KINDS]), {"long_name": text, "units": "1"})
    result["error_count"] = ("error", np.array([why.number[k] for k in KINDS]), {"long_name": "errors of each kind (TIDE)"})
    result = result.assign_coords(detector=list(table), recall=RECALLS, error=list(KINDS))
    for who, (_, scores) in table.items():
        _metrics(result, "" if who == "sarnet" else f"_{who}", who, scores, len(positions))
    for name, factor in factors.items():
        result[f"factor_{name}"] = (
            (),
            factor,
            {"long_name": f"factor of {name}: the one with the best AP50 on the test images"},
        )
    for who, network in networks.items():
        ending = "" if who == "sarnet" else f"_{who.replace('-', '_')}"
        result[f"parameters{ending}"] = ((), float(parameters(network)), {"long_name": f"parameters of {who}"})
    _by_place(result, scene, images, positions, table, config)
    result = result.assign(_tables(images, positions, table))
    if len(images.names) > 1:
        result["ap50_by_class"] = ("class", table["sarnet"][1].by_class[:, 1], {"long_name": "AP50 of each class"})
        result = result.assign_coords({"class": images.names})
    result.attrs = {k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs}
    parts = {"training": images.train, "validation": images.val, "testing": images.test}
    if np.array_equal(images.train, images.test):  # weights of another run were applied
        parts = {"testing": images.test}
    result.attrs["split"] = ", ".join(f"{len(n)} images for {part}" for part, n in parts.items())
    return result


def _boxes(images: Images, found: Boxes, operating: float) -> xr.Dataset:
    assert found.score is not None
    kept = found.score >= operating
    found = Boxes(found.box[kept], found.image[kept], found.label[kept], found.score[kept])
    assert found.score is not None
    return xr.Dataset(
        {
            "box": (
                ("object", "edge"),
                found.box,
                {"long_name": "detections of SAR-Net in the test images", "units": "pixel"},
            ),
            "box_sample": ("object", found.image.astype(str), {"long_name": "image of the detection"}),
            "box_score": ("object", found.score, {"long_name": "score of the detection"}),
            "box_label": ("object", found.label, {"long_name": "class of the detection", "names": images.names}),
        },
        {"edge": ["x0", "y0", "x1", "y1"]},
    )


def _tables(images: Images, positions: Sequence[int], table: Table) -> dict[str, xr.DataArray]:
    """Every detection of every detector but the random one, for pages that match and sort them.

    `detection_box (detection, edge)`, `_score`, `_label`, `_image` (position in `tested`), `_of` (position in `detector`); `tested
    (tested)`: the test images.
    """
    ids = images.ids[list(positions)]
    place = {name: n for n, name in enumerate(ids)}
    shown = {n: found for n, (who, (found, _)) in enumerate(table.items()) if who != "random_boxes"}
    found = list(shown.values())
    columns = {
        "detection_box": np.concatenate([f.box for f in found]).astype(np.float32),
        "detection_score": np.concatenate([np.asarray(f.score, np.float32) for f in found]),
        "detection_label": np.concatenate([f.label for f in found]).astype(np.int32),
        "detection_image": np.array([place[i] for f in found for i in f.image], np.int32),
        "detection_of": np.repeat(list(shown), [len(f.box) for f in found]).astype(np.int32),
    }
    made = {}
    for name, values in columns.items():
        dims = ("detection", "edge") if values.ndim > 1 else ("detection",)
        made[name] = xr.DataArray(values, dims=dims, attrs={"long_name": name.replace("_", " "), TABLE: 1})
    return made | {"tested": xr.DataArray(ids.astype(str), dims="tested", attrs={"long_name": "test images"})}


def _at_threshold(result: xr.Dataset, scores: Scores, operating: float) -> None:
    """The operating threshold, and precision and recall there."""
    matched = [m.at(0) for m in scores.matched]
    hits = sum(int(true[score >= operating].sum()) for score, true, _ in matched)
    found = sum(int((score >= operating).sum()) for score, _, _ in matched)
    wanted = sum(m.count for m in scores.matched)
    numbers = {
        "operating_threshold": (operating, "lowest score of the boxes: the best F1 on the validation images"),
        "operating_precision": (hits / max(found, 1), "precision of the boxes on test images, IoU 0.5"),
        "operating_recall": (hits / max(wanted, 1), "recall of the boxes on test images, IoU 0.5"),
    }
    for name, (value, text) in numbers.items():
        result[name] = ((), float(value), {"long_name": text, "units": "1"})


def _metrics(result: xr.Dataset, ending: str, who: str, scores: Scores, count: int) -> None:
    """The numbers of one detector as variables without dims; those that are NaN are left out."""
    best = best_f1(scores.matched)
    numbers = {
        "ap50": (scores.ap50, "AP at IoU 0.5 on test images"),
        "ap": (scores.ap, "AP, mean over IoU 0.5 to 0.95, on test images"),
        "ap75": (scores.ap75, "AP at IoU 0.75 on test images"),
        "f1": (best.f1, "F1 at the best threshold, IoU 0.5"),
        "recall_at_1": (recall_at(scores.matched, count), "recall with one false alarm an image, IoU 0.5"),
    }
    for at in RECALL:
        alarms = false_alarms_at(scores.matched, at) / count
        numbers[f"false_alarms_{at * 100:.0f}"] = (alarms, f"false alarms an image at {at:.0%} recall")
    for name, (value, text) in numbers.items():
        if np.isfinite(value):
            result[name + ending] = ((), float(value), {"long_name": f"{text}, {who}", "units": "1"})


def _by_place(
    result: xr.Dataset, scene: xr.Dataset, images: Images, positions: Sequence[int], table: Table, config: Config
) -> None:
    """False alarms on straight clutter, where the simulation knows it; AP50 inshore and offshore apart, where the scene says it."""
    if "clutter" in scene:
        kinds = [list(scene["clutter"].attrs["names"]).index(k) for k in STRAIGHT]
        mask = np.isin(scene["clutter"].isel(sample=list(positions)).transpose("sample", "y", "x").values, kinds)
        place = {name: n for n, name in enumerate(images.ids[list(positions)])}
        for who, (found, scores) in table.items():
            on = np.array([_covered(mask[place[i]], b) for i, b in zip(found.image, found.box, strict=True)], bool)
            for at in RECALL:
                value = false_alarms_at(scores.matched, at, on) / len(positions)
                if np.isfinite(value):
                    text = f"false alarms on piers, rails and streaks an image at {at:.0%} recall, {who}"
                    name = f"straight_alarms_{at * 100:.0f}" + ("" if who == "sarnet" else f"_{who}")
                    result[name] = ((), float(value), {"long_name": text, "units": "1"})
    if "inshore" in scene.coords:
        near = scene["inshore"].values[list(positions)].astype(bool)
        for part, chosen in (("inshore", near), ("offshore", ~near)):
            some = [n for n, yes in zip(positions, chosen, strict=True) if yes]
            true = true_boxes(images, some) if some else None
            if true is None or len(true.box) == 0:
                continue
            for who in ("sarnet", *CFARS):
                found = table[who][0]
                assert found.score is not None
                here = np.isin(found.image, images.ids[some])
                part_of = Boxes(found.box[here], found.image[here], found.label[here], found.score[here])
                value = evaluate(part_of, true, len(images.names), config.most).ap50
                ending = "" if who == "sarnet" else f"_{who}"
                result[f"ap50_{part}{ending}"] = (
                    (),
                    value,
                    {"long_name": f"AP50 on {part} test images, {who}", "units": "1"},
                )


def _covered(mask: np.ndarray, box: np.ndarray) -> bool:
    """Whether at least a tenth of a box is on the mask (y, x)."""
    x0, y0, x1, y1 = np.rint(box).astype(int)
    inside = mask[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    return bool(inside.size) and bool(inside.mean() >= 0.1)


# --- rivals and controls without training -----------------------------------------------------------------------------


def _cfar(name: str, images: Images, positions: Sequence[int], config: Config) -> tuple[tuple[Boxes, Scores], float]:
    """Detections and scores with the factor that has the best AP50 on these images, which favours CFAR; and that factor.

    CFAR knows no classes: it gets the class of the true boxes if there is one class, else the most frequent one.
    """
    true = true_boxes(images, positions)
    label = int(np.bincount(true.label).argmax())
    ratios = [ratio(name, 255 * images.holed(n), config.cfar_guard, config.cfar_train) for n in positions]
    tried: dict[float, tuple[Boxes, Scores]] = {}
    for factor in config.cfar_factors:
        rows = [components(r, factor) for r in ratios]
        owner = np.repeat(images.ids[list(positions)], [len(b) for b, _ in rows])
        found = Boxes(
            np.concatenate([b for b, _ in rows]), owner, np.full(len(owner), label), np.concatenate([s for _, s in rows])
        )
        tried[factor] = (found, evaluate(found, true, len(images.names), config.most))
    best = max(tried, key=lambda factor: tried[factor][1].ap50)
    return tried[best], best


def _random(images: Images, positions: Sequence[int], config: Config) -> tuple[Boxes, Scores]:
    """Boxes of the sizes of the training boxes at random places: a control that knows the sizes only."""
    sizes = np.concatenate([images.box[n][:, 2:] - images.box[n][:, :2] for n in images.train])
    places = {str(images.ids[n]): images.size[n] for n in positions}
    box, owner, score = random_boxes(sizes, places, RANDOM, config.seed)
    true = true_boxes(images, positions)
    found = Boxes(box, owner, np.full(len(owner), int(np.bincount(true.label).argmax())), score)
    return found, evaluate(found, true, len(images.names), config.most)
