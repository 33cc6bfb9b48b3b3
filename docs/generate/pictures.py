"""Takes the pictures of the landing page from the running dashboards: `make pictures`, a few minutes.

    python -m docs.generate.pictures FOLDER [NAME ...] [--windows DIR]

Each method runs once with small settings on an embedded simulated scene or the digits; then each dashboard is opened at one of
these runs, in light and dark, and its picture is written to dashboards/pictures/NAME-light.webp and NAME-dark.webp. The runs are made
in FOLDER, and those that are there are not made again. `--windows DIR` writes instead what a window of 800, 1400 and 1920 pixels shows, in
both modes, as DIR/NAME-WIDTH-MODE.webp: docs/img/windows has them, to be compared before and after a change.
"""

from __future__ import annotations

import argparse
import io
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.browser.chromium import browser, visit
from tests.browser.serving import served
from workbench.data.source import Source
from workbench.execution import run_command
from workbench.pages.frame.links import page_of
from workbench.pages.landing.page import PICTURES
from workbench.runs import new_folder
from workbench.runs.collection import entries

SHORT = {  # of a compression
    "width": 8, "size": 8, "epochs": 4, "steps": 2, "target": 0.4, "recover": 1, "quantize_epochs": 1,
    "rivals": ["hrank", "lsq4", "lsq3", "caps"],
}  # fmt: skip
# method, scene, settings of the runs, in the order in which they are made
RUNS = (
    ("rx", "sim-dry-airfield", {}),
    ("pca-rx", "sim-coast-town", {}),
    ("rsdgc", "digits", {"rivals": ["rsdgc", "dense"], "steps": 20}),
    ("tdds", "digits", {"epochs": 12, "budgets": [0.1]}),
    ("arcdnet", "sim-change-town", {"steps": 40, "rivals": []}),
    ("sarnet", "sim-ships", {"steps": 400, "rivals": ["wide"], "show_every": 100}),
    ("picpq", "digits", SHORT),
    ("mdfl", "sim-two-sensors", {"steps": 120, "head_steps": 120, "split": "halves", "rivals": [], "networks": []}),
    (
        "fedfusion",
        "sim-two-sensors",
        {"steps": 60, "split": "halves", "rivals": ["dense", "low_rank:1"], "horizontal": ["fedavg"]},
    ),
    ("bsdm", "sim-coast-town", {"steps": 60, "show_every": 10}),
)
# page -> method whose run it shows, what else the address holds, a text that is there when the page is complete
VIEWS = {
    "anomaly": ("bsdm", "", "Finished"),
    "change": ("arcdnet", "", "Finished"),
    "compression": ("picpq", "", "Finished"),
    "coresets": ("tdds", "", "Finished"),
    "detection": ("sarnet", "", "Finished"),
    "federation": ("fedfusion", "", "Finished"),
    "gradients": ("rsdgc", "", "Finished"),
    "landcover": ("mdfl", "", "Finished"),
    "runs": ("bsdm", "&tab=0", "of 10 runs"),
    "watch": ("bsdm", "", "Finished"),
}
WINDOW, SIZE = (1280, 800), (640, 400)
WIDTHS, HIGH = (800, 1400, 1920), 1000
KILOBYTES = 40
# the page holds a text, also where the side bar that shows it is folded
SAYS = """part => [...Bokeh.documents[0].all_models].some(m => typeof m.text == "string" && m.text.includes(part))"""
SETTLED = 1500  # ms; a page whose picture stays the same for so long has drawn its last figure
TRIES = 20


def main(place: str, names: Sequence[str], windows: Path | None) -> None:
    """Writes the pictures of these dashboards, or of all. place: folder in which the runs are made. windows: see above."""
    folder = Path(place)
    folder.mkdir(parents=True, exist_ok=True)
    for method, scene, settings in RUNS:
        if not any(e.method == method and e.status == "finished" for e in entries(folder / "runs")):
            command = run_command(method, Source(scene), settings, new_folder("runs", method, scene))
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    if windows is None:
        for page, _, mode, png in _shots(folder, names, [WINDOW]):
            _write(png, PICTURES / f"{page}-{mode}.webp")
        return
    windows.mkdir(parents=True, exist_ok=True)
    for page, wide, mode, png in _shots(folder, names, [(wide, HIGH) for wide in WIDTHS]):
        Image.open(io.BytesIO(png)).convert("RGB").save(windows / f"{page}-{wide}-{mode}.webp", quality=55, method=6)


def _shots(folder: Path, names: Sequence[str], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[str, int, str, bytes]]:
    """(page, width of the window, mode, PNG) of these pages in windows of these sizes, light and dark."""
    made = {entry.method: entry for entry in entries(folder / "runs") if entry.status == "finished"}
    with served(folder) as server, browser() as opened:
        for page in names or VIEWS:
            method, more, text = VIEWS[page]
            address = page_of(made[method], folder / "runs", [page])
            for wide, high in sizes:
                for mode in ("light", "dark"):
                    shown, _ = visit(opened, f"{server.base}/{address}{more}&theme={mode}", wide=wide, high=high)
                    shown.wait_for_function(SAYS, arg=text, polling=200)
                    shown.get_by_role("tab").first.wait_for()
                    yield page, wide, mode, _settled(shown)
                    shown.context.close()


def _settled(shown: Any) -> bytes:
    """PNG of the page when nothing moves any more."""
    before = b""
    for _ in range(TRIES):
        shown.wait_for_timeout(SETTLED)
        now = shown.screenshot()
        if now == before:
            break
        before = now
    return before


def _write(png: bytes, path: Path) -> None:
    """Scale a screenshot down and write it, in the best quality that stays below the limit."""
    picture = Image.open(io.BytesIO(png)).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
    path.parent.mkdir(exist_ok=True)
    for quality in (90, 82, 74, 66, 58, 50):
        picture.save(path, quality=quality, method=6)
        if path.stat().st_size < 1000 * KILOBYTES:
            break
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--windows", type=Path)
    asked = parser.parse_args()
    main(asked.folder, asked.names, asked.windows)
