"""AR-CDNet's small network against FC-Siam-diff, as ratios, and the peak memory of a 4096 x 4096 pair.

    python benchmarks/bench_arcdnet.py [--size 512] [--repeats 7] [--large 4096] [--json]

Inference on one pair of `--size` pixels with 3 bands, and a training step on 8 crops of 64: both networks in the same process,
in turns, with the same threads; the ratio is FC-Siam-diff's time over ours, above 1 when ours is faster. FC-Siam-diff is the
published one (16 channels, at full resolution), not made smaller to match.

The large pair is read lazily and written straight to two georeferenced COGs by a process of its own, whose largest resident size
is reported, with and without what it needs before it begins. --large 0 leaves that out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import torch
import xarray as xr

from workbench.baselines.change import FCSiamDiff
from workbench.data.synth_change import tiles
from workbench.methods.arcdnet import ARCDNet, Config, Trained, predict_to_cog
from workbench.methods.arcdnet.pairs import pairs_of
from workbench.methods.arcdnet.training import Learner


def inference(size: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each turn for a whole pair, by network; the first turn is not counted."""
    ours, theirs = ARCDNet(3, Config()).eval(), FCSiamDiff(3).eval()
    before, after = torch.rand(2, 1, 3, size, size)
    found: dict[str, list[float]] = {"arcdnet": [], "fc_siam_diff": []}
    with torch.inference_mode():
        for _ in range(repeats + 1):
            for name, network in (("arcdnet", ours), ("fc_siam_diff", theirs)):
                begun = time.perf_counter()
                network(before, after)
                found[name].append(time.perf_counter() - begun)
    return {name: turns[1:] for name, turns in found.items()}


def training(repeats: int) -> dict[str, list[float]]:
    """Seconds of each turn of one training step, crops and augmentation included; without AR-CDNet's controls."""
    config = Config(controls=False, steps=1000)
    pairs = pairs_of(tiles(train=1, test=1), config)
    found: dict[str, list[float]] = {"arcdnet": [], "fc_siam_diff": []}
    learners = {name: Learner(name, pairs, config) for name in found}
    for _ in range(repeats + 1):
        for name, learner in learners.items():
            begun = time.perf_counter()
            learner.step()
            found[name].append(time.perf_counter() - begun)
    return {name: turns[1:] for name, turns in found.items()}


def large(size: int) -> dict[str, float]:
    """Seconds and MiB of a lazily read pair of `size` pixels, from here to two COGs on disk; run it in a fresh process."""
    import rioxarray  # noqa: F401

    chunks = (3, 512, 512)
    coords = {"y": 5_000_000 - 0.5 * np.arange(size), "x": 400_000 + 0.5 * np.arange(size)}
    state = dask.array.random.RandomState(0)
    dates = [
        xr.DataArray(
            state.random_sample((3, size, size), chunks=chunks).astype(np.float32), coords, ("band", "y", "x")
        ).rio.write_crs("EPSG:32633")
        for _ in range(2)
    ]
    trained = Trained(ARCDNet(3, Config()).eval(), Config())
    before = peak()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        paths = predict_to_cog(trained, *dates, Path(folder) / "change.tif", Path(folder) / "uncertainty.tif")
        written = sum(path.stat().st_size for path in paths)
    return {
        "size": size,
        "seconds": time.perf_counter() - begun,
        "peak_mib": peak(),
        "before_mib": before,
        "written_mib": written / 2**20,
    }


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def told(name: str, turns: dict[str, list[float]]) -> dict[str, float | str]:
    ratios = np.array(turns["fc_siam_diff"]) / np.array(turns["arcdnet"])
    return {
        "what": name,
        "fc_siam_diff": float(np.median(turns["fc_siam_diff"])),
        "arcdnet": float(np.median(turns["arcdnet"])),
        "ratio": float(np.median(ratios)),
        "least": float(ratios.min()),
        "most": float(ratios.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--large", type=int, default=4096)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only-large", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only_large:
        print(json.dumps(large(asked.large)))
        return
    rows = [
        told(f"a pair of {asked.size} x {asked.size}", inference(asked.size, asked.repeats)),
        told("a training step", training(asked.repeats)),
    ]
    found: dict[str, Any] = {"threads": torch.get_num_threads(), "load": os.getloadavg()[0], "ratios": rows}
    if asked.large:
        command = [sys.executable, __file__, "--only-large", "--large", str(asked.large)]
        found["large"] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if asked.json:
        print(json.dumps(found))
        return
    print(f"{found['threads']} thread(s), load {found['load']:.1f}")
    for row in rows:
        print(
            "{what}: FC-Siam-diff {fc_siam_diff:.3f} s, ours {arcdnet:.3f} s, ratio {ratio:.2f} ({least:.2f} to {most:.2f})".format(
                **row
            )
        )
    if asked.large:
        told_large = "{size:.0f} x {size:.0f}: {seconds:.0f} s, peak {peak_mib:.0f} MiB ({before_mib:.0f} before it began)"
        print(told_large.format(**found["large"]))


if __name__ == "__main__":
    main()
