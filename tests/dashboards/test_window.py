"""What makes a page quick to build: defaults of Bokeh that are remembered, parts that tag only themselves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bokeh.core.has_props import HasProps
from bokeh.core.property.descriptors import PropertyDescriptor
from bokeh.document import Document
from bokeh.model import DataModel
from bokeh.models import ColorBar, HoverTool, LinearColorMapper
from bokeh.plotting import figure
from bokeh.themes import Theme

from workbench.pages.frame import defaults
from workbench.pages.frame.defaults import remember_defaults
from workbench.pages.frame.window import THEME
from workbench.views import federation
from workbench.views.looks import nth


def as_bokeh_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bokeh's own functions, until the test ends."""
    monkeypatch.setattr(HasProps, "themed_values", lambda self: getattr(self, "__themed_values__", None))
    monkeypatch.setattr(HasProps, "_overridden_defaults", classmethod(defaults._overridden))
    monkeypatch.setattr(PropertyDescriptor, "has_unstable_default", defaults._has_unstable_default)
    monkeypatch.setattr(PropertyDescriptor, "instance_default", defaults._instance_default)


@pytest.mark.parametrize("colour", [None, "#123456"])
def test_a_document_is_the_same_with_remembered_defaults(colour: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    remember_defaults()
    drawn = figure(title="a", tools="pan,wheel_zoom,box_zoom,reset")
    drawn.scatter([1, 2], [3, 4])
    drawn.add_tools(HoverTool())
    drawn.add_layout(ColorBar(color_mapper=LinearColorMapper(palette=["#000000"])), "right")
    document = Document(theme=Theme(json={"attrs": {"Axis": {"axis_label_text_color": colour}} if colour else {}}))
    document.add_root(drawn)
    ours = document.to_json()
    assert drawn.xaxis.axis_label_text_color == (colour or "#444444")
    values = [model.properties_with_values() for model in drawn.references()]
    as_bokeh_is(monkeypatch)
    assert document.to_json() == ours
    assert [model.properties_with_values() for model in drawn.references()] == values
    document.theme = Theme(json={})
    assert drawn.xaxis.axis_label_text_color == "#444444"


def test_models_do_not_share_a_default_that_can_be_changed() -> None:
    remember_defaults()
    one, other = figure(), figure()
    one.xaxis.major_label_overrides[1] = "a"
    one.tags.append("mine")
    assert other.xaxis.major_label_overrides == {}
    assert other.tags == []


def test_tabs_tag_only_themselves_and_all_parts_are_tagged(page: Any, scene_file: Path) -> None:
    explorer = page(scene_file)
    root = explorer.page().get_root()
    untagged = [m for m in root.select({"type": DataModel}) if not any(str(tag).startswith("__ref:") for tag in m.tags)]
    assert untagged == []
    model = SimpleNamespace(tags=[])  # it has no other models to walk through
    for _ in range(2):
        explorer.tabs._patch_datamodel_ref(model, "x")
    assert model.tags == ["__ref:x"]


def test_the_side_bar_moves_at_once() -> None:
    """While it slides, every figure would be laid out again in each frame."""
    for theme in THEME.values():
        assert theme["transitions"]["duration"] == {"enteringScreen": 0, "leavingScreen": 0}


def test_no_client_of_three_has_the_colour_of_what_is_sent() -> None:
    assert not {nth(n, "client").colour for n in range(3)} & set(federation.SENT.values())
