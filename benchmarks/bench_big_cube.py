"""The anomaly page on a cube of 20,000 x 5,000 pixels and 200 bands: first picture, zoom, click to spectrum, memory of the server.

    python benchmarks/bench_big_cube.py [--rows 20000] [--columns 5000] [--bands 200] [--interleave bil] [--folder DIR] [--json]

The cube is an ENVI file of int16 in a temporary folder (of `--folder`), deleted afterwards. It is sparse: it has its full size, 40 GB,
but only every 32nd row is written; the rest are holes that read as zeros, without the disk. Needs a Chromium (`make browser`).
Serves the page warm and drives it headless, at 1400 x 900:

    first picture  from asking for the address, with the cube in it, until the picture is painted (median of five visits; the
                   page has never opened the cube of a visit before, and its file is thrown out of the page cache); beside
                   it the same of the small scene the page opens by itself, which has been read already: the page's own time
    zoom           from the turn of the mouse wheel until a finer picture is in the browser (median)
    click          from the mouse button going up until the spectrum of 200 bands is painted (median)
    memory         of the server: before the first visit, and after all of them

Ends with exit code 1 when the first picture is not there within 5 s or the median click not under 300 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psutil
from bench_dashboard import PAINTED, clicks, first_plots

from tests.browser.chromium import browser, chromium, frame, visit
from tests.browser.serving import served

FIRST, CLICK = 5.0, 300.0  # s, ms
EVERY = 32  # rows from one that is written to the next, as from one row of the overview to the next
# resolves to the ms from the next turn of the wheel until another picture is in the image's source; null after 10 s
FINER = """() => { window.waited = new Promise(done => {
    const view = [...Bokeh.index.all_views()].find(v => v.model.type.endsWith("Figure") && v.el.getClientRects().length
        && v.model.renderers.some(r => r.glyph && r.glyph.type == "ImageRGBA"))
    const source = view.model.renderers.find(r => r.glyph && r.glyph.type == "ImageRGBA").data_source
    const had = source.data.dw[0]
    document.addEventListener("wheel", () => {
        const began = performance.now()
        const look = () => source.data.dw[0] != had ? requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)))
            : performance.now() - began > 10000 ? done(null) : setTimeout(look, 2)
        look()
    }, {once: true, capture: true})
}) }"""


def make(path: Path, rows: int, columns: int, bands: int, interleave: str) -> float:
    """A sparse cube and its headers `path0.hdr`, `path1.hdr`, ...; bytes that are really written."""
    rng = np.random.default_rng(0)
    base = 2000 + 900 * np.sin(np.linspace(0, 5, bands)) + 30 * rng.normal(size=bands)
    with path.open("wb") as file:
        file.truncate(2 * rows * columns * bands)
        for start in range(0, rows, EVERY):
            ground = 1 + 0.3 * np.sin(np.arange(columns) / 300 + start / 2000) + 0.1 * rng.normal(size=(1, columns))
            block = (base[:, None, None] * ground).astype("<i2")  # (band, row, column)
            if interleave == "bsq":
                for band in range(bands):
                    file.seek(2 * (band * rows + start) * columns)
                    file.write(block[band].tobytes())
            else:
                file.seek(2 * start * columns * bands)
                file.write(block.transpose({"bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]).tobytes())
    wavelengths = ", ".join(f"{w:.1f}" for w in np.linspace(400, 2400, bands))
    for n in range(8):
        path.with_name(f"{path.stem}{n}.hdr").write_text(
            f"ENVI\nsamples = {columns}\nlines = {rows}\nbands = {bands}\ndata type = 2\ninterleave = {interleave}\nbyte order = 0\n"
            f"data file = {path.name}\nwavelength units = Nanometers\nwavelength = {{{wavelengths}}}\n"
        )
    return 512 * path.stat().st_blocks


def forget(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def first_pictures(opened: Any, address: str, cube: Path, times: int) -> list[float]:
    """Seconds until the picture is painted, of a cube that was never opened before."""
    found = []
    for n in range(times):
        forget(cube)
        page = opened.new_context(viewport={"width": 1400, "height": 900}).new_page()
        page.goto(f"{address}?scene={quote(str(cube.with_name(f'{cube.stem}{n}.hdr')))}", wait_until="commit")
        found.append(page.evaluate(PAINTED) / 1000)
        page.context.close()
        time.sleep(1)
    return found


def zooms(opened: Any, address: str, times: int, picture: Path | None) -> list[float]:
    """Milliseconds until a finer picture is there, after each turn of the wheel; the last is kept as a picture of the page."""
    page, watch = visit(opened, address)
    page.evaluate(PAINTED)  # only then the frame has the shape of the scene
    place = frame(page, "column (pixels)")
    time.sleep(2)
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    if picture is not None:
        page.screenshot(path=str(picture))
    found = []
    for turn in range(times):
        page.evaluate(FINER)
        page.mouse.wheel(0, -300)
        waited = page.evaluate("() => window.waited")
        if waited is None:
            raise SystemExit(f"turn {turn} of the wheel brought no finer picture within 10 s")
        found.append(waited)
        time.sleep(0.5)
    if picture is not None:
        page.screenshot(path=str(picture.with_stem(picture.stem + "-zoomed")))
    if watch.errors or watch.foreign:
        raise SystemExit(f"the page did what it should not: {watch.errors} {watch.foreign}")
    page.context.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--columns", type=int, default=5_000)
    parser.add_argument("--bands", type=int, default=200)
    parser.add_argument("--interleave", choices=("bsq", "bil", "bip"), default="bil")
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--folder", default=None, help="where to make the temporary folder (default: the system's)")
    parser.add_argument("--picture", type=Path, default=None, help="keep screenshots of the page there (.png)")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if chromium() is None:
        raise SystemExit("needs a Chromium: install one with `make browser`")
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="big-cube-") as name:
        cube = Path(name) / "cube.dat"
        written = make(cube, asked.rows, asked.columns, asked.bands, asked.interleave)
        size = cube.stat().st_size
        with served(Path(name), "anomaly") as server, browser() as opened:
            visit(opened, server.address("anomaly"))[0].context.close()  # warm, with a small scene
            process = psutil.Process(server.pid)
            before, load = process.memory_info().rss, os.getloadavg()[0]
            small = first_plots(opened, server.address("anomaly"), 3)
            pictures = first_pictures(opened, server.address("anomaly"), cube, 5)
            address = f"{server.address('anomaly')}?scene={quote(str(cube.with_name(f'{cube.stem}7.hdr')))}"
            zoomed = zooms(opened, address, 5, asked.picture)
            waited = clicks(opened, address, asked.clicks, middle=0.4)  # a long scene has air at its sides
            after = process.memory_info().rss
            if server.complaints():
                raise SystemExit(f"the server complained:\n{server.complaints()[-3000:]}")
    numbers = {
        "shape": [asked.bands, asked.rows, asked.columns],
        "interleave": asked.interleave,
        "gigabytes": size / 1e9,
        "written_gigabytes": written / 1e9,
        "first_picture_s": statistics.median(pictures),
        "first_picture_worst_s": max(pictures),
        "small_scene_s": statistics.median(small),
        "zoom_ms": statistics.median(zoomed),
        "zoom_worst_ms": max(zoomed),
        "click_ms": statistics.median(waited),
        "click_p90_ms": sorted(waited)[int(0.9 * len(waited))],
        "memory_before_mb": before / 2**20,
        "memory_after_mb": after / 2**20,
        "cores": os.cpu_count(),
        "load_before": load,
    }
    if asked.json:
        print(json.dumps(numbers))
    else:
        n, one = numbers, "{:<16} {}".format
        shape = f"{asked.rows} x {asked.columns} pixels, {asked.bands} bands, {asked.interleave}"
        print(one("cube", f"{shape}: {n['gigabytes']:.0f} GB, of them written {n['written_gigabytes']:.2f} GB"))
        print(one("first picture", f"{n['first_picture_s']:.2f} s (worst of 5: {n['first_picture_worst_s']:.2f} s)"))
        print(
            one("  of a small scene", f"{n['small_scene_s']:.2f} s, the page itself, on the same machine at the same time")
        )
        print(one("zoom", f"{n['zoom_ms']:.0f} ms (worst of 5: {n['zoom_worst_ms']:.0f} ms)"))
        print(one("click to spectrum", f"{n['click_ms']:.0f} ms (p90 {n['click_p90_ms']:.0f} ms)"))
        print(one("memory", f"{n['memory_before_mb']:.0f} -> {n['memory_after_mb']:.0f} MB"))
        print(one("load average", f"{n['load_before']:.1f} before, {n['cores']} cores"))
    raise SystemExit(0 if numbers["first_picture_s"] < FIRST and numbers["click_ms"] < CLICK else 1)


if __name__ == "__main__":
    main()
