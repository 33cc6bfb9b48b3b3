"""The vocabulary is enforced with messages that name what is missing, and a fingerprint notices what changed."""

import numpy as np
import pytest
import xarray as xr

from workbench.errors import InputError
from workbench.scene import describe, fingerprint, require


def scene(**attrs):
    truth = np.zeros((3, 4), np.int16)
    truth[1, 2] = 1
    return xr.Dataset(
        {"hsi": (("band", "y", "x"), np.ones((2, 3, 4), np.float32)), "truth": (("y", "x"), truth)}, attrs=attrs
    )


def test_a_missing_name_is_told_with_what_there_is():
    with pytest.raises(InputError, match=r"toy needs 'sar' \(sar_band, y, x\); this scene has hsi, truth"):
        require(scene(), "hsi", "sar", who="toy")


def test_one_of_several_is_enough():
    require(scene(), ("sar", "hsi"), who="toy")


def test_wrong_dims_are_told_with_the_right_ones():
    turned = scene().transpose("y", "x", "band")
    with pytest.raises(InputError, match=r"dims \(band, y, x\).*\(y, x, band\)"):
        require(turned, "hsi", who="toy")


def test_a_leading_sample_dim_is_welcome():
    require(scene().expand_dims(sample=[0, 1]), "hsi", who="toy")


def test_the_fingerprint_sees_pixels_truth_and_the_hash_of_the_file():
    one = scene()
    assert fingerprint(one) == fingerprint(scene())
    pixel, truth, filed = scene(), scene(), scene(sha256="ab")
    pixel["hsi"][0, 0, 0] = 2
    truth["truth"][0, 0] = 1
    assert len({fingerprint(s) for s in (one, pixel, truth, filed)}) == 4


def test_the_fingerprint_of_a_filed_scene_does_not_read_its_pixels():
    import dask.array as da

    def refuse(block):
        raise AssertionError("pixels were read")

    lazy = scene(sha256="ab")
    lazy["hsi"] = (
        ("band", "y", "x"),
        da.ones((2, 3, 4), chunks=-1).map_blocks(refuse, dtype=np.float32, meta=np.empty((0, 0, 0))),
    )
    assert fingerprint(lazy) == fingerprint(scene(sha256="ab"))


def test_the_card_says_simulated_and_counts_the_marked_pixels():
    card = describe(scene(id="toy", simulated="a toy", notes="guessed\nagain"))
    assert "SIMULATED data: a toy" in card
    assert "1 marked pixels of 12" in card
    assert card.count("note: ") == 2


def test_boxes_are_counted_and_belong_to_the_fingerprint():
    def chips(edge):
        names = {"names": ["aircraft", "ship"]}
        return xr.Dataset(
            {
                "image": (("sample", "band", "y", "x"), np.zeros((1, 1, 4, 4), np.float32)),
                "box": (("object", "edge"), np.array([[0, 0, edge, 2], [1, 1, 3, 3]], np.float32)),
                "box_sample": ("object", np.array(["a", "a"])),
                "box_label": ("object", np.array([1, 1]), names),
            },
            coords={"sample": ["a"]},
            attrs={"sha256": "ab"},
        )

    assert "boxes: aircraft 0, ship 2" in describe(chips(2))
    assert fingerprint(chips(2)) == fingerprint(chips(2))
    assert fingerprint(chips(2)) != fingerprint(chips(3))
