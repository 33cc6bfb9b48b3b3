"""A run, or a comparison of runs, as one self-contained HTML page in the style of the reports.

write_page("runs/first", "first.html")
write_comparison(["runs/first", "runs/second"], "both.html")        # or both.png, the curves alone
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from workbench import runs
from workbench.errors import InputError
from workbench.reports.claims import provenance
from workbench.reports.html import page, report_page
from workbench.runs.collection import compared, curves, headline, labels
from workbench.runs.imported import imported
from workbench.views.kinds import pictures
from workbench.views.paper import base as figures
from workbench.views.paper.declared import together

NOTHING = {
    "about": "Method, scene, code, packages and threads are the same in all runs.",
    "config": "No setting differs.",
    "metrics": "No run has metrics.",
}


def write_page(folder: str | Path, out: str | Path) -> Path:
    """Write the page of a run to `out`; for a report, its `report.html`."""
    folder, out = Path(folder), Path(out)
    about = runs.read(folder)
    report = folder / "report.html"
    _write(out, report_page(folder) if report.exists() else _page(folder, about))
    return out


def _write(out: Path, text: str) -> None:
    with runs.writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        runs.replace(out, lambda f: f.write(text.encode()))


def _page(folder: Path, about: dict[str, Any]) -> str:
    scene = about.get("scene") or {}
    scene_title = scene.get("title") or scene.get("id") or "a scene"
    title = f"{about['method']} on {scene_title}"
    numbers = runs.metrics(folder)
    parts = [f"<h1>{escape(title)}</h1>", _outcome(about, numbers), "<h2>Command and settings</h2>"]
    if origin := imported(folder):
        parts.insert(1, f'<p class="simulated"><b>Made elsewhere</b>: this run was {escape(str(origin))}.</p>')
    parts.append(f"<p>{escape(str(about.get('command', 'not noted')))}</p>")
    settings = [(k, str(v)) for k, v in (about.get("config") or {}).items()]
    parts.append(_table(settings, "<b>Table 1.</b> All settings of the run."))
    parts.append("<h2>Data</h2>")
    if scene.get("simulated"):
        parts.append(f'<p class="simulated"><b>Simulated scene.</b> {escape(str(scene["simulated"]))}</p>')
    keys = ("id", "title", "source", "citation", "licence", "sha256", "fingerprint", "digest", "source_hash", "notes")
    parts.append(_table([(k, str(scene[k])) for k in keys if scene.get(k)], "<b>Table 2.</b> The scene, with its hash."))
    parts.append("<h2>Results</h2>")
    n = 0
    drawn = curves([folder])
    if drawn:
        n += 1
        caption = f"<b>Figure {n}.</b> All scalars that were logged more than once, against the step" + _left_out(drawn)
        parts.append(figures.captioned(figures.overlaid(drawn), caption, f"Curves of {', '.join(list(drawn)[:12])}").data)
    drawn_result = together(pictures(runs.result(folder))) if (folder / "result.nc").exists() else None
    if drawn_result is not None:
        n += 1
        caption = f"<b>Figure {n}.</b> Variables of the result, each on its own colour scale up to the 99.5th percentile."
        parts.append(figures.captioned(drawn_result, caption, f"Variables of the result of {title}").data)
    if numbers:
        parts.append(_table([(k, f"{v:.6g}") for k, v in numbers.items()], "<b>Table 3.</b> All numbers of the run."))
    parts.append("<h2>Provenance</h2>")
    parts.append(_table(provenance([folder]), "<b>Provenance.</b>"))
    return page(title, "\n".join(parts))


def _outcome(about: dict[str, Any], numbers: dict[str, float]) -> str:
    if about["status"] != "finished":
        return f"<p><b>This run {escape(about['status'])}.</b> {escape(str(about.get('error') or ''))}</p>"
    result = ", ".join(f"{name} {numbers[name]:.4f}" for name in headline(numbers, about.get("headline") or ())[:4])
    return f"<p><b>Result.</b> {escape(result) or 'The run has finished; it has no metrics.'}</p>"


def _left_out(drawn: dict[str, Any]) -> str:
    return f"; the first 12 of {len(drawn)}." if len(drawn) > 12 else "."


def _table(rows: Sequence[tuple[str, str]], caption: str) -> str:
    return str(figures.table(["", ""], rows, caption).data)


def write_comparison(folders: Sequence[str | Path], out: str | Path) -> Path:
    """Write the comparison of runs to `out`: a page (.html) with differences, curves and numbers, or the curves (.png).

    Raises InputError for any other suffix, and for a .png of runs without curves.
    """
    chosen, out = [Path(f) for f in folders], Path(out)
    if out.suffix not in (".html", ".png"):
        raise InputError(f"A comparison is written as .html or as .png; got {out.name!r}.")
    drawn = curves(chosen)
    if out.suffix == ".png":
        if not drawn:
            raise InputError("No scalar of these runs was logged more than once, so there are no curves; choose .html.")
        with runs.writing(out):
            runs.replace(out, lambda f: figures.overlaid(drawn).savefig(f, format="png", dpi=figures.DPI))
        return out
    table, names = compared(chosen), labels(chosen)
    parts = [f"<h1>{len(chosen)} runs compared</h1>"]
    for n, (part, caption) in enumerate(
        (
            ("about", "Facts of the runs that differ."),
            ("config", "Settings that differ."),
            ("metrics", "All numbers; the last column is the range, largest minus smallest."),
        ),
        1,
    ):
        rows = [
            (name, *(_as_text(v) for v in values), *([_range(values)] if part == "metrics" else []))
            for name, values in table[part].items()
        ]
        if rows:
            columns = ["", *names, *(["range"] if part == "metrics" else [])]
            parts.append(str(figures.table(columns, rows, f"<b>Table {n}.</b> {caption}").data))
        else:
            parts.append(f"<p>{NOTHING[part]}</p>")
    if drawn:
        caption = "<b>Figure 1.</b> All scalars that were logged more than once, against the step" + _left_out(drawn)
        parts.insert(3, str(figures.captioned(figures.overlaid(drawn), caption, f"Curves of {', '.join(names)}").data))
    _write(out, page(f"{len(chosen)} runs compared", "\n".join(parts)))
    return out


def _as_text(value: Any) -> str:
    return "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _range(values: Sequence[Any]) -> str:
    numbers = [v for v in values if isinstance(v, float | int)]
    return f"{max(numbers) - min(numbers):.3g}" if len(numbers) > 1 else "–"
