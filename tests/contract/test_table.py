"""The table of methods: names lead to rooms, and a wrong name to a suggestion."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import methods
from workbench.errors import InputError
from workbench.methods import METHODS, load


def test_an_unknown_method_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match=r"There is no method 'local_rx'; the methods are rx, .*Did you mean 'local-rx'\?"):
        load("local_rx")


def test_the_table_imports_no_room(importing):
    (modules,) = importing("import workbench.methods")
    assert "workbench.methods" in modules
    assert not [name for name in modules if name.startswith("workbench.methods.")]


@pytest.mark.parametrize("name", [n for n in METHODS if (Path(methods.__file__).parent / n).is_dir()])
def test_a_folder_gives_its_names_when_they_are_used(name):
    room = load(name)
    assert set(room.__all__) <= set(dir(room))
    for public in room.__all__:
        where = getattr(getattr(room, public), "__module__", room.__name__)
        assert where.startswith(room.__name__), f"{public} is that of {where}"
    with pytest.raises(AttributeError, match=f"module '{room.__name__}' has no attribute 'SMOCK'"):
        _ = room.SMOCK
