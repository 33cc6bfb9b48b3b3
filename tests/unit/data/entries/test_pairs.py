"""The entries of real pairs: what they say of themselves is what their files hold."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data import catalog
from workbench.data.catalog import open_scene
from workbench.data.checks import check_pair
from workbench.data.entries import Pairs

ENTRIES = [e for e in catalog.entries() if e.kind == "pairs"]


def test_the_six_real_entries():
    assert [e.id for e in ENTRIES] == [
        "dsifn-256", "landsat-taizhou", "levir-cd-256", "levir-cd-512-sample", "sar-ottawa", "sar-san-francisco"
    ]  # fmt: skip
    for e in ENTRIES:
        card = catalog.describe_entry(e.id)
        assert str(e.changed_pixels) in card
        assert e.citation in card


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.id)
def test_real_pairs_are_what_the_catalogue_says(entry, real_data):
    scene = open_scene(entry.id)
    truth = scene["truth"].values
    assert int((truth == 1).sum()) == entry.changed_pixels
    assert int((truth >= 0).sum()) == entry.labelled_pixels
    assert scene.attrs["modality"] == entry.modality
    assert float(scene["before"].min()) >= 0
    assert float(scene["after"].max()) <= 1
    check_pair(scene)
    for key in ("title", "source", "citation", "licence", "sha256"):
        assert scene.attrs[key], key
    if entry.test:
        assert sorted(scene["sample"].values[scene["split"].values == "test"]) == sorted(entry.test)


def test_taizhou_has_dates_map_and_partial_truth(real_data):
    scene = open_scene("landsat-taizhou")
    assert scene["before"].attrs["time"] == "2000-03-17"
    assert scene["after"].attrs["time"] == "2003-02-06"
    assert scene.rio.crs.to_epsg() == 32651
    assert float(scene["x"][1] - scene["x"][0]) == 30
    assert set(np.unique(scene["truth"])) == {-1, 0, 1}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"test": ["nobody"]}, "samples that do not exist"),
        ({"files": []}, "one before, one after"),
        ({"times": {"before": "long ago"}}, "times"),
        ({"modality": "radar"}, "modality"),
        ({"changed_pixels": 0}, "changed_pixels"),
    ],
)
def test_entries_that_are_refused(changes, says):
    good = next(e for e in ENTRIES if e.id == "sar-ottawa").model_dump()
    Pairs.model_validate(good)
    with pytest.raises(ValueError, match=says):
        Pairs.model_validate({**good, **changes})
