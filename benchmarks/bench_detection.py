"""CFAR against a direct loop over each window, and what tiling and merging cost a detector; ratios in one process, in turns.

    python benchmarks/bench_detection.py [--size 512] [--repeats 3] [--json]

Both CFARs get guard 12 and training 24 (half widths), then windows twice as wide; the direct loop is compiled too. The levels must
agree. The detector is SAR-Net with random weights, one cell of 200 a candidate, on a simulated scene of 8 times the size, in one thread:
time of the whole and that inside the network, in the same pass, and the largest memory of the process. All times are CPU times, so other
processes change them little. Ends with exit code 1 when CA-CFAR is less than 50 times faster than the direct loop, when twice the window
takes it more than 1.3 times as long, or when tiles, suppression and merging add more than 20 % to the network's time.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import dask
import numpy as np
import torch
import xarray as xr

from workbench.baselines.detection import ring_mean, ring_quantile
from workbench.data.boxed_images import entered
from workbench.data.synth_ships import simulate
from workbench.methods.sarnet import Config, Trained, detect
from workbench.parts.compiled import compiled
from workbench.parts.sarnet_network import SARNet

GUARD, TRAIN = 12, 24


@compiled
def direct(image: np.ndarray, guard: int, train: int) -> np.ndarray:
    """Mean of the ring around each pixel, summed anew for each."""
    high, wide = image.shape
    out = np.empty((high, wide))
    for y in range(high):
        for x in range(wide):
            total, count = 0.0, 0
            for v in range(max(0, y - train), min(high, y + train + 1)):
                for u in range(max(0, x - train), min(wide, x + train + 1)):
                    if abs(v - y) > guard or abs(u - x) > guard:
                        total += image[v, u]
                        count += 1
            out[y, x] = total / count
    return out


def seconds(work: Callable[[], Any], times: int = 1) -> float:
    begun = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begun) / times


def cfar(size: int, repeats: int) -> dict[str, float]:
    image = 255.0 * simulate(size, seed=1, land=True)["image"].values[0, 0].astype(np.float64)
    works = {
        "direct": lambda: direct(image, GUARD, TRAIN),
        "ca_cfar": lambda: ring_mean(image, GUARD, TRAIN),
        "os_cfar": lambda: ring_quantile(image, GUARD, TRAIN),
        "ca_cfar_twice": lambda: ring_mean(image, 2 * GUARD, 2 * TRAIN),
        "os_cfar_twice": lambda: ring_quantile(image, 2 * GUARD, 2 * TRAIN),
    }
    np.testing.assert_allclose(works["ca_cfar"](), works["direct"](), rtol=1e-9)
    works["os_cfar"]()  # compiles
    turns = [{name: seconds(work, 20 if "ca_" in name else 1) for name, work in works.items()} for _ in range(repeats)]
    median = {name: statistics.median(t[name] for t in turns) for name in works}
    return {
        **{f"{name}_seconds": value for name, value in median.items()},
        "ratio_direct": statistics.median(t["direct"] / t["ca_cfar"] for t in turns),
        "ca_cfar_twice_the_window": statistics.median(t["ca_cfar_twice"] / t["ca_cfar"] for t in turns),
        "os_cfar_twice_the_window": statistics.median(t["os_cfar_twice"] / t["os_cfar"] for t in turns),
    }


def tiles(size: int, repeats: int) -> dict[str, float]:
    """CPU time of detection in a scene of 8 size x 8 size pixels, and the part of it inside the network."""
    image = xr.DataArray(np.tile(simulate(size, seed=2)["image"].values[0], (1, 8, 8)), dims=("band", "y", "x"))
    torch.manual_seed(0)
    config = Config()
    side = config.side
    network = SARNet(1, config.width).eval()
    with torch.inference_mode():
        some = torch.stack([torch.from_numpy(image.values[:, :side, i : i + side]) for i in range(0, 8 * side, side)])
        scores = torch.cat([torch.sigmoid(x[:, 4:]).flatten() for x in network(entered(some, config)).levels])
    trained = Trained(network, config, ["ship"], float(scores.quantile(0.995)))  # candidates: one cell of 200
    inside, begun = [0.0], [0.0]
    network.register_forward_pre_hook(lambda *_: begun.__setitem__(0, time.process_time()))
    network.register_forward_hook(lambda *_: inside.__setitem__(0, inside[0] + time.process_time() - begun[0]))
    found = detect(trained, image)  # also warms up
    turns = []
    for _ in range(repeats):
        inside[0] = 0.0
        whole = seconds(lambda: detect(trained, image))
        turns.append((whole, inside[0], whole / inside[0] - 1))
    whole, alone, added = (statistics.median(t[n] for t in turns) for n in range(3))
    return {
        "pixels": float(image.size),
        "objects": float(found.sizes["object"]),
        "detect_seconds": whole,
        "network_seconds": alone,
        "added": added,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with dask.config.set(scheduler="sync"):
        measured = {**cfar(asked.size, asked.repeats), **tiles(asked.size, asked.repeats)}
    print(json.dumps(measured) if asked.json else "\n".join(f"{name:28} {value:.4g}" for name, value in measured.items()))
    good = measured["ratio_direct"] >= 50 and measured["ca_cfar_twice_the_window"] <= 1.3 and measured["added"] <= 0.2
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
