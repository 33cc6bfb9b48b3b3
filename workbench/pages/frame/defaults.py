"""Makes Bokeh quick at what it is asked some 75,000 times for each page: the defaults of its properties.

For every default value Bokeh raises and catches an exception if no theme is set, merges the defaults of all base classes, imports
a module to see whether the default is a function, and checks that it is valid. None of these answers changes after a class has
been made, so they are remembered: see *Many visitors* in `benchmarks/README.md`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from bokeh.core.has_props import HasProps
from bokeh.core.property.descriptors import PropertyDescriptor

PLAIN = {bool, int, float, str, type(None)}  # a value of these types can be shared by all models of a class

_overridden = HasProps._overridden_defaults.__func__  # type: ignore[attr-defined]
_has_unstable_default = PropertyDescriptor.has_unstable_default
_instance_default = PropertyDescriptor.instance_default
_plain: dict[tuple[PropertyDescriptor, type[HasProps]], Any] = {}


@cache
def _overridden_once(cls: type[HasProps]) -> dict[str, Any]:
    return _overridden(cls)


@cache
def _unstable_once(descriptor: PropertyDescriptor, cls: type[HasProps]) -> bool:
    return _has_unstable_default(descriptor, cls)  # type: ignore[arg-type]  # it reads attributes of the class only


def _themed_values(self: HasProps) -> dict[str, Any] | None:
    return self.__dict__.get("__themed_values__")


def _unstable(self: PropertyDescriptor, obj: HasProps) -> bool:
    return _unstable_once(self, type(obj))


def _default(self: PropertyDescriptor, obj: HasProps) -> Any:
    themed, key = _themed_values(obj), (self, type(obj))
    if themed is not None and self.name in themed:
        return _instance_default(self, obj)
    if key in _plain:
        return _plain[key]
    value = _instance_default(self, obj)
    if type(value) in PLAIN and not _unstable(self, obj):
        _plain[key] = value
    return value


@cache
def remember_defaults() -> None:
    """Remember the defaults of all classes of Bokeh from now on."""
    HasProps.themed_values = _themed_values  # type: ignore[method-assign]
    HasProps._overridden_defaults = classmethod(_overridden_once)  # type: ignore[assignment, method-assign, arg-type]
    PropertyDescriptor.has_unstable_default = _unstable  # type: ignore[method-assign]
    PropertyDescriptor.instance_default = _default  # type: ignore[method-assign]
