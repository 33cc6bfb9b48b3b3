"""All pages in windows of several widths: nothing is cut, maps grow with the window, and the side bar folds in a narrow one."""

from __future__ import annotations

import time

import pytest

from tests.browser.chromium import IDLE, TURNED, wait
from workbench import execution, runs
from workbench.methods import load

pytestmark = [
    # a session that is closed while something is under way leaves its socket to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
PAGES = {  # page: method and scene of the run that it shows, and a tab with maps of the scene
    "anomaly": ("bsdm", "sim-coast-town", "Explore"),
    "change": ("arcdnet", "sim-change-town", "Pair and maps"),
    "compression": ("picpq", "digits", ""),
    "coresets": ("tdds", "digits", ""),
    "detection": ("sarnet", "sim-ships", "Boxes"),
    "federation": ("fedfusion", "sim-two-sensors", "Maps"),
    "gradients": ("rsdgc", "digits", ""),
    "landcover": ("mdfl", "sim-two-sensors", "Class map"),
    "watch": ("rx", "sim-coast-town", "Result"),
    "runs": ("rx", "sim-coast-town", "Replay and live"),
}
# what lies partly outside the main content, except inside something that has a scroll bar of its own, such as a table
OUTSIDE = """() => {
    const main = [...Bokeh.index.roots].map(v => v.shadow_el?.querySelector(".main-content")).find(el => el)
    const edge = main.getBoundingClientRect()
    const found = []
    const look = root => {
        for (const el of root.children) {
            const box = el.getBoundingClientRect()
            if (!box.width && !box.height && getComputedStyle(el).display == "none") continue
            if (box.width && box.height && (box.right > edge.right + 1.5 || box.left < edge.left - 1.5))
                found.push(`${el.tagName} ${el.className}: ${Math.round(box.left)} to ${Math.round(box.right)}`)
            if (!["auto", "scroll", "hidden"].includes(getComputedStyle(el).overflowX)) {
                if (el.shadowRoot) look(el.shadowRoot)
                look(el)
            }
        }
    }
    look(main)
    return [main.scrollWidth - main.clientWidth, edge.left, edge.right, found]
}"""
# the main content has these edges, and nothing has moved between two frames of the browser
STILL = """([left, right]) => new Promise(done => {
    const main = [...Bokeh.index.roots].map(v => v.shadow_el?.querySelector(".main-content")).find(el => el)
    const place = () => { const box = main.getBoundingClientRect(); return [box.left, box.right, main.scrollHeight] }
    const before = place()
    requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(() => {
        const now = place()
        done(now[0] == left && now[1] == right && now.every((v, i) => v == before[i]))
    })))
})"""
# frames of the visible maps: width, and width of a pixel divided by its height
MAPS = """() => [...Bokeh.index.all_views()]
    .filter(v => v.model.type.endsWith("Figure") && v.el.getClientRects().length && v.model.sizing_mode == "stretch_width"
        && v.model.toolbar_location == "above" && v.model.renderers.some(r => r.glyph.type.startsWith("Image")))
    .map(v => { const [box, x, y] = [v.frame.bbox, v.model.x_range, v.model.y_range]
        return [box.width, (box.width / Math.abs(x.end - x.start)) / (box.height / Math.abs(y.end - y.start))] })"""


def run_of(server, name: str) -> str:
    """Name of a finished run in the server's folder, made with quick settings."""
    method, scene, _ = PAGES[name]
    root = server.folder / "runs"
    for folder, about in runs.iter_status(root):
        if (about["method"], about["status"]) == (method, "finished") and about["scene"].get("id") == scene:
            return folder.name
    folder = runs.new_folder(root, method, scene)
    execution.execute(method, scene, load(method).SMOKE, folder)
    return folder.name


def still(page, left: int, right: int) -> None:
    """Wait until the main content has these edges and nothing moves. If they never come, the caller says so."""
    until = time.monotonic() + 3
    while not page.evaluate(STILL, [left, right]) and time.monotonic() < until:
        pass


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_every_window_and_its_maps_grow(server, visit, name):
    run, (method, scene, mapped) = run_of(server, name), PAGES[name]
    query = f"picked={run}&tab=2" if name == "runs" else f"scene={scene}&run={run}"
    query += f"&method={method}" if name == "watch" else ""
    page, watch = visit(f"{server.address(name)}?{query}", wide=800, high=900)
    page.get_by_label("Open drawer").wait_for()  # the side bar is folded
    widths: dict[str, dict[int, list[float]]] = {}
    order = (800, 1000, 1920) if mapped else (800, 1920)
    page.get_by_role("tab").first.wait_for()
    for tab in page.get_by_role("tab").all():
        title = tab.inner_text()
        tab.click()
        if title == mapped:
            wait(page, f"() => ({MAPS})().length > 0")
        for wide in order:
            page.set_viewport_size({"width": wide, "height": 1000})
            still(page, 0 if wide == 800 else 320, wide)
            wait(page, IDLE)
            beyond, left, right, found = page.evaluate(OUTSIDE)
            assert (beyond, found) == (0, []), (title, wide)
            assert (left, right) == (0 if wide == 800 else 320, wide), (title, wide)
            maps = page.evaluate(MAPS)
            assert all(abs(square - 1) < 0.015 for _, square in maps), (title, wide, maps)  # half a screen pixel
            widths.setdefault(title, {})[wide] = [width for width, _ in maps]
        order = order[::-1]  # the next tab begins at the width where this one ends: the side bar moves once a tab
    for title, by_width in widths.items() if mapped else ():
        assert min(by_width[1920], default=0) >= min(by_width[1000], default=0), (title, by_width)
    if mapped:  # the digits are not drawn as maps
        assert min(widths[mapped][1920]) > 1.1 * min(widths[mapped][1000]), widths
    page.get_by_label("Toggle theme").click()
    wait(page, TURNED)
    page.set_viewport_size({"width": 800, "height": 900})
    page.get_by_label("Open drawer").click()
    page.get_by_label("Close drawer").wait_for()
    assert watch.errors == []
    assert watch.foreign == []
    assert server.complaints() == ""
