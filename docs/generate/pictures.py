"""Takes the pictures of the landing page from the running dashboards: `make pictures`, a few minutes.

    python -m docs.generate.pictures FOLDER [NAME ...]

Each method runs once with small settings on an embedded simulated scene or the digits; then each dashboard is opened at one of
these runs, in light and dark, and its picture is written to dashboards/pictures/NAME-light.webp and NAME-dark.webp. The runs are made
in FOLDER, and those that are there are not made again.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

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
KILOBYTES = 40
SETTLED = 3000  # ms in which a page draws its last figure


def main(place: str, *names: str) -> None:
    """Writes the pictures of these dashboards, or of all. place: folder in which the runs are made."""
    folder = Path(place)
    folder.mkdir(parents=True, exist_ok=True)
    for method, scene, settings in RUNS:
        if not any(e.method == method and e.status == "finished" for e in entries(folder / "runs")):
            command = run_command(method, Source(scene), settings, new_folder("runs", method, scene))
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    made = {entry.method: entry for entry in entries(folder / "runs") if entry.status == "finished"}
    with served(folder) as server, browser() as opened:
        for page in names or VIEWS:
            method, more, text = VIEWS[page]
            address = page_of(made[method], folder / "runs", [page])
            for mode in ("light", "dark"):
                shown, _ = visit(opened, f"{server.base}/{address}{more}&theme={mode}", wide=WINDOW[0], high=WINDOW[1])
                shown.get_by_text(text).first.wait_for()
                shown.wait_for_timeout(SETTLED)
                _write(shown.screenshot(), PICTURES / f"{page}-{mode}.webp")
                shown.context.close()


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
    main(*sys.argv[1:])
