"""How the numbers and colours of a mask become changed, not changed and not labelled."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data.labels import as_change
from workbench.errors import InputError


@pytest.mark.parametrize(
    ("values", "truth", "says"),
    [
        ([[0, 1]], [[0, 1]], "1 of 2"),
        ([[0, 255]], [[0, 1]], "1 of 2"),
        ([[0, 65535]], [[0, 1]], "1 of 2"),
        (
            [[0, 3, 100, 127, 128, 255]],
            [[0, 1, 1, 1, 1, 1]],
            "5 classes above 0",
        ),  # few levels, not black and white: classes
        ([[0, 3, 250, 255]], [[0, 0, 1, 1]], "lossy"),
        ([list(range(0, 256, 5))], [[0] * 26 + [1] * 26], "lossy"),  # many levels: grey noise, above 127 is changed
        ([[0, 1, 4, 6]], [[0, 1, 1, 1]], "3 classes above 0 were merged"),
        ([[0, 1, 255]], [[0, 1, -1]], "255 is taken as not labelled"),
        ([[0, -1, 1]], [[0, -1, 1]], "1 of 2"),
        ([[0.0, np.nan, 1.0]], [[0, -1, 1]], "1 of 2"),
        ([[False, True]], [[0, 1]], "1 of 2"),
        ([[[0, 9]], [[0, 200]], [[0, 30]]], [[0, 1]], "colours"),
        ([[[0, 255]], [[2, 250]], [[1, 253]]], [[0, 1]], "1 of 2"),  # grey in three bands
        ([[0, 0]], [[0, 0]], "0 of 2"),
    ],
)
def test_labels(values, truth, says):
    found, note = as_change(np.array(values), "m")
    assert found.tolist() == truth
    assert found.dtype == np.int16
    assert says in note


def test_values_that_are_no_labels():
    with pytest.raises(InputError, match="fractions"):
        as_change(np.array([[0.2, 0.8]]), "m")
    with pytest.raises(InputError, match="numbers"):
        as_change(np.array([["a"]]), "m")
