"""Figures for reports: every axis has a unit, gaps stay gaps, the numbers drawn are the numbers given."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from workbench.views.paper import anomaly, base


def labels(figure) -> list[tuple[str, str]]:  # noqa: ANN001
    return [(a.get_xlabel(), a.get_ylabel()) for a in figure.axes if a.axison]


def test_scene_with_wavelengths_and_truth(small_scene: xr.Dataset) -> None:
    drawn = anomaly.scene(small_scene)
    assert labels(drawn)[0] == ("column (pixels)", "row (pixels)")
    assert labels(drawn)[1] == ("wavelength (nm)", "reflectance (1)")
    names = [t.get_text() for t in drawn.axes[1].get_legend().get_texts()]
    marked = int((small_scene["truth"] > 0).sum())
    assert names == [f"background ({576 - marked} pixels)", f"anomalous ({marked} pixels)"]


def test_spectra_leave_bad_bands_out(small_scene: xr.Dataset) -> None:
    bad = small_scene.assign_coords(good=("band", np.arange(30) != 7)).drop_vars("wavelength")
    drawn = anomaly.scene(bad)
    assert labels(drawn)[1][0] == "band (number; wavelengths not known)"
    line = drawn.axes[1].lines[0]
    assert np.isnan(line.get_ydata()[7])
    assert np.isfinite(line.get_ydata()).sum() == 29


def test_score_maps_share_the_rank_scale() -> None:
    scores = {"RX": np.arange(100.0).reshape(10, 10), "PCA-RX": 1e6 * np.arange(100.0).reshape(10, 10)}
    drawn = anomaly.score_maps(scores, None, {"RX": "AUC 0.9"})
    first, second = (a.images[0] for a in drawn.axes[:2])
    # the highest of 100 scores: 1 % of the pixels are as high, -log10 is 2; the lowest: all of them, 0
    assert (first.get_array().max(), first.get_array().min()) == pytest.approx((2.0, 0.0))
    assert np.array_equal(first.get_array(), second.get_array())
    assert drawn.axes[0].get_title() == "RX\nAUC 0.9"
    assert drawn.axes[-1].get_ylabel() == "pixels that score at least as high"


def test_controls_print_mean_and_spread() -> None:
    drawn = base.controls({"RX": [0.9], "RP-RX": [0.94, 0.95, 0.96]})
    assert [t.get_text() for t in drawn.axes[0].texts] == ["0.9000", "0.9500 ± 0.0100"]
    assert "no unit" in drawn.axes[0].get_xlabel()


@pytest.mark.parametrize(("value", "text"), [(1.0, "1"), (36.2, "36"), (8879.4, "8879"), (5.1e6, "5.1·10⁶")])
def test_short_numbers(value: float, text: str) -> None:
    assert anomaly._short(value) == text


def test_captioned_is_self_contained_and_escaped() -> None:
    page = base.captioned(base.controls({"RX": [0.9]}), "<b>Figure 1.</b>", 'a "quoted" <alt>').data
    assert 'alt="a &quot;quoted&quot; &lt;alt&gt;"' in page
    assert 'src="data:image/png;base64,iVBOR' in page
    assert "<figcaption><b>Figure 1.</b></figcaption>" in page


def test_table_escapes_cells() -> None:
    page = base.table(["a", "b"], [("<x>", "0.1 ± 0.2")], "caption").data
    assert "&lt;x&gt;" in page
    assert "0.1&nbsp;±&nbsp;0.2" in page
