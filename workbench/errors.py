"""The one error a user of the workbench has to know, and the did-you-mean that goes into it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a name, a setting, a folder.

    The message says what was asked, what was found, and what to do. The command line prints it alone, without a
    traceback, and exits with code 2; everything else that is raised is a defect of ours.
    """


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`" Did you mean 'steps'?"`, or an empty string when nothing is near.

    >>> did_you_mean("stepz", ["steps", "seed"])
    " Did you mean 'steps'?"
    """
    near = difflib.get_close_matches(word, list(options), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
