"""InputError, the one error for users, and texts for its messages: did-you-mean, and the reasons of pydantic."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """An input of the user cannot be used: a file, a name, a setting, a folder.

    The message says what was asked, what was found, and what to do. The command line prints the message without a
    traceback and exits with code 2. Every other exception is a defect of the workbench.
    """


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`" Did you mean 'steps'?"`, or an empty string when no option is similar.

    >>> did_you_mean("stepz", ["steps", "seed"])
    " Did you mean 'steps'?"
    """
    near = difflib.get_close_matches(word, list(options), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def reason(detail: Mapping[str, Any]) -> str:
    """Why pydantic refused a value, from one of `ValidationError.errors()`; its "Value error," tells a user nothing.

    >>> reason({"msg": "Value error, must be odd"}), reason({"msg": "Field required"})
    ('must be odd', 'Field required')
    """
    return str(detail["msg"]).removeprefix("Value error, ")


def reasons(error: ValidationError) -> str:
    """All that pydantic refused, in one line: `place: reason; place: reason`."""
    told = ((".".join(map(str, detail["loc"])), reason(detail)) for detail in error.errors())
    return "; ".join(f"{place}: {why}" if place else why for place, why in told)
