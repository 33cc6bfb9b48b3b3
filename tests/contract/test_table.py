"""The table of methods: names lead to rooms, and a wrong name to a suggestion."""

from __future__ import annotations

import pytest

from workbench.errors import InputError
from workbench.methods import load


def test_an_unknown_method_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match=r"There is no method 'local_rx'; the methods are rx, .*Did you mean 'local-rx'\?"):
        load("local_rx")


def test_the_table_imports_no_room(importing):
    (modules,) = importing("import workbench.methods")
    assert "workbench.methods" in modules
    assert not [name for name in modules if name.startswith("workbench.methods.")]
