"""Opens the built site from the disk in a headless Chromium without a network, searches in it, and looks at every request.

    python -m docs.generate.browse site [PICTURES]

Fails where a page asks for anything but a file of the site, where a script fails, or where the search finds nothing. With a folder
PICTURES it keeps a picture of some pages in light and dark.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PAGES = ("index.html", "methods/tdds.html", "api/workbench.data.catalog.html", "catalogue.html", "design/index.html")


def main(site: str = "site", pictures: str | None = None) -> int:
    """Prints what is wrong with the site as a browser sees it; 0 if nothing is."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("Chromium was not found, so the site was not opened in a browser (`make browser` installs it)")
        return 0
    root = Path(site).resolve().as_uri()
    found: list[str] = []

    def foreign(url: str) -> list[str]:
        return [] if url.startswith((root, "data:", "blob:", "about:")) else [f"a page asks for {url}"]

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": 1400, "height": 900})
            page = context.new_page()
            page.on("request", lambda request: found.extend(foreign(request.url)))
            page.on("pageerror", lambda error: found.append(f"a script fails: {error}"))
            for name in PAGES:
                page.goto(f"{root}/{name}")
                page.wait_for_load_state("networkidle")
                if pictures:
                    page.screenshot(path=Path(pictures) / f"{name.replace('/', '-')[:-5]}-{scheme}.png")
            page.goto(f"{root}/index.html")
            page.keyboard.press("/")
            page.keyboard.type("open_scene", delay=20)
            try:
                page.wait_for_selector(".md-search-result__item", timeout=10_000)
            except Exception:
                found.append("the search for open_scene finds nothing")
            if pictures:
                page.screenshot(path=Path(pictures) / f"search-{scheme}.png")
            context.close()
        browser.close()
    print("\n".join(dict.fromkeys(found)) or f"{site}: works from the disk without a network, and its search works")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
