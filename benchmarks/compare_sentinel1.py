"""Our Sentinel-1 reader beside xarray-sentinel on the same product: time to open, time of a window, and whether sigma nought agrees.

    pip install xarray-sentinel
    python benchmarks/compare_sentinel1.py PRODUCT.SAFE [--swath IW1] [--polarization VV] [--burst 3]

Each is opened five times in turn in one process, after one opening that is not counted; the median is reported. Without calibration in
the product squared digital numbers are compared. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings

import numpy as np
import xarray as xr

from workbench.data.readers.sentinel1 import open_safe

TURNS = 5


def ours(path: str, swath: str, polarization: str, burst: int | None) -> xr.DataArray:
    return open_safe(path, swath=swath, polarization=polarization, burst=burst)["sar"][0]


def theirs(path: str, swath: str, polarization: str, burst: int | None) -> xr.DataArray:
    import xarray_sentinel

    group = f"{swath}/{polarization}"
    measured = xr.open_dataset(path, engine="sentinel-1", group=group, chunks=2048)
    if burst is not None:
        measured = xarray_sentinel.crop_burst_dataset(measured, burst_index=burst)
    try:
        table = xr.open_dataset(path, engine="sentinel-1", group=f"{group}/calibration")
    except (FileNotFoundError, OSError, ValueError, KeyError):
        return abs(measured["measurement"]) ** 2
    return xarray_sentinel.calibrate_intensity(measured["measurement"], table["sigmaNought"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("product")
    parser.add_argument("--swath", default="IW")
    parser.add_argument("--polarization", default="VV")
    parser.add_argument("--burst", type=int)
    how = parser.parse_args()
    warnings.simplefilter("ignore")
    choice = (how.product, how.swath, how.polarization, how.burst)
    seconds: dict[str, list[float]] = {
        "open, ours": [],
        "open, xarray-sentinel": [],
        "window, ours": [],
        "window, xarray-sentinel": [],
    }
    rows = slice(700, 956), slice(9000, 9256)
    for turn in range(TURNS + 1):
        values = []
        for name, opener in (("ours", ours), ("xarray-sentinel", theirs)):
            begin = time.perf_counter()
            scene = opener(*choice)
            middle = time.perf_counter()
            values.append(scene[rows].values)
            end = time.perf_counter()
            if turn:
                seconds[f"open, {name}"].append(middle - begin)
                seconds[f"window, {name}"].append(end - middle)
    whole = [opener(*choice) for opener in (ours, theirs)]
    a, b = (w[:1501].values for w in whole)
    known = np.isfinite(a) & np.isfinite(b)
    scale = np.maximum(np.abs(b[known]), np.finfo(np.float32).tiny)
    told = {
        "product": how.product.rstrip("/").rsplit("/", 1)[-1],
        "shape": list(whole[0].shape),
        **{k: round(statistics.median(v), 3) for k, v in seconds.items()},
        "largest relative difference": float((np.abs(a[known] - b[known]) / scale).max()),
        "pixels compared": int(known.sum()),
        "pixels we call missing and xarray-sentinel does not": int((np.isnan(a) & np.isfinite(b)).sum()),
        "python": platform.python_version(),
    }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
