"""Coresets as tables and as files that open like the data they are of."""

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from tests.unit.data.conftest import paint
from workbench.data.catalog import open_scene
from workbench.data.chips import open_chips
from workbench.data.coresets import open_coreset, subset, write_coreset, write_index, wrong_labels
from workbench.errors import InputError
from workbench.scene import fingerprint


def opened(path, *, truth=None, keys=None):
    """Chips need no truth and no keys."""
    assert truth is None
    assert keys is None
    return open_chips(path)


def kept_of(names, keep) -> xr.DataArray:
    return xr.DataArray(np.array(keep, bool), {"sample": names}, "sample", "kept")


def test_subset_of_chips(collection):
    scene = open_chips(collection)
    names = ["train/forest/0.png", "train/river/0.png", "train/river/1.png"]  # the fourth training chip is not named
    part = subset(scene, kept_of(names, [True, False, True]))
    assert part["sample"].values.tolist() == [
        *[n for n in scene["sample"].values if n.startswith("test")],
        names[0],
        "train/forest/1.png",
        names[2],
    ]
    assert part["split"].values.tolist() == ["test"] * 4 + ["train"] * 3
    bare = subset(scene.drop_vars("split"), kept_of(names, [True, False, True]))
    assert bare["split"].values.tolist() == ["test"] * 4 + ["train", "test", "train"]
    named = subset(scene, kept_of(names, [True, False, True]), ["test/river/0.png"])
    assert named["split"].values.tolist() == ["test", "train", "train"]
    with pytest.raises(InputError, match="1 samples of this selection are not in the scene"):
        subset(scene, kept_of(["nothing"], [True]))


def test_subset_of_pixels():
    truth = xr.DataArray(np.array([[1, 2], [2, 0]], np.int16), dims=("y", "x"), attrs={"names": ["", "a", "b"]})
    scene = xr.Dataset({"hsi": (("band", "y", "x"), np.zeros((3, 2, 2), np.float32)), "truth": truth})
    part = subset(scene, kept_of(["0,0", "0,1"], [True, False]))
    assert part["truth"].values.tolist() == [[1, -1], [2, 0]]
    assert part["split"].values.tolist() == [[0, 0], [1, 1]]
    assert scene["truth"].values.tolist() == [[1, 2], [2, 0]]
    gap = subset(scene, kept_of(["0,0", "0,1"], [True, False]), ["1,0"])
    assert gap["split"].values.tolist() == [[0, 0], [1, -1]]
    for wrong in ("0,9", "-1,0", "pixel"):
        with pytest.raises(InputError, match="row,column"):
            subset(scene, kept_of([wrong], [True]))


def test_coreset_file(collection, tmp_path):
    scene = open_chips(collection)
    names = [n for n in scene["sample"].values if n.startswith("train")]
    kept = kept_of(names, [True, False, False, True])
    path = write_coreset(tmp_path / "half.yml", str(collection), fingerprint(scene), kept)
    assert yaml.safe_load(path.read_text())["keep"] == 0.5
    again = open_coreset(path, opened)
    xr.testing.assert_equal(again.load(), subset(scene, kept).load())
    assert again.attrs["id"] == "half"
    assert again.attrs["sha256"] != scene.attrs["sha256"]
    assert "2 of 4 training samples" in again.attrs["notes"]
    paint(collection / "train" / "river" / "0.png", 99)
    with pytest.raises(InputError, match="changed since this coreset"):
        open_coreset(path, opened)
    path.write_text("kind: other")
    with pytest.raises(InputError, match="not a coreset file"):
        open_coreset(path, opened)
    with pytest.raises(InputError, match="cannot be read"):
        open_coreset(tmp_path / "none.yml", opened)


def test_index_list(tmp_path):
    result = xr.Dataset(
        {
            "score": ("sample", [0.5, 2.0]),
            "kept": ("sample", [False, True]),
            "label": ("sample", [1, 0]),
            "map": (("y",), [1.0]),
        },
        coords={"sample": ["a", "b,c"]},
    )
    text = write_index(tmp_path / "list.csv", result).read_text().splitlines()
    assert text == ["sample,label,kept,score", "a,1,False,0.5", '"b,c",0,True,2.0']
    with pytest.raises(InputError, match="cannot be written"):
        write_index(tmp_path / "none" / "list.csv", result)


def test_index_list_as_parquet(tmp_path):
    fastparquet = pytest.importorskip("fastparquet")
    result = xr.Dataset(
        {"score": ("sample", [0.5, np.nan]), "kept": ("sample", [True, False]), "label": ("sample", [1, 0])},
        coords={"sample": ["a/é.png", "b"]},
    )
    with write_index(tmp_path / "list.parquet", result).open("rb") as file:
        table = fastparquet.ParquetFile(file).to_pandas()
    assert table.columns.tolist() == ["sample", "label", "kept", "score"]
    assert table["sample"].tolist() == ["a/é.png", "b"]
    assert table["kept"].tolist() == [True, False]
    assert table["score"].isna().tolist() == [False, True]
    with pytest.raises(InputError, match="cannot be written"):
        write_index(tmp_path / "none" / "list.parquet", result)


def test_parquet_without_its_library_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    result = xr.Dataset({"score": ("sample", [0.5])}, coords={"sample": ["a"]})
    with pytest.raises(InputError, match="pip install fastparquet"):
        write_index(tmp_path / "list.parquet", result)
    assert not (tmp_path / "list.parquet").exists()


# --- labels made wrong on purpose -------------------------------------------------------------------------------------


def noisy_result(samples, labels, flipped, classes):
    return xr.Dataset(
        {"label": ("sample", labels), "flipped": ("sample", np.array(flipped, bool))},
        coords={"sample": samples, "class": classes},
    )


def test_wrong_labels_of_a_result():
    r = noisy_result(["a", "b", "c"], [0, 1, 1], [False, True, False], ["forest", "river"])
    assert wrong_labels(r) == {"b": "river"}
    assert wrong_labels(r.drop_vars("flipped")) == {}


def test_a_coreset_of_chips_keeps_the_wrong_labels_it_was_chosen_under(collection, tmp_path):
    scene = open_chips(collection)
    names = ["train/forest/0.png", "train/forest/1.png", "train/river/0.png", "train/river/1.png"]
    kept = kept_of(names, [True, False, True, True])
    wrong = {"train/forest/0.png": "river", "train/forest/1.png": "river"}  # of the second, dropped one nothing is left
    path = write_coreset(tmp_path / "c.yml", str(collection), fingerprint(scene), kept, wrong=wrong)
    plain = write_coreset(tmp_path / "p.yml", str(collection), fingerprint(scene), kept)
    part, right = open_scene(path), open_scene(plain)
    at = part["sample"].values.tolist().index("train/forest/0.png")
    assert part["label"].values[at] == 1 != right["label"].values[at]
    assert part["wrong_label"].values.tolist() == [i == at for i in range(part.sizes["sample"])]
    assert (np.delete(part["label"].values, at) == np.delete(right["label"].values, at)).all()
    assert "1 of the kept samples have a label made wrong on purpose" in part.attrs["notes"]
    assert part.attrs["sha256"] != right.attrs["sha256"]
    assert "wrong_label" not in right.coords
    write_coreset(path, str(collection), fingerprint(scene), kept, wrong={"train/forest/0.png": "desert"})
    with pytest.raises(InputError, match="class desert, which the scene does not have"):
        open_scene(path)


# --- data that need help to be opened ---------------------------------------------------------------------------------


def scene_with_a_truth_file(folder: Path) -> tuple[Path, Path]:
    import scipy.io

    random = np.random.default_rng(0)
    cube, truth = folder / "cube.mat", folder / "truth.mat"
    other = random.normal(size=(4, 5, 6))
    scipy.io.savemat(cube, {"data": random.normal(size=(4, 5, 6)), "other": other})
    scipy.io.savemat(truth, {"map": np.arange(20).reshape(4, 5) % 3, "unused": np.ones((4, 5))})
    return cube, truth


def test_a_coreset_names_the_truth_file_and_the_names_inside(tmp_path):
    cube, truth = scene_with_a_truth_file(tmp_path)
    keys = {"cube": "data", "truth": "map"}
    scene = open_scene(cube, truth=truth, keys=keys)
    kept = kept_of(["0,1", "0,2", "1,1"], [True, True, False])
    wrong = {"0,1": "background"}
    path = write_coreset(
        tmp_path / "c.yml", str(cube), fingerprint(scene), kept, ["3,3"], truth=str(truth), keys=keys, wrong=wrong
    )
    part = open_scene(path)
    assert scene["truth"].values[0, :3].tolist() == [0, 1, 1]
    assert part["truth"].values[0, :3].tolist() == [0, 0, 1]
    assert part["truth"].values[1, 1] == -1
    assert part["split"].values[3, 3] == 1
    assert part["wrong_label"].values.sum() == part["wrong_label"].values[0, 1] == 1
    np.testing.assert_array_equal(part["hsi"].values, scene["hsi"].values)
    truth.unlink()
    with pytest.raises(InputError, match="truth"):
        open_scene(path)
