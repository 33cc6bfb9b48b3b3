"""RX, global and dual-window: our detectors against SPy's `spectral.rx`, on the same cube in the same process.

    python benchmarks/bench_rx.py [--rows 19] [--repeats 3] [--scene NAME] [--json]

The scene is abu-airport-1 (100 x 100 x 205) where WORKBENCH_DATA has it, else a simulated cube of that size. Ours is timed
on the whole scene. SPy's local RX needs minutes for it, so it is timed on a crop of `--rows` rows of full width and scaled
by pixels; its work per pixel is the same everywhere, since windows keep their size at the edges. The two take turns, so that
both see the same machine, and the median of the ratios turn by turn is printed. The scores must agree to rtol 1e-6. Ends
with exit code 1 when they do not, when local RX is less than 100 times faster, or when global RX is slower.

Set OMP_NUM_THREADS to choose the number of threads; both sides get the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import xarray as xr

INNER, OUTER = 5, 19


def scene(name: str) -> tuple[str, xr.DataArray]:
    """The name of what was opened, and its cube in memory."""
    from workbench.data.catalog import open_scene
    from workbench.data.synth import simulate

    if name != "simulated" and os.environ.get("WORKBENCH_DATA"):
        return name, open_scene(name)["hsi"].compute()
    return "simulated 100 x 100 x 205", simulate("coast", size=100, bands=205, seed=0)["hsi"].compute()


def machine() -> dict[str, Any]:
    import scipy.linalg  # noqa: F401  (its BLAS is listed only once loaded)
    from threadpoolctl import threadpool_info

    try:
        with open("/proc/cpuinfo") as lines:
            cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "blas_threads": max(pool["num_threads"] for pool in blas),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        **{name: metadata.version(name) for name in ("numpy", "scipy", "spectral")},
    }


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    begun = time.perf_counter()
    found = work()
    return time.perf_counter() - begun, found


def compare(
    ours: Callable[[xr.DataArray], xr.DataArray],
    theirs: Callable[[np.ndarray], np.ndarray],
    cube: xr.DataArray,
    rows: slice,
    repeats: int,
) -> dict[str, Any]:
    """Median seconds of both for the whole cube, `theirs` measured on some rows only; ratio; agreement on those rows."""
    part = cube[:, rows]
    image = np.ascontiguousarray(part.values.transpose(1, 2, 0).astype(np.float64))  # SPy's order: row, column, band
    score = ours(part).values  # also loads libraries and fills caches
    turns = []
    for _ in range(repeats):
        (t, expected), (s, _) = timed(lambda: theirs(image)), timed(lambda: ours(cube).values)
        turns.append((t * cube.sizes["y"] / part.sizes["y"], s))
    return {
        "spectral_seconds": statistics.median(t for t, _ in turns),
        "our_seconds": statistics.median(s for _, s in turns),
        "ratio": statistics.median(t / s for t, s in turns),
        "ratios": [t / s for t, s in turns],
        "rows_timed": part.sizes["y"],
        "largest_relative_difference": float(np.abs(score / expected - 1).max()),
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=19, help=f"rows that SPy's local RX scores, at least {OUTER}")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--scene", default="abu-airport-1", help="catalogue name, or simulated")
    options.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    asked = options.parse_args()

    import spectral

    from workbench.baselines.anomaly import local_rx, rx

    spectral.settings.show_progress = False
    found: dict[str, Any] = {"machine": machine()}
    name, cube = scene(asked.scene)
    found["scene"] = {"name": name, "shape": list(cube.shape)}
    found["global"] = compare(rx, spectral.rx, cube, slice(None), max(5, asked.repeats))
    found["local"] = compare(
        lambda part: local_rx(part, INNER, OUTER),
        lambda image: spectral.rx(image, window=(INNER, OUTER)),  # float32, that is, rounded to 6e-8
        cube,
        slice(max(OUTER, asked.rows)),
        asked.repeats,
    )
    agree = max(found[kind]["largest_relative_difference"] for kind in ("global", "local")) < 1e-6
    found["passed"] = bool(agree and found["local"]["ratio"] >= 100 and found["global"]["ratio"] >= 1)

    if asked.json:
        print(json.dumps(found))
    else:
        m = found["machine"]
        print(f"{m['cpu']}, {m['cores']} cores, {m['blas_threads']} BLAS threads, load {m['load_before']} before")
        print(f"numpy {m['numpy']}, scipy {m['scipy']}, spectral {m['spectral']}; scene: {name}")
        for kind in ("global", "local"):
            f = found[kind]
            scaled = f" (scaled from {f['rows_timed']} rows)" if f["rows_timed"] < cube.sizes["y"] else ""
            print(
                f"{kind:6} RX  spectral {f['spectral_seconds']:8.3f} s{scaled}  ours {f['our_seconds']:6.3f} s  "
                f"ratio {f['ratio']:.1f}  largest relative difference {f['largest_relative_difference']:.1e}"
            )
        print("passed" if found["passed"] else "NOT PASSED: wanted local >= 100, global >= 1, difference < 1e-6")
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
