"""Work beyond one process: Dask tasks, ranks of torch.distributed, federations on Flower, supervised child processes. Each is a thin
layer on its engine.
"""

from __future__ import annotations

import os


def under_torchrun() -> bool:
    """Whether this process is one of several that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def is_follower() -> bool:
    """Whether this process is a rank other than 0 of torchrun: it computes, but only rank 0 writes folders and prints."""
    return under_torchrun() and int(os.environ["RANK"]) > 0
