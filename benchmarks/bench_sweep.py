"""How much faster a sweep is with two jobs than with one: smoke runs of a notebook on two cores, whole command lines.

python benchmarks/bench_sweep.py --cells 24            # prints seconds with one and two jobs, and the ratio
python benchmarks/bench_sweep.py --cells 8 --turns 3   # in pieces, for a machine that is not free for long
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GRID = "parameters: {method: rx, scene: sim-coast-town, smoke: true}\nseeds: %s\n"


def seconds(cells: int, jobs: int) -> float:
    """Wall time of `workbench sweep` over so many smoke runs, made from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder) / "grid.yml"
        grid.write_text(GRID % list(range(cells)))
        command = [sys.executable, "-m", "workbench", "sweep", "anomaly", str(grid), "--jobs", str(jobs)]
        begun = time.monotonic()
        subprocess.run([*command, "--out", f"{folder}/out", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - begun


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--cells", type=int, default=24)
    asked.add_argument("--turns", type=int, default=1)
    given = asked.parse_args()
    ratios = []
    for turn in range(given.turns):
        both = {jobs: seconds(given.cells, jobs) for jobs in ((1, 2) if turn % 2 == 0 else (2, 1))}
        ratios.append(both[1] / both[2])
        print(
            f"{given.cells} cells: {both[1]:.1f} s with one job, {both[2]:.1f} s with two, ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f} of {given.turns} turns")


if __name__ == "__main__":
    main()
