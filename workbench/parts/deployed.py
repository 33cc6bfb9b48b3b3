"""An ONNX file as it runs on this machine: its answers, and its latency with the machine that gave it."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def session_of(path: Path, threads: int = 1) -> Any:
    """An onnxruntime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def answers(path: Path, images: np.ndarray, batch: int = 64) -> np.ndarray:
    """The first output for images (N, bands, y, x) float32."""
    session = session_of(path)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: images[i : i + batch]})[0] for i in range(0, len(images), batch)])


def latency(path: Path, images: np.ndarray, threads: int = 1, turns: int = 50) -> dict[str, float]:
    """Milliseconds of one call with all of `images`: `median` and `p95` over `turns` calls, after a tenth as many to warm up."""
    session = session_of(path, threads)
    given = {session.get_inputs()[0].name: images}
    taken = []
    for turn in range(turns + max(1, turns // 10)):
        begin = time.perf_counter()
        session.run(None, given)
        if turn >= max(1, turns // 10):
            taken.append(1e3 * (time.perf_counter() - begin))
    return {"median": float(np.median(taken)), "p95": float(np.percentile(taken, 95))}


def latencies(
    paths: Mapping[str, Path], images: np.ndarray, threads: int = 1, turns: int = 40
) -> dict[str, tuple[Any, ...]]:
    """Variables of a result: `latency (file, batch, statistic)` of these files on this machine, for one image and for all `images`.

    The attributes of `latency` say threads, CPU and instructions.
    """
    found = np.zeros((len(paths), 2, 2))
    for n, path in enumerate(paths.values()):
        for k, (given, count) in enumerate(((images[:1], turns), (images, max(5, turns // 4)))):
            taken = latency(path, given, threads, count)
            found[n, k] = taken["median"], taken["p95"]
    here = machine()
    about = {
        "long_name": f"milliseconds of one call of onnxruntime, measured on this machine while other work may have run: {here['cpu']}",
        "units": "ms",
        "threads": threads,
        "cpu": here["cpu"],
        "instructions": ", ".join(here["instructions"]) or "not known",
    }
    return {
        "latency": (("file", "batch", "statistic"), found, about),
        "file": ("file", list(paths)),
        "batch": ("batch", ["one image", f"{len(images)} images"]),
        "statistic": ("statistic", ["median", "p95"]),
    }


def machine() -> dict[str, Any]:
    """Model of the CPU, and which of the instructions that matter for int8 it has."""
    model, flags = platform.processor() or platform.machine(), set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
    except OSError:
        pass  # not Linux: the instructions stay unknown
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
    return {"cpu": model, "instructions": [f for f in known if f in flags]}
