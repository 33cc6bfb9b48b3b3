"""Chips that tests write themselves."""

from pathlib import Path

import pytest
from PIL import Image


def paint(path: Path, value: int, size=(5, 4), mode="RGB") -> Path:
    """One image of a single value; size is width, height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value, 0, 255 - value) if mode == "RGB" else value).save(path)
    return path


@pytest.fixture
def collection(tmp_path) -> Path:
    """Two chips of each of two classes for training, and two for testing."""
    root = tmp_path / "set"
    for i, (split, name) in enumerate([("train", "river"), ("train", "forest"), ("test", "river"), ("test", "forest")]):
        for j in range(2):
            paint(root / split / name / f"{j}.png", 10 * i + j)
    return root
