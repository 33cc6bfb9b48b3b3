"""Global RX over an ENVI cube far larger than what it may hold: peak memory, and speed beside that of reading the file.

    python benchmarks/bench_out_of_core.py [--gigabytes 12] [--bands 200] [--dtype float32] [--interleave bil] [--folder DIR] [--json]

The cube is made in a temporary folder (of `--folder`) and deleted afterwards. The method runs as `workbench run rx` does, in a
process of its own that is watched event by event:

    read      what one thread that does nothing else reads of the same file, before and after (mean of both), not cached
    passes    RX reads the cube twice, once for mean and covariance and once to score; both count, and before each the file is
              thrown out of the page cache. Throughput is twice the file's size over the time of both passes
    hash      SHA-256 of the file for the record: a third reading, timed apart
    cached    both passes once more when the file lies in the page cache, where memory is large enough for that
    memory    the largest resident size of the process, from start to written result
    spectral  SPy's `rx` on the largest cube of this kind that it can hold in the memory that is free, and ours on the same file,
              both from the file to the map, cached; SPy's own reader is used, which gives float32, in which it then computes. Scores
              of both are compared with a plain NumPy loop over the file in float64

Ends with exit code 1 when the peak is not under 1.5 GB, when our scores differ from the plain loop's by more than 1e-6 of their size,
or when the throughput is under half of the reading.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PEAK, SHARE, AGREE = 1.5e9, 0.5, 1e-6
CODES = {"float32": (4, "<f4"), "int16": (2, "<i2")}
COLUMNS = 1000
KEEP = 4  # times the size of a strip that is made anew; the others are these, scaled and shifted


def make(path: Path, gigabytes: float, bands: int, dtype: str, interleave: str) -> tuple[int, int, int]:
    """An ENVI pair of correlated spectra with noise; (bands, rows, columns)."""
    code, kind = CODES[dtype]
    size = np.dtype(kind).itemsize
    rows = int(gigabytes * 1e9 / (size * bands * COLUMNS))
    high = max(1, 2**26 // (size * bands * COLUMNS))
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(bands, 12)).astype("f4").cumsum(0)
    strips = []
    for _ in range(KEEP):
        values = np.einsum("bk,knx->bnx", mix, rng.normal(size=(12, high, COLUMNS)).astype("f4"), optimize=True)
        values += 3 * rng.normal(size=values.shape).astype("f4")
        strips.append(40 * values + 3000)
    order = {"bil": (1, 0, 2), "bip": (1, 2, 0)}
    with path.open("wb") as file:
        if interleave == "bsq":
            file.truncate(rows * bands * COLUMNS * size)
        for n, start in enumerate(range(0, rows, high)):
            block = strips[n % KEEP][:, : min(high, rows - start)] * np.float32(1 + 0.001 * (n % 97)) + np.float32(n % 13)
            block[:, 0, 0] += 1000 * rng.normal(size=bands)  # an anomaly
            block = block.astype(kind)
            if interleave == "bsq":
                for band in range(bands):
                    file.seek((band * rows + start) * COLUMNS * size)
                    file.write(block[band].tobytes())
            else:
                file.write(block.transpose(order[interleave]).tobytes())
        file.flush()
        os.fsync(file.fileno())
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {COLUMNS}\nlines = {rows}\nbands = {bands}\ndata type = {code}\ninterleave = {interleave}\n"
        "byte order = 0\nheader offset = 0\n"
    )
    return bands, rows, COLUMNS


def forget(path: Path) -> None:
    """Throw a file out of the page cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path: Path) -> float:
    """Bytes a second that one thread reads from start to end into the same 16 MiB."""
    forget(path)
    buffer = memoryview(bytearray(2**24))
    begun = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return path.stat().st_size / (time.perf_counter() - begun)


def score(header: Path, folder: Path, cold: bool) -> dict[str, float]:
    """Run RX as the command line does; seconds of its parts and the peak of this process."""
    data = header.with_suffix("")
    if cold:
        forget(data)
    clock = [time.perf_counter()]

    from workbench.event import Event
    from workbench.execution import start

    clock.append(time.perf_counter())
    trace = start("rx", header, None, folder)
    first: Event | None = None
    clock.append(time.perf_counter())  # opened and hashed
    if cold:
        forget(data)
    begun = time.perf_counter()
    statistics = done = 0.0
    while True:
        try:
            event = next(trace)
        except StopIteration:
            break
        first = first or event
        if statistics == 0 and "rows" in event.scalars:
            statistics = time.perf_counter() - begun
            if cold:
                forget(data)
            begun = time.perf_counter()
        if event.step == event.of:
            done = time.perf_counter() - begun
    return {
        "import_seconds": clock[1] - clock[0],
        "open_and_hash_seconds": clock[2] - clock[1],
        "statistics_seconds": statistics,
        "score_seconds": done,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def with_spectral(header: Path, out: Path) -> dict[str, float]:
    """SPy from the file to the map."""
    import spectral

    spectral.settings.show_progress = False
    begun = time.perf_counter()
    found = spectral.rx(spectral.open_image(str(header)).load())
    seconds = time.perf_counter() - begun
    np.save(out, found)
    return {"seconds": seconds, "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def plain(cube: Path, shape: tuple[int, int, int], dtype: str, interleave: str) -> np.ndarray:
    """RX scores (y, x) by the textbook, in float64, some rows at a time."""
    order = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (2, 0, 1)}[interleave]
    values = np.memmap(cube, CODES[dtype][1], "r", shape=tuple(shape[order.index(a)] for a in range(3))).transpose(order)
    rows = [slice(y, y + 64) for y in range(0, shape[1], 64)]
    n = shape[1] * shape[2]
    mean = sum(values[:, r].sum((1, 2), dtype=float) for r in rows) / n

    def centred(r: slice) -> np.ndarray:
        return values[:, r].reshape(shape[0], -1).astype(float) - mean[:, None]

    inverse = np.linalg.inv(sum((c := centred(r)) @ c.T for r in rows) / (n - 1))
    return np.concatenate([np.einsum("bn,bn->n", c := centred(r), inverse @ c).reshape(-1, shape[2]) for r in rows])


def apart(*args: object) -> dict[str, float]:
    """One of the functions above in a process of its own, so that its peak is its own."""
    done = subprocess.run([sys.executable, __file__, "--apart", *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{args[0]} failed ({done.returncode}):\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def available() -> int:
    import psutil

    return psutil.virtual_memory().available


def beside_spectral(folder: Path, bands: int, dtype: str, interleave: str, most: float) -> dict[str, Any]:
    """The largest cube that SPy can hold in three quarters of the free memory, and the times of both on it."""
    small, trial = folder / "small", 0.25
    make(small, trial, bands, dtype, interleave)
    for_one = (apart("spectral", small.with_suffix(".hdr"), folder / "small.npy")["peak_bytes"] - 1e8) / small.stat().st_size
    small.unlink()
    gigabytes = min(most, 0.75 * available() / for_one / 1e9)
    cube = folder / "held"
    shape = make(cube, gigabytes, bands, dtype, interleave)
    read(cube)  # cached from here on
    header = cube.with_suffix(".hdr")
    theirs = apart("spectral", header, folder / "theirs.npy")
    ours = apart("score", header, folder / "run-held", "warm")
    from workbench import runs

    right = plain(cube, shape, dtype, interleave)
    mine, other = runs.result(folder / "run-held")["score"].values, np.load(folder / "theirs.npy", mmap_mode="r")
    seconds = ours["statistics_seconds"] + ours["score_seconds"]
    cube.unlink()
    return {
        "gigabytes": gigabytes,
        "spectral_seconds": theirs["seconds"],
        "spectral_peak_bytes": theirs["peak_bytes"],
        "our_seconds": seconds,
        "our_peak_bytes": ours["peak_bytes"],
        "ratio": theirs["seconds"] / seconds,
        "largest_relative_difference": float(np.abs(mine / right - 1).max()),
        "spectral_largest_relative_difference": float(np.abs(other / right - 1).max()),
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--gigabytes", type=float, default=12.0)
    options.add_argument("--bands", type=int, default=200)
    options.add_argument("--dtype", choices=CODES, default="float32")
    options.add_argument("--interleave", choices=("bsq", "bil", "bip"), default="bil")
    options.add_argument("--folder", default=None, help="where to make the temporary folder (default: the system's)")
    options.add_argument("--spectral", type=float, default=12.0, help="largest cube tried with SPy, in GB; 0 for none")
    options.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options.add_argument("--apart", nargs="+", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.apart:
        what, header, out, *how = asked.apart
        found = (
            with_spectral(Path(header), Path(out)) if what == "spectral" else score(Path(header), Path(out), how == ["cold"])
        )
        print(json.dumps(found))
        return 0

    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="out-of-core-") as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < max(2.5e9 * asked.gigabytes, 1e9):
            raise SystemExit(
                f"{folder} has {free / 1e9:.0f} GB left; {2.5 * asked.gigabytes:.0f} GB are needed (--gigabytes, --folder)"
            )
        cube = folder / "cube"
        shape = make(cube, asked.gigabytes, asked.bands, asked.dtype, asked.interleave)
        size = cube.stat().st_size
        load = os.getloadavg()[0]
        before = read(cube)
        cold = apart("score", cube.with_suffix(".hdr"), folder / "run", "cold")
        after = read(cube)
        numbers: dict[str, Any] = {
            "shape": shape,
            "dtype": asked.dtype,
            "interleave": asked.interleave,
            "gigabytes": size / 1e9,
        }
        numbers |= {
            "cores": os.cpu_count(),
            "load_before": load,
            "read": (before + after) / 2,
            "reads": [before, after],
            **cold,
        }
        numbers["throughput"] = 2 * size / (cold["statistics_seconds"] + cold["score_seconds"])
        numbers["share"] = numbers["throughput"] / numbers["read"]
        if available() > 1.2 * size:
            read(cube)
            warm = apart("score", cube.with_suffix(".hdr"), folder / "run-warm", "warm")
            numbers["cached_throughput"] = 2 * size / (warm["statistics_seconds"] + warm["score_seconds"])
        cube.unlink()
        if asked.spectral:
            numbers["spectral"] = beside_spectral(folder, asked.bands, asked.dtype, asked.interleave, asked.spectral)
    agree = numbers.get("spectral", {}).get("largest_relative_difference", 0.0) < AGREE
    numbers["passed"] = numbers["peak_bytes"] < PEAK and agree and numbers["share"] >= SHARE
    if asked.json:
        print(json.dumps(numbers))
        return 0 if numbers["passed"] else 1
    n = numbers
    print(f"{n['gigabytes']:.1f} GB, {' x '.join(map(str, shape))} (band, y, x) {asked.dtype} {asked.interleave}; "
          f"{n['cores']} cores, load {n['load_before']:.1f} before")  # fmt: skip
    print(f"reading alone      {n['read'] / 1e9:6.2f} GB/s  ({before / 1e9:.2f} before, {after / 1e9:.2f} after)")
    print(f"RX, both passes    {n['throughput'] / 1e9:6.2f} GB/s  = {100 * n['share']:.0f} % of reading; "
          f"statistics {n['statistics_seconds']:.1f} s, score {n['score_seconds']:.1f} s")  # fmt: skip
    if "cached_throughput" in n:
        print(f"RX, file cached    {n['cached_throughput'] / 1e9:6.2f} GB/s")
    print(f"open and hash      {n['open_and_hash_seconds']:6.1f} s")
    print(f"peak memory        {n['peak_bytes'] / 1e9:6.2f} GB")
    if s := n.get("spectral"):
        print(f"SPy on {s['gigabytes']:.1f} GB      {s['spectral_seconds']:6.1f} s, peak {s['spectral_peak_bytes'] / 1e9:.1f} GB; ours "
              f"{s['our_seconds']:.1f} s, peak {s['our_peak_bytes'] / 1e9:.2f} GB: ratio {s['ratio']:.1f}, "
              f"largest relative difference from float64: ours {s['largest_relative_difference']:.1e}, "
              f"SPy's {s['spectral_largest_relative_difference']:.1e}")  # fmt: skip
    print("passed" if n["passed"] else f"NOT PASSED: wanted peak < 1.5 GB, share >= 50 %, our difference < {AGREE:g}")
    return 0 if n["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
