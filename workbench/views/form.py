"""Widgets made from any Config: label, description and range come from the field of the Config.

form = Form(Config, first=("steps", "passes"))
form.panel, form.overrides, form.error
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmui

from workbench.config import Settings, override
from workbench.errors import InputError
from workbench.views.screen import grid

NONE = "none"


class Form:
    """One widget per field of a Config. `first` names the fields that are always visible; the others are in a collapsed section."""

    def __init__(
        self, config: type[Settings], *, first: Sequence[str] = (), values: Mapping[str, Any] | None = None
    ) -> None:
        self.config = config
        self._defaults = config().model_dump(mode="json")
        schema = config.model_json_schema()["properties"]
        self._lists = {name: items for name, spec in schema.items() if (items := _items(spec)) is not None}
        self.widgets = {name: _widget(name, spec, self._defaults[name]) for name, spec in schema.items()}
        self._watchers: list[Callable[[], None]] = []
        self.alert = pmui.Alert("", severity="error", visible=False, margin=(4, 0), sizing_mode="stretch_width")
        for widget in self.widgets.values():
            widget.param.watch(self._changed, "value")
        seen = [n for n in first if n in self.widgets] or list(self.widgets)
        hidden = [n for n in self.widgets if n not in seen]
        self.reset = pmui.Button(label="Defaults", variant="text", size="small", icon="restart_alt", margin=(0, 0))
        self.reset.on_click(lambda _: self.set({}))
        self.more = pmui.Details(
            _columns(self.widgets[n] for n in hidden),
            title=f"{len(hidden)} more settings",
            collapsed=True,
            sizing_mode="stretch_width",
            margin=(4, 0),
            visible=bool(hidden),
        )
        self.panel = pn.Column(
            _columns(self.widgets[n] for n in seen), self.more, self.reset, self.alert, sizing_mode="stretch_width", margin=0
        )
        self.set(values or {})

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings that differ from the defaults, as `override` takes them."""
        now = {name: self._value(name) for name in self.widgets}
        return {name: value for name, value in now.items() if value != self._defaults[name]}

    @property
    def error(self) -> str:
        """Error message for the current settings; empty when they are valid."""
        try:
            override(self.config(), self.overrides)
        except InputError as error:
            return str(error)
        return ""

    def set(self, values: Mapping[str, Any]) -> None:
        """Fill in overrides; every other field is reset to its default."""
        for name, widget in self.widgets.items():
            value = values.get(name, self._defaults[name])
            widget.value = _text(value) if isinstance(widget, pmui.TextInput) else _option(widget, value)

    def on_change(self, then: Callable[[], None]) -> None:
        """Call `then` after each change of a setting."""
        self._watchers.append(then)

    def disable(self, disabled: bool) -> None:
        """Disable or enable all widgets."""
        for widget in (*self.widgets.values(), self.reset):
            widget.disabled = disabled

    def _value(self, name: str) -> Any:
        widget = self.widgets[name]
        if isinstance(widget, pmui.TextInput):
            text = widget.value.strip()
            if name in self._lists and (text or self._defaults[name] is not None):
                return [_read(part.strip(), self._lists[name]) for part in text.split(",") if part.strip()]
            if text == "":
                return self._defaults[name] if self._defaults[name] is not None else None
            return int(text) if text.lstrip("+-").isdigit() else text
        if widget.value == NONE and self._defaults[name] is None:
            return None
        return self._defaults[name] if widget.value is None else widget.value

    def _changed(self, _: object) -> None:
        self.alert.object, self.alert.visible = self.error, bool(self.error)
        for then in self._watchers:
            then()


def _columns(widgets: Iterable[Any]) -> pn.Column:
    """One column in a side bar, several where the page gives the form more room."""
    return grid(*widgets, least=200, gap=14)


def _widget(name: str, spec: Mapping[str, Any], default: Any) -> Any:
    """The widget for one property of a JSON schema, with its name as label, its description and its range."""
    shared = {
        "label": name.replace("_", " "),
        "description": str(spec.get("description", "")),
        "sizing_mode": "stretch_width",
        "margin": (6, 0),
        "size": "small",
    }
    kinds = [o.get("type") for o in spec.get("anyOf", [])] or [spec.get("type")]
    if "enum" in spec:
        return pmui.Select(options=list(spec["enum"]), value=default, **shared)
    named = [choice for o in spec.get("anyOf", []) for choice in o.get("enum", [o["const"]] if "const" in o else [])]
    if named:
        return pmui.Select(options=[NONE, *named], value=_text(default) or NONE, **shared)
    if "array" in kinds:
        return pmui.TextInput(
            value=_text(default), placeholder="none", helper_text="several values, separated by commas", **shared
        )
    if kinds == ["boolean"]:
        shared.pop("sizing_mode")
        return pmui.Switch(value=default, **shared)
    low = spec.get("minimum", spec.get("exclusiveMinimum"))
    high = spec.get("maximum", spec.get("exclusiveMaximum"))
    if kinds == ["integer"]:
        low = low + 1 if "exclusiveMinimum" in spec else low
        high = high - 1 if "exclusiveMaximum" in spec else high
    span = _span(spec, low, high)
    if kinds == ["integer"]:
        return pmui.IntInput(value=default, start=low, end=high, step=_step(default), helper_text=span, **shared)
    if kinds == ["number"]:
        return pmui.FloatInput(
            value=default, step=max(abs(default), 1e-6) / 10, format="0.[000000]", helper_text=span, **shared
        )
    return pmui.TextInput(
        value=_text(default),
        placeholder="none",
        helper_text="a text, or empty for none" if "string" in kinds else "a number, or empty for none",
        **shared,
    )


def _items(spec: Mapping[str, Any]) -> set[str] | None:
    """JSON types of the items, for a property that takes a list; else None."""
    for option in spec.get("anyOf", [spec]):
        if option.get("type") == "array":
            inner = option.get("prefixItems", [option.get("items", {})])
            return {kind for item in inner for kind in [o.get("type") for o in item.get("anyOf", [item])] if kind}
    return None


def _read(text: str, kinds: set[str]) -> Any:
    """One item of a list; a text that is not of these types stays a text, and the Config says what is wrong."""
    for kind, number in (("integer", int), ("number", float)):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return number(text)
    return text


def _text(value: Any) -> str:
    """A value as text for an input field: empty for None, several separated by commas."""
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _option(widget: Any, value: Any) -> Any:
    return NONE if value is None and isinstance(widget, pmui.Select) else value


def _span(spec: Mapping[str, Any], low: Any, high: Any) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f"{'above' if 'exclusiveMinimum' in spec and spec.get('type') == 'number' else 'from'} {low:,}"
    if low is None:
        return f"{'below' if 'exclusiveMaximum' in spec else 'up to'} {high:,}"
    return f"{low:,} to {high:,}"


def _step(default: int) -> int:
    return 10 if default >= 100 else 1
