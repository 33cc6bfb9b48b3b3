"""The only places where work leaves the process, each a thin layer on an existing engine."""

from __future__ import annotations

import os


def under_torchrun() -> bool:
    """Whether this process is one of several that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def is_follower() -> bool:
    """Whether this process is a rank other than 0 of torchrun: it computes, and leaves folders and words to rank 0."""
    return under_torchrun() and int(os.environ["RANK"]) > 0
