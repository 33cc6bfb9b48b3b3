"""Reports whose processes begin with the large libraries loaded."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.forking import forking
from workbench.reports import notebook


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with forking(tmp_path_factory.mktemp("forks")) as python:
        yield python


@pytest.fixture(scope="module")
def forked(forks: str) -> Iterator[None]:
    """Kernels and checks of `report` are forks.

    `test_plain_papermill` and the report of `tests/toy` have fresh interpreters, as for users.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebook, "sys", SimpleNamespace(executable=forks))
        yield
