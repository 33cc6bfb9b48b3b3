"""The toy on the watch page without a browser: an earlier run is drawn from its declaration."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import execution, runs
from workbench.event import drain
from workbench.pages.watch import Watch


def test_an_earlier_run_is_drawn_from_its_declaration(tmp_path: Path) -> None:
    """Without a browser: every kind of picture, at every step."""
    drain(execution.start("toy", "sim-coast-town", {"steps": 6}, tmp_path / "runs" / "earlier"))
    page = Watch("sim-coast-town", root=tmp_path / "runs", method="toy", run="earlier")
    try:
        drawn = page.declared
        assert drawn.curves[0].lines.lines.data["name"] == ["toy", "guess"]
        assert [len(x) for x in drawn.curves[0].lines.lines.data["xs"]] == [6, 6]
        assert list(drawn.curves[0].lines.levels.data["y"]) == [pytest.approx(1 / 6)]
        film = drawn.films[0]
        assert film.steps == [1, 2, 3, 4, 5, 6]
        film.stepper.slider.value = 2
        shown = film.views["score"].picture.array.values
        assert shown == pytest.approx(
            next(e for e in runs.replay(tmp_path / "runs" / "earlier") if e.step == 2).arrays["score"]
        )
        assert [s.view.picture.kind for s in drawn.stills] == ["classes", "boxes", "bars", "matrix"]
        assert [s.view.picture.title for s in drawn.stills][2:] == [
            "Bits of each layer",
            "How often one class becomes another",
        ]
        names = list(page.outcome.sides[0].which.options)
        assert [n.partition(":")[0] for n in names] == ["score", "labels", "probability", "box", "bits", "kept"]
        kinds = []
        for name in names:
            page.outcome.sides[0].which.value = name
            kinds.append(page.outcome.sides[0].view.picture.kind)
        assert kinds == ["map", "classes", "map", "boxes", "bars", "kept"]
        line = page.numbers.object  # the meaning and the unit of each headline metric stand below its value
        assert "contrast <b>" in line
        assert ">largest minus mean score<" in line
        assert "<b>0.1667 dB</b>" in line
        assert page.outcome.metrics.object.index("contrast") < page.outcome.metrics.object.index("error")
        assert "steps 6" in next(text for text in page.runner.earlier.options if "UTC" in text)
    finally:
        page.close()
