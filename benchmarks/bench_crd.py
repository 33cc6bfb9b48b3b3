"""CRD: ours against a direct loop over its formula, on the same cube in the same process.

    python -m benchmarks.bench_crd [--rows 15] [--repeats 3] [--scene NAME] [--json]

The scene is abu-airport-1 (100 x 100 x 205) where WORKBENCH_DATA has it, else a simulated cube of that size. The loop gathers the ring
of every pixel, forms X^T X and solves with numpy.linalg.solve. It is timed on `--rows` rows of full width and scaled by pixels. Both
take turns; the median of the ratios turn by turn is printed. Ends with exit code 1 when the scores differ by more than rtol 1e-6 (both
solve normal equations whose condition is about 1e9) or when ours is slower.

Set OMP_NUM_THREADS to choose the number of threads; both sides get the same.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np

from benchmarks.bench_rx import compare, machine, scene
from workbench.baselines.crd import crd

INNER, OUTER, RIDGE = 7, 15, 1e-6


def loop(image: np.ndarray) -> np.ndarray:
    """The formula for every pixel of an image (y, x, band): (y, x)."""
    height, width, _ = image.shape
    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            a, c = (min(max(i - size // 2, 0), height - size) for size in (OUTER, INNER))
            b, d = (min(max(j - size // 2, 0), width - size) for size in (OUTER, INNER))
            ring = np.zeros((height, width), bool)
            ring[a : a + OUTER, b : b + OUTER] = True
            ring[c : c + INNER, d : d + INNER] = False
            X, y = image[ring], image[i, j]
            penalty = RIDGE * ((X - y) ** 2).sum(1)
            alpha = np.linalg.solve(X @ X.T + np.diag(penalty), X @ y)
            out[i, j] = np.linalg.norm(y - alpha @ X)
    return out


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rows", type=int, default=OUTER, help=f"rows that the loop scores, at least {OUTER}")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--scene", default="abu-airport-1", help="catalogue name, or simulated")
    options.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    asked = options.parse_args()
    name, cube = scene(asked.scene)
    found = {"machine": machine(), "scene": {"name": name, "shape": list(cube.shape)}}
    found |= compare(lambda part: crd(part, INNER, OUTER, RIDGE), loop, cube, slice(max(OUTER, asked.rows)), asked.repeats)
    found["loop_seconds"] = found.pop("spectral_seconds")
    passed = found["passed"] = bool(found["largest_relative_difference"] < 1e-6 and found["ratio"] >= 1)
    if asked.json:
        print(json.dumps(found))
    else:
        print(f"{found['machine']}; scene: {name}")
        print(
            f"CRD  loop {found['loop_seconds']:.1f} s (scaled from {found['rows_timed']} rows)  ours {found['our_seconds']:.2f} s  "
            f"ratio {found['ratio']:.1f}  largest relative difference {found['largest_relative_difference']:.1e}"
        )
        print("passed" if passed else "NOT PASSED: wanted ratio >= 1, difference < 1e-6")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
