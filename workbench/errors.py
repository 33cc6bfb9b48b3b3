"""InputError, the one error for users, and the did-you-mean text for its messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
