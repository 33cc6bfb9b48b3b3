"""What another process gets when one of our own values is sent to it, as Dask sends lazy arrays to its workers.

No other test unpickles, and this one only what the test itself has pickled. The package unpickles no file at all: see
`tests/unit/test_no_unpickling.py`.
"""

from __future__ import annotations

import pickle
from typing import TypeVar

T = TypeVar("T")


def sent(value: T, *, most: int | None = None) -> T:
    """The value as another process gets it. most: bytes that it may take on the way at most."""
    packed = pickle.dumps(value)
    assert most is None or len(packed) <= most, f"{len(packed)} bytes are sent, {most} at most"
    return pickle.loads(packed)
