"""Settings: the base class of every method's `Config`, and `override`, which changes settings."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from workbench.errors import InputError, did_you_mean, reason


class Settings(BaseModel):
    """Base class of all configs: frozen; unknown names are refused; every field has a default, a description and a range."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    seed: int = Field(0, ge=0, lt=2**32, description="seed of every random draw of the run")


class Reads:
    """Marks a setting that names a file or a folder that the method reads."""


class Writes:
    """Marks a setting that names a file or a folder that the method writes, beside its run folder."""


class Processes:
    """Marks a setting that says how many processes compute a run."""


# The path of a file that the method reads or writes, or None; a string in JSON schema and forms.
ReadFile = Annotated[str | None, Reads()]
WriteFile = Annotated[str | None, Writes()]
S = TypeVar("S", bound=Settings)


def _odd(width: int) -> int:
    if width % 2 == 0:
        raise ValueError("must be odd, so that it has a middle")
    return width


Odd = Annotated[int, AfterValidator(_odd)]  # the width of a window or a patch


def named_once(names: tuple[str, ...], known: Collection[str], what: str) -> tuple[str, ...]:
    """The names, for a validator of a setting that lists some of `known`. what: one of them in words, as in "a rival".

    Raises ValueError for a name that is not known, or that stands twice.
    """
    for name in names:
        if name not in known:
            kind = what.split(" ", 1)[1]
            raise ValueError(f"there is no {kind} {name!r}; there are {', '.join(known)}.{did_you_mean(name, known)}")
    if len(set(names)) < len(names):
        raise ValueError(f"names {what} twice")
    return names


def files_read(config: Settings) -> dict[str, str]:
    """setting -> path, for all settings that name a file or folder to read.

    >>> class C(Settings):
    ...     weights: ReadFile = Field(None, description="weights to start from")
    >>> files_read(C(weights="net.safetensors"))
    {'weights': 'net.safetensors'}
    """
    return _paths(config, Reads)


def files_written(config: Settings) -> dict[str, str]:
    """setting -> path, for all settings that name a file or folder to write."""
    return _paths(config, Writes)


def processes(config: Settings) -> int:
    """How many processes compute a run with these settings.

    >>> class C(Settings):
    ...     workers: Annotated[int, Processes()] = Field(4, description="ranks")
    >>> processes(C()), processes(Settings())
    (4, 1)
    """
    return max(_marked(config, Processes).values(), default=1)


def _paths(config: Settings, marker: type) -> dict[str, str]:
    return {name: str(path) for name, path in _marked(config, marker).items() if path}


def _marked(config: Settings, marker: type) -> dict[str, Any]:
    fields = type(config).model_fields.items()
    return {n: getattr(config, n) for n, f in fields if any(isinstance(m, marker) for m in f.metadata)}


def override(config: S, changes: Mapping[str, Any] | None = None) -> S:
    """A new config with `changes` applied; strings are read as the field's type ("500" -> 500; "1,2" and "[1, 2]" -> list).

    Raises InputError for a name the config does not have (with a did-you-mean) or a value out of range.

    >>> class C(Settings):
    ...     steps: int = Field(500, ge=1)
    >>> override(C(), {"steps": "20"}).steps
    20
    """
    names = type(config).model_fields
    values = config.model_dump()
    for name, value in (changes or {}).items():
        if name not in names:
            raise InputError(
                f"There is no setting {name!r}; the settings are {', '.join(names)}.{did_you_mean(name, names)}"
            )
        values[name] = _read(value, _is_list(names[name].annotation))
    try:
        return type(config).model_validate(values)
    except ValidationError as error:
        lines = []
        for e in error.errors():
            name = str(e["loc"][0]) if e["loc"] else "config"
            about = names[name].description if name in names else None
            lines.append(f"setting {name}={e['input']!r}: {reason(e)}" + (f" ({about})" if about else ""))
        raise InputError("; ".join(lines)) from None


def _read(value: Any, is_list: bool) -> Any:
    """JSON text of a list or object is parsed, `none` and `null` become None; pydantic converts all other text. Where a list is expected,
    `a,b` and `[a, b]` are lists too: shells take the quotes of JSON away."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text[:1] in ("[", "{"):
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(text)
    if text.lower() in ("none", "null"):
        return None
    if is_list and text[:1] != "{":
        inside = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
        return [part.strip() for part in inside.split(",") if part.strip()]
    return value


def _is_list(annotation: Any) -> bool:
    """Whether a field takes a list: a tuple or list, or one of several types among which is one."""
    return get_origin(annotation) in (tuple, list) or any(_is_list(a) for a in get_args(annotation) if a is not annotation)
