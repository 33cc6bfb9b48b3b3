"""The toy in the table of methods, here and in every process that a test starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.methods import METHODS

ROOT = Path(__file__).parents[2]

collect_ignore = ["site"]  # its import puts the toy into the table: the doctests of `make quick` must not do that


@pytest.fixture(scope="module", autouse=True)
def toy() -> Iterator[None]:
    """`METHODS` with the toy; nothing else in the package is told of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            METHODS,
            "toy",
            (
                "tests.toy.room",
                "Toy: brightness of pixels, sharpened step by step.",
            ),
        )
        before = os.environ.get("PYTHONPATH")
        places = [str(ROOT / "tests" / "toy" / "site"), str(ROOT), *([before] if before else [])]
        patch.setenv("PYTHONPATH", os.pathsep.join(places))
        yield
