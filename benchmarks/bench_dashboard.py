"""The anomaly page in a real browser: time to the first plot, click to spectrum, and what closed sessions leave behind.

    python benchmarks/bench_dashboard.py [--clicks 30] [--visits 20] [--json]

Needs a Chromium (`make browser`). Serves the page warm on a free port and drives it headless, at 1400 x 900:

    first plot   from asking for the address until the scene is painted (median of five visits, each with an empty cache)
    click        from the mouse button going up until the new spectrum's line is in the browser and painted (median)
    server       the part of a click that the server needs: making the sources' new content, nothing sent
    sessions     threads and memory of the server after the first visits and after `--visits` more, all closed; a session is
                 given up by the server some seconds after its tab was closed, and that is waited for

The machine's load is printed beside the numbers: under load all times grow. Ends with exit code 1 when the median click is not
under 100 ms, the first plot not under 3 s, or the sessions leave threads or more than 1 MB each.
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil

from tests.browser.chromium import browser, chromium, frame, visit
from tests.browser.serving import Served, served

CLICK, FIRST, PER_SESSION = 100.0, 3.0, 1.0  # ms, s, MB

# resolves to the time, in ms since the page was asked for, when the image figure has been painted with data in it
PAINTED = """() => new Promise(done => {
    const look = () => {
        const views = window.Bokeh && Bokeh.index.all_views ? [...Bokeh.index.all_views()] : []
        const there = views.some(v => v.model.type.endsWith("Figure") && v.el.getClientRects().length && v.is_idle
            && v.model.renderers.some(r => r.glyph && r.glyph.type == "ImageRGBA" && r.data_source.data.image.length))
        there ? requestAnimationFrame(() => done(performance.now())) : setTimeout(look, 10)
    }
    look()
})"""
# resolves to the ms from the next release of the mouse button until another number of lines is painted; null after 5 s
SPECTRUM = """() => { window.waited = new Promise(done => {
    const lines = [...Bokeh.documents[0].all_models].find(m => m.type == "ColumnDataSource" && "xs" in m.data && "number" in m.data)
    document.addEventListener("pointerup", () => {
        const began = performance.now(), had = lines.data.xs.length
        const look = () => lines.data.xs.length != had ? requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)))
            : performance.now() - began > 5000 ? done(null) : setTimeout(look, 1)
        look()
    }, {once: true, capture: true})
}) }"""


def first_plots(opened: Any, address: str, times: int) -> list[float]:
    """Seconds until the scene is painted."""
    found = []
    for _ in range(times):
        page = opened.new_context(viewport={"width": 1400, "height": 900}).new_page()
        page.goto(address, wait_until="commit")
        found.append(page.evaluate(PAINTED) / 1000)
        page.context.close()
        time.sleep(1)
    return found


def clicks(opened: Any, address: str, times: int, middle: float = 0.9) -> list[float]:
    """Milliseconds from click to spectrum, of `times` clicks on different pixels in the middle part of the frame's width; eight
    at most are shown at once.
    """
    page, watch = visit(opened, address)
    page.evaluate(PAINTED)  # only then the frame has the shape of the scene
    place = frame(page, "column (pixels)")
    time.sleep(2)
    found, had = [], 0
    for i in range(times):
        if had == 7:
            page.get_by_role("button", name="Clear picks").click()
            page.wait_for_function("() => !location.search.includes('picks=')")
            time.sleep(0.3)
            had = 0
        page.mouse.move(  # as a person does: there first, then the button; the crosshair has followed by then
            place["x"] + ((1 - middle) / 2 + middle * ((i * 37) % 100) / 100) * place["width"],
            place["y"] + (0.05 + 0.9 * ((i * 61) % 100) / 100) * place["height"],
        )
        time.sleep(0.4)
        page.evaluate(SPECTRUM)
        page.mouse.down()
        page.mouse.up()
        waited = page.evaluate("() => window.waited")
        if waited is None:
            raise SystemExit(f"click {i} brought no spectrum within 5 s")
        found.append(waited)
        had += 1
        time.sleep(0.2)
    if watch.errors or watch.foreign:
        raise SystemExit(f"the page did what it should not: {watch.errors} {watch.foreign}")
    page.context.close()
    return found


def on_the_server(times: int = 50) -> float:
    """Milliseconds that one pick costs in Python (median)."""
    from workbench.pages.anomaly.page import Explorer

    with tempfile.TemporaryDirectory() as folder:
        explorer, found = Explorer("sim-coast-town", root=folder), []
        for i in range(times):
            began = time.perf_counter()
            explorer.pick(i, (7 * i) % 100)
            found.append(1000 * (time.perf_counter() - began))
        explorer.close()
    return statistics.median(found)


def leftovers(opened: Any, server: Served, visits: int) -> dict[str, float]:
    """Threads and memory (MB) of the server before and after so many visits, each of which looks at all tabs."""

    def come_and_go(times: int) -> None:
        for i in range(times):
            page, _ = visit(opened, server.address("anomaly"))
            place = frame(page, "column (pixels)")
            page.mouse.click(place["x"] + 10 + 5 * i, place["y"] + 30)
            for tab in ("Detectors", "BSDM live"):
                page.get_by_role("tab", name=tab).click()
                page.wait_for_function("() => Bokeh.documents[0].is_idle")
            page.context.close()
        time.sleep(20)  # unused for 15 s, looked for every second

    process = psutil.Process(server.pid)
    come_and_go(10)  # until as many sessions have been alive at once as ever will be
    threads, memory = process.num_threads(), process.memory_info().rss
    come_and_go(visits)
    return {
        "threads_before": threads,
        "threads_after": process.num_threads(),
        "memory_before_mb": memory / 2**20,
        "memory_after_mb": process.memory_info().rss / 2**20,
        "growth_per_session_mb": (process.memory_info().rss - memory) / 2**20 / visits,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--visits", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if chromium() is None:
        raise SystemExit("needs a Chromium: install one with `make browser`")
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), "anomaly") as server, browser() as opened:
        visit(opened, server.address("anomaly"))[0].context.close()  # warm: fonts, caches, compiled templates
        load_before = os.getloadavg()[0]
        plots = first_plots(opened, server.address("anomaly"), 5)
        waited = clicks(opened, server.address("anomaly"), asked.clicks)
        left = leftovers(opened, server, asked.visits)
        if server.complaints():
            raise SystemExit(f"the server complained:\n{server.complaints()[-3000:]}")
    numbers = {
        "first_plot_s": statistics.median(plots),
        "first_plot_worst_s": max(plots),
        "click_ms": statistics.median(waited),
        "click_p90_ms": sorted(waited)[int(0.9 * len(waited))],
        "click_server_ms": on_the_server(),
        **left,
        "visits": asked.visits,
        "cores": os.cpu_count(),
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
    }
    if asked.json:
        print(json.dumps(numbers))
    else:
        n, one = numbers, "{:<18} {}".format
        print(one("first plot", f"{n['first_plot_s']:.2f} s (worst of 5: {n['first_plot_worst_s']:.2f} s)"))
        print(
            one(
                "click to spectrum",
                f"{n['click_ms']:.0f} ms (p90 {n['click_p90_ms']:.0f} ms, of it server {n['click_server_ms']:.1f} ms)",
            )
        )
        print(one("threads", f"{n['threads_before']} -> {n['threads_after']} after {n['visits']} visits"))
        memory = f"{n['memory_before_mb']:.0f} -> {n['memory_after_mb']:.0f} MB"
        print(one("memory", f"{memory}, {n['growth_per_session_mb']:.2f} MB a visit"))
        print(one("load average", f"{n['load_before']:.1f} -> {n['load_after']:.1f} on {n['cores']} cores"))
    kept = (
        numbers["click_ms"] < CLICK
        and numbers["first_plot_s"] < FIRST
        and left["threads_after"] <= left["threads_before"]
        and left["growth_per_session_mb"] <= PER_SESSION
    )
    raise SystemExit(0 if kept else 1)


if __name__ == "__main__":
    main()
