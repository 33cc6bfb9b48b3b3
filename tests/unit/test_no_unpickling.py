"""The package never unpickles a file: a file of a stranger must not be able to run code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench

FILES = sorted(Path(workbench.__file__).parent.rglob("*.py"))
READS = {  # call -> keyword that must be given, and its value; None: never allowed
    "pickle.load": None,
    "pickle.loads": None,
    "pickle.Unpickler": None,
    "joblib.load": None,
    "pd.read_pickle": None,
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
}


def unsafe(source: str) -> Iterator[str]:
    """Calls of a module that can unpickle, as `line: call`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (call := ast.unparse(node.func)) in READS:
            must = READS[call]
            given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            if must is None or given.get(must[0]) is not must[1]:
                yield f"{node.lineno}: {call}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(FILES[0].parent).as_posix())
def test_nothing_unpickles(path: Path) -> None:
    assert list(unsafe(path.read_text())) == []


def test_what_unpickles_is_found() -> None:
    bad = "torch.load(p)\ntorch.load(p, weights_only=False)\nnp.load(p)\npickle.loads(b)\n"
    good = "torch.load(p, weights_only=True)\nnp.load(p, allow_pickle=False)\npickle.dumps(v)\n"
    assert list(unsafe(bad)) == ["1: torch.load", "2: torch.load", "3: np.load", "4: pickle.loads"]
    assert list(unsafe(good)) == []
