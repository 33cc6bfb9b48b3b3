"""The files of a run, measured: the mixed-bit file, the float file, and onnxruntime's int8 of the float file (not trained)."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.baselines.pruning import ptq_int8
from workbench.data.boxed_images import Images
from workbench.errors import InputError
from workbench.methods.ghost.deploy import Trained, as_file, decoded
from workbench.methods.ghost.network import Detector
from workbench.methods.ghost.settings import Config
from workbench.metrics.detect import evaluate
from workbench.metrics.image_boxes import found_boxes, true_boxes
from workbench.parts.deployed import latencies, session_of
from workbench.parts.detect import Found, nms
from workbench.parts.export import Exportable, need_packages, write

CALIBRATED = 32  # training images from which onnxruntime takes its ranges
AT_ONCE = 16
WORDS = {
    "file": "the mixed-bit file",
    "file_teacher": "the float file",
    "ptq8": "onnxruntime's int8 of all convolutions of the float file, not trained",
}


def check(images: Images, config: Config) -> None:
    """Raise InputError if the files of a run could not be measured: packages, the quantiser, images of another size than a crop."""
    need_packages()
    if config.quantizer == "published":
        raise InputError(
            "files=true cannot measure a copy with quantizer=published: a layer of 8 bits would have codes from -255 to 255, which no "
            "8-bit integer holds, and which layers get 8 bits is known after the training only. Set quantizer=lsq, or leave files away."
        )
    for n in (*images.test, *images.train[:CALIBRATED]):
        if images.size[n] != (config.crop, config.crop):
            high, wide = images.size[n]
            raise InputError(
                f"files=true needs images of {config.crop} x {config.crop} pixels, the crop, because a file takes one size; "
                f"{images.ids[n]} has {high} x {wide}. Set crop to the size of the images, or leave files away."
            )


def measured(trained: Trained, teacher: Detector, images: Images) -> dict[str, tuple[Any, ...]]:
    """Variables of a result: AP50 on the test images by onnxruntime, kilobytes, and latency on this machine, of the three files."""
    config, test = trained.config, [int(n) for n in images.test]
    calibration = np.stack([images.amplitude(int(n)).numpy() for n in images.train[:CALIBRATED]])
    example = {"image": torch.from_numpy(calibration[:4])}
    in_float = Exportable(decoded(copy.deepcopy(teacher).cpu().eval(), config), example, ("box", "score"))
    numbers: dict[str, tuple[float, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            "file": write(as_file(trained), Path(folder) / "mixed.onnx")[0],
            "file_teacher": write(in_float, Path(folder) / "float.onnx")[0],
            "ptq8": Path(folder) / "int8.onnx",
        }
        # scalars of the scaling and of the decoding stay in float: quantised, onnxruntime cannot run them
        ptq_int8(paths["file_teacher"], paths["ptq8"], calibration, operators=("Conv",))
        for name, path in paths.items():
            boxes = found_boxes(images, test, _found(path, images, test, config))
            scores = evaluate(boxes, true_boxes(images, test), len(images.names), config.most)
            numbers[f"ap50_{name}"] = (scores.ap50, f"AP at IoU 0.5 on test images, by onnxruntime: {WORDS[name]}")
            numbers[f"kilobytes_{name}" if name != "ptq8" else "kilobytes_file_ptq8"] = (
                path.stat().st_size / 1e3,
                f"kilobytes on disk: {WORDS[name]}",
            )
        called = dict(zip(("ghost", "teacher", "ptq8"), paths, strict=True))
        timed = latencies({who: paths[name] for who, name in called.items()}, calibration[:AT_ONCE])
    for n, (who, name) in enumerate(called.items()):
        key = "milliseconds_file" if who == "ghost" else f"milliseconds_file_{who}"
        numbers[key] = (
            float(timed["latency"][1][n, 0, 0]),
            f"milliseconds for one image, median, on this machine: {WORDS[name]}",
        )
    return timed | {name: ((), value, {"long_name": text}) for name, (value, text) in numbers.items()}


def _found(path: Path, images: Images, positions: Sequence[int], config: Config) -> list[Found]:
    """Detections of a file, suppressed as those of the network."""
    session, made = session_of(path), []
    for first in range(0, len(positions), AT_ONCE):
        x = np.stack([images.amplitude(n).numpy() for n in positions[first : first + AT_ONCE]])
        for box, score in zip(*session.run(["box", "score"], {"image": x}), strict=True):
            edges = np.clip(box, 0, config.crop)
            solid = (edges[:, 2:] > edges[:, :2]).all(1)
            place, column = np.nonzero((score >= config.threshold) & solid[:, None])
            kept = torch.from_numpy(edges[place])
            value, label = torch.from_numpy(score[place, column]), torch.from_numpy(column)
            order = nms(kept, value, config.overlap, label)[: config.most]
            made.append(Found(kept[order], value[order], label[order]))
    return made
