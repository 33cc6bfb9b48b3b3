"""PIC-PQ on networks that other rooms have trained: SAR-Net by AP50, AR-CDNet by F1, beside rivals, on simulated scenes.

    python -m benchmarks.picpq_trained [--rooms sarnet arcdnet] [--seeds 3] [--steps 500] [--recover 4] [--quantize 8] [--json]

Each network is trained, then compressed to half of its multiply-accumulates. Nothing is asserted: the table is for reading. recover,
quantize: passes through the training data after pruning, and with few bits; they take most of the time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
import xarray as xr

from workbench.data.catalog import open_scene
from workbench.execution import execute
from workbench.methods import load
from workbench.methods.picpq import Config, compress

ROOMS = {"sarnet": ("sim-ships", "ap50"), "arcdnet": ("sim-change-town", "f1")}
ARMS = ("hrank", "uniform_l1", "random", "lsq8", "lsq4", "lsq3")


def measured(room: str, seed: int, steps: int, recover: int, quantize: int) -> dict[str, float]:
    """Quality and cost of all arms of one training."""
    name, measure = ROOMS[room]
    scene: xr.Dataset = open_scene(name).compute()
    config = Config(
        seed=seed,
        target=0.5,
        generations=24,
        population=8,
        steps=10,
        recover=recover,
        quantize_epochs=quantize,
        caps=(8, 8, 6),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        execute(room, scene, {"steps": steps, "rivals": [], "controls": False, "seed": seed}, run)
        result = compress(load(room).compressible(run, scene), config, ARMS)
    wanted = (f"{measure}_", "bops_ratio_", "macs_left_", "kilobytes_weights_")
    return {str(n): float(v) for n, v in result.data_vars.items() if v.ndim == 0 and str(n).startswith(wanted)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--recover", type=int, default=4)
    parser.add_argument("--quantize", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for room in asked.rooms:
        scene, measure = ROOMS[room]
        rows = [measured(room, seed, asked.steps, asked.recover, asked.quantize) for seed in range(asked.seeds)]
        if asked.json:
            print(json.dumps({"room": room, "scene": scene, "seeds": rows}), flush=True)
            continue
        how = f"{asked.steps} steps, {asked.recover} + {asked.quantize} epochs, {asked.seeds} seeds"
        print(f"{room} on {scene} (simulated), {how}: {measure}, times fewer BOPs", flush=True)
        for arm in ("dense", "picpq", *ARMS):
            found = [r[f"{measure}_{arm}"] for r in rows]
            ratio = sum(r.get(f"bops_ratio_{arm}", 1.0) for r in rows) / len(rows)
            print(
                f"  {arm:12} {sum(found) / len(found):.3f} ({min(found):.3f} to {max(found):.3f})  {ratio:.1f}", flush=True
            )


if __name__ == "__main__":
    main()
