"""Looks: one title and one colour for everything that has a name, on pages and in figures."""

from __future__ import annotations

import ast
import itertools
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
from workbench.views.image import ImageView
from workbench.views.looks import look
from workbench.views.paper import anomaly, coresets, gradients
from workbench.views.plots import Frame

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


def test_a_curve_has_no_name_of_another_method():
    """Several methods have an untrained network as a control; a reference line of curves has its own look."""
    _, untrained = looks.looks_in_curves(["head_loss", "head_loss/untrained"], ["head_loss"])
    assert untrained == looks.REFERENCES["untrained"]
    assert untrained.title == "untrained"
    levels = ["auc_untrained", "auc_rx", "auc_ridge_rx", "auc_pca_rx"]
    found = looks.looks_in_curves(["auc", *levels], ["auc"])[1:]
    assert found == [looks.REFERENCES[n] for n in ("untrained", "rx", "ridge-rx", "pca-rx")]


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


# Machado et al. (2009): how linear red, green and blue are seen without the medium and without the long cones
EYES = {
    "all cones": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
APART = 14  # CIE 1976 distance; about six times the smallest visible one


def distance(one: str, other: str) -> float:
    """The smallest CIE 1976 distance of two colours in any of EYES."""
    return min(float(np.linalg.norm(_lab(one, eye) - _lab(other, eye))) for eye in EYES.values())


def _lab(colour: str, eye: np.ndarray) -> np.ndarray:
    value = np.array(looks.rgb(colour)) / 255
    linear = np.clip(eye @ np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz / (0.95047, 1.0, 1.08883))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_the_simulation_confuses_what_colour_blind_eyes_confuse():
    assert np.linalg.norm(_lab("#D9541E", EYES["all cones"]) - _lab("#8A8A00", EYES["all cones"])) > 50
    assert distance("#D9541E", "#8A8A00") < 3
    assert distance("#000000", "#FFFFFF") == pytest.approx(100, abs=0.1)


def confused(group: dict[str, looks.Look]) -> list[tuple[str, str]]:
    """Pairs of a group that neither colour nor dash tells apart; two names of one method are no pair."""
    return [
        (a, b)
        for a, b in itertools.combinations(group, 2)
        if (group[a].colour, group[a].dash, group[a].marker) != (group[b].colour, group[b].dash, group[b].marker)
        and group[a].dash == group[b].dash
        and distance(group[a].colour, group[b].colour) < APART
    ]


@pytest.mark.parametrize("name", ["ANOMALY", "CHANGE", "UNCERTAINTY", "SELECTORS", "COMPRESSORS", "PARTS"])
def test_lines_of_a_group_are_told_apart_by_colour_blind_eyes(name):
    assert confused(getattr(looks, name)) == []


def test_references_that_are_in_one_plot_are_told_apart_by_colour_blind_eyes():
    for names in (("rx", "ridge-rx", "pca-rx", "untrained"), ("sigma2", "sigma2_code")):
        assert confused({name: looks.REFERENCES[name] for name in names}) == []


def test_picks_and_runs_are_told_apart_by_colour_blind_eyes():
    assert confused({str(n): looks.nth(n, str(n)) for n in range(len(looks.PICKS))}) == []
    assert confused({"a": looks.Look("a", looks.ORANGE), "b": looks.Look("b", looks.OLIVE)}) == [("a", "b")]


def test_marks_on_an_image_have_different_forms():
    """The truth is an outline with a border, flagged pixels are filled, picks are rings with a border and a number."""
    frame = Frame()
    view = ImageView(frame)
    frame.fit(2, 2)
    view.flag(np.array([[True, False], [False, False]]), opacity=1.0)
    packed = int(view.mask.data["image"][0][0, 0])
    assert tuple(packed >> shift & 255 for shift in (0, 8, 16)) == looks.rgb(looks.FLAGGED)
    glyphs = [(r.glyph.__class__.__name__, r.data_source) for r in view.figure.renderers]
    assert glyphs.count(("Segment", frame.outline)) == 2  # the border, and the outline on top of it
    border, outline = [r.glyph for r in view.figure.renderers if r.data_source is frame.outline]
    assert border.line_width > outline.line_width
    assert (border.line_color, outline.line_color) == (looks.BORDER, looks.TRUTH)
    assert {name for name, source in glyphs if source is frame.marks} == {"Scatter", "Text"}
    assert distance(looks.TRUTH, looks.BORDER) > 90
    for roof in ("#B4402F", "#8C3A2B", "#D06A50"):  # of the simulated towns: flagged pixels stand out on them
        assert distance(looks.FLAGGED, roof) > 2 * APART
