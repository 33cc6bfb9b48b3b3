"""A page in a notebook in JupyterLab: icons, theme, and the link; in a server of its own, ended by its id."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Watch

pytest.importorskip("jupyterlab")
pytestmark = [pytest.mark.browser, pytest.mark.slow]  # JupyterLab, a kernel and a page beside two other workers took minutes
CELL = "import workbench as wb\nwb.explorer('sim-coast-town')"
DARK = {"theme": "JupyterLab Dark"}
# all elements, also of shadow trees, of which `chosen(el)` is true, as `told(el)`
WALK = """([chosen, told]) => { const found = []
    const walk = root => { for (const el of root.querySelectorAll('*')) {
        if (eval(chosen)(el)) found.push(eval(told)(el))
        if (el.shadowRoot) walk(el.shadowRoot) } }
    walk(document)
    return found }"""
ICON = "el => el.children.length === 0 && el.textContent.trim() === 'link'"
EM = "el => el.getBoundingClientRect().width / parseFloat(getComputedStyle(el).fontSize)"
LINK = "el => el.tagName === 'INPUT' && el.value.startsWith('http')"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """Address of JupyterLab in the dark theme with one notebook, `page.ipynb`."""
    import nbformat

    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, tmp_path / "page.ipynb")
    settings = tmp_path / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "themes.jupyterlab-settings").write_text(json.dumps(DARK))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "ServerApp.port": port, "ServerApp.ip": "127.0.0.1", "ServerApp.open_browser": False, "ServerApp.root_dir": tmp_path,
        "IdentityProvider.token": "", "ServerApp.password": "", "ServerApp.allow_root": True,
        "LabApp.user_settings_dir": tmp_path / "settings", "LabApp.workspaces_dir": tmp_path / "workspaces",
        "LabApp.news_url": "None", "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }  # fmt: skip
    words = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    places = {**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    with open(tmp_path / "lab.log", "wb") as log:
        process = subprocess.Popen(words, cwd=tmp_path, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=places)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=10).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((tmp_path / "lab.log").read_text()[-3000:]) from None
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def test_a_page_in_a_cell_has_icons_the_theme_of_lab_and_a_link(lab: str, opened) -> None:
    page = opened.new_context(viewport={"width": 1600, "height": 1000}).new_page()
    watch = Watch(page)
    page.goto(f"{lab}/lab/tree/page.ipynb")
    page.locator(".jp-Notebook .jp-Cell").first.click()
    page.keyboard.press("Shift+Enter")
    page.get_by_text("Display", exact=True).first.wait_for(timeout=60_000)
    page.get_by_text("Copy link to this view").wait_for()
    (width,) = page.evaluate(WALK, [ICON, EM])
    assert width == pytest.approx(1, abs=0.1)  # one glyph; without the font it is the letters of its name
    (link,) = page.evaluate(WALK, [LINK, "el => el.value"])
    assert link.startswith("http://localhost:5006/anomaly?scene=sim-coast-town")
    colour = page.get_by_role("tab", name="Detectors").evaluate("el => getComputedStyle(el).color")
    assert min(int(part) for part in re.findall(r"\d+", colour)[:3]) > 128, colour  # light text on dark, as Lab's
    assert (watch.errors, watch.foreign) == ([], [])
    page.context.close()
