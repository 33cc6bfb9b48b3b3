"""Looks: one title and one colour for everything that has a name, on pages and in figures."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex

import workbench
from workbench.baselines.compression import RIVALS as COMPRESSED
from workbench.methods.tdds.settings import RIVALS as SELECTED
from workbench.views import looks
from workbench.views.coresets import ClassBars, DataMap
from workbench.views.looks import look
from workbench.views.paper import anomaly, coresets, gradients

PACKAGE = Path(workbench.__file__).parent
HEX = re.compile(r"#[0-9A-Fa-f]{6}\b")


def test_every_rival_that_a_method_knows_has_a_look():
    assert set(COMPRESSED) <= set(looks.COMPRESSORS)
    assert {"tdds", *SELECTED} <= set(looks.SELECTORS)


def test_a_title_has_one_colour_in_all_groups():
    colours: dict[str, set[str]] = {}
    for group in looks.GROUPS:
        for one in group.values():
            colours.setdefault(one.title, set()).add(one.colour)
    several = {title: found for title, found in colours.items() if len(found) > 1}
    assert set(several) == {"dropped"}  # grey in plots, blue on a scene where grey would not show


def test_colours_of_a_group_differ():
    for group in (looks.ANOMALY, looks.CHANGE, looks.SELECTORS, looks.COMPRESSORS, looks.UNCERTAINTY):
        by_title = {one.title.removeprefix("BSDM trained"): one.colour for one in group.values() if one.title != "BSDM"}
        assert len(set(by_title.values())) == len(by_title)


@pytest.mark.process
def test_an_unknown_name_keeps_its_own_name_and_its_colour_in_every_process():
    one = look("somebody's new method")
    assert (one.title, one.colour in looks.PICKS, one.dash in looks.DASHES) == ("somebody's new method", True, True)
    code = 'from workbench.views.looks import look; print(look("somebody\'s new method"))'
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert again.strip() == repr(one)
    assert len({look(f"method {n}").colour for n in range(40)}) == len(looks.PICKS)


def test_kept_is_one_colour_on_the_page_and_in_the_figures():
    kept = looks.STATES["kept"].colour
    easy, score, mask = np.array([0.1, 0.9]), np.array([2.0, 1.0]), np.array([True, False])
    page = DataMap()
    page.show(easy, score, ["a", "b"], mask, None)
    axes = coresets.data_map(easy, score, mask, None, "S").axes[0]
    drawn = {line.get_label(): to_hex(line.get_color()).upper() for line in axes.lines}
    assert page.source.data["color"] == [drawn["kept"], drawn["dropped"]] == [kept, looks.STATES["dropped"].colour]
    assert kept in {renderer.glyph.fill_color for renderer in ClassBars().figure.renderers}
    painted = coresets.painted(np.zeros((1, 2, 3)), np.zeros((1, 2)), np.array([[1.0, 0.0]]), "S")
    assert to_hex(painted.axes[1].images[-1].get_array()[0, 0]).upper() == kept
    import xarray as xr

    sent = xr.DataArray(np.ones((5, 2, 2)), {"quantity": list(gradients.QUANTITIES)}, ("quantity", "row", "column"))
    sent = sent.assign_coords(row=[0, 1], column=[0, 1]).assign_attrs(of_rows=2, of_columns=2)
    last = gradients.importance_maps({"layer": sent}).axes[4].images[0]
    assert to_hex(last.cmap(1.0)).upper() == kept


def test_a_detector_is_drawn_in_its_look():
    curve = (np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    names = ["RX", "BSDM untrained", "a newcomer"]
    axes = anomaly.roc({n: [curve] for n in names}, 100).axes[0]
    for line, name in zip(axes.lines, names, strict=True):
        assert (to_hex(line.get_color()).upper(), line.get_linestyle()) == (look(name).colour, look(name).line)


@pytest.mark.parametrize("path", [p for part in ("views", "pages") for p in sorted((PACKAGE / part).rglob("*.py"))], ids=str)
def test_nobody_else_gives_a_colour_to_a_name(path):
    """No colour stands in one tuple, or as the value of one key, with a name or a title that has a look."""
    if path.name == "looks.py":
        return
    known = {text for group in looks.GROUPS for name, one in group.items() for text in (name, one.title)}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Dict):
            pairs = [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None]
        elif isinstance(node, ast.Tuple):
            pairs = [(node, node)]
        else:
            continue
        for key, value in pairs:
            if any(HEX.fullmatch(text) for text in _texts(value)):
                assert not known & set(_texts(key)), f"line {node.lineno} gives {_texts(key)} a colour of its own"


def _texts(node):
    return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
