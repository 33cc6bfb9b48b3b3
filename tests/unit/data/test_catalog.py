"""The catalogue: its own entries, what a YAML file may not say, and scenes with provenance."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.io import savemat

from workbench.data import catalog
from workbench.data.catalog import describe_entry, entries, fetch, names, open_scene, read_folder
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.scene import VOCABULARY

SHA = "0" * 64
PART = {"path": "one/a.tif", "bytes": 9, "sha256": SHA, "url": "https://example.org/a.tif"}


def test_anomaly_scenes_are_all_there():
    """The fourteen anomaly scenes with their reference, and the two simulated ones first."""
    scenes = [e.id for e in entries() if e.kind == "hyperspectral" and e.anomalous_pixels]
    assert scenes == [
        *("abu-airport-1", "abu-airport-2", "abu-airport-4", "abu-beach-1", "abu-beach-3"),
        *("abu-urban-1", "abu-urban-2", "abu-urban-4", "hydice-urban-162", "hydice-urban-175"),
        *("lhdata", "muufl-gulfport", "pavia-centre-bridge", "san-diego-134"),
    ]
    assert all(catalog._by_id()[n].reference.rx_auc > 0.5 for n in scenes)
    assert names()[:2] == ["sim-coast-town", "sim-dry-airfield"]
    assert len({f.sha256 for e in entries() if e.kind == "hyperspectral" for f in e.files}) == 50


def test_mirrors_are_pinned_to_a_commit():
    for entry in entries():
        for file in getattr(entry, "files", []):
            assert file.url is not None or entry.obtain, entry.id
            assert file.url is None or any(
                len(part) == 40 and set(part) <= set("0123456789abcdef") for part in file.url.split("/")
            ), entry.id


@pytest.mark.long
def test_every_entry_provides_what_its_scene_has(real_data):
    """Pages and methods offer scenes by what entries say they provide. Of the 61 plots, which are alike, every tenth is opened; all plots
    as one scene are in `test_plots`, simulated ones below.
    """
    plots = 0
    for entry in entries():
        plots += entry.kind == "multimodal"
        if (entry.kind == "multimodal" and plots % 10 != 1) or entry.kind == "plots" or entry.kind.startswith("simulated"):
            continue
        scene = entry.open()
        assert set(entry.provides) <= set(VOCABULARY), entry.id
        found = set(scene.data_vars) & set(VOCABULARY) - {"box_difficult", "box_corners"}
        assert found == set(entry.provides), entry.id
        assert ("sample" in scene.dims) == entry.many, entry.id
        assert scene.attrs["id"] == entry.id
        if entry.id != "digits":
            assert entry.place().is_relative_to(real_data), entry.id
        assert entry.card()


@pytest.mark.long
def test_simulated_scenes_say_too_what_they_provide():
    for entry in [e for e in entries() if e.kind.startswith("simulated")]:
        assert entry.ORDER < 2  # before those that need files
        scene = entry.open()
        assert set(entry.provides) <= set(VOCABULARY), entry.id
        assert set(scene.data_vars) & set(VOCABULARY) - {"box_difficult", "box_corners"} == set(entry.provides), entry.id
        assert ("sample" in scene.dims) == entry.many
        assert scene.attrs["id"] == entry.id
        assert entry.card()
    assert b"icraf-isric" in entries()[0].content()  # the spectra it is made of


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("sim-coast-town", "c7bf73876cf9648b"),
        ("sim-change-sar", "6d41a0d99693cba8"),
        ("abu-airport-1", "b0dfce05489d378d"),
        ("digits", "d6a600dc1adad025"),
        ("landsat-taizhou", "1d0943a5fff30252"),
        ("hrsid-24", "99d9ad1a02a039e4"),
        ("sen1floods11-spain", "e352d6b6c64be420"),
        ("lhdata", "0c033924b3881c33"),
    ],
)
def test_the_hash_of_an_entry_stays(name, begins):
    """Sweeps and runs of before the entries were re-cut keep these: a field that is new must not make their cells stale."""
    assert Source(name).digest().startswith(begins)


def write(folder, name="a.yml", /, **changes):
    entry = {
        "id": "one",
        "kind": "hyperspectral",
        "title": "One",
        "citation": "none",
        "licence": "none stated",
        "sensor": "AVIRIS",
        "publisher": "somebody",
        "shape": {"band": 4, "y": 3, "x": 5},
        "files": [{"role": "cube", "path": "one/one.mat", "bytes": 9, "sha256": SHA, "url": "https://example.org/one.mat"}],
        **changes,
    }
    (folder / name).write_text(yaml.safe_dump({"entries": [{k: v for k, v in entry.items() if v is not None}]}))
    return entry


def test_defaults_go_under_each_entry(tmp_path):
    entry = write(tmp_path, licence=None)
    (tmp_path / "a.yml").write_text(
        yaml.safe_dump({"defaults": {"licence": "MIT", "title": "never"}, "entries": [{**entry, "licence": "CC0"}]})
    )
    assert read_folder(tmp_path)["one"].licence == "CC0"
    assert read_folder(tmp_path)["one"].title == "One"


FILE = {"role": "cube", "path": "one.mat", "bytes": 9, "sha256": SHA, "url": "https://example.org/one.mat"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"licence": None}, "licence"),
        ({"license": "MIT"}, "license"),
        ({"kind": "something"}, "kind"),
        ({"id": "Has Space"}, "id"),
        ({"files": []}, "exactly one cube"),
        ({"files": [FILE, FILE]}, "exactly one cube"),
        ({"files": [FILE, {**FILE, "role": "header", "path": "elsewhere/one.hdr"}]}, "one folder"),
        ({"files": [{**FILE, "path": "../one.mat"}]}, "relative path"),
        ({"files": [{**FILE, "path": "/one.mat"}]}, "relative path"),
        ({"files": [{**FILE, "sha256": "abc"}]}, "sha256"),
        ({"files": [{**FILE, "url": "file:///one.mat"}]}, "url"),
        ({"reference": {"rx_auc": 1.5, "source": "x"}}, "rx_auc"),
        ({"anomalous_pixels": 0}, "anomalous_pixels"),
    ],
)
def test_schema_refuses_and_names_the_entry(tmp_path, changes, says):
    write(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"a\.yml, entry") as error:
        read_folder(tmp_path)
    assert says in str(error.value)


def test_the_same_id_twice(tmp_path):
    write(tmp_path)
    write(tmp_path, "b.yml")
    with pytest.raises(ValueError, match=r"b\.yml: the id one occurs twice"):
        read_folder(tmp_path)


def test_unknown_names():
    with pytest.raises(InputError, match=r"no scene 'abu-airprt-1'.*Did you mean 'abu-airport-1'.*A path"):
        open_scene("abu-airprt-1")
    with pytest.raises(InputError, match=r"no scene 'zzzzzz' in the catalogue\. `workbench list`"):
        fetch("zzzzzz")
    with pytest.raises(InputError, match="Did you mean 'san-diego-134'"):
        describe_entry("san-diego")
    with pytest.raises(InputError, match="There is no file"):
        open_scene("some/where.mat")


def test_simulated_scene_carries_its_provenance():
    scene = open_scene("sim-dry-airfield")
    assert scene.attrs["simulated"]
    assert scene.attrs["id"] == "sim-dry-airfield"
    assert scene.attrs["anomalous_pixels"] == int((scene["truth"] > 0).sum()) > 0
    for key in ("title", "source", "citation", "licence"):
        assert scene.attrs[key], key
    assert "SIMULATED" in describe_entry("sim-dry-airfield")
    with pytest.raises(InputError, match="nothing to fetch"):
        fetch("sim-dry-airfield")
    with pytest.raises(InputError, match="has its own truth"):
        open_scene("sim-dry-airfield", keys={"cube": "data"})


@pytest.fixture
def small_catalogue(tmp_path, monkeypatch):
    """One entry, its file in a folder of one's own; the file's guessable truth is not the one the entry names."""
    cube = np.fromfunction(lambda y, x, b: 100 * b + 10 * y + x, (3, 5, 4))
    first, second = np.zeros((3, 5)), np.zeros((3, 5))
    first[0, 0] = second[1, 1] = second[1, 2] = 1
    (tmp_path / "data/one").mkdir(parents=True)
    path = tmp_path / "data/one/one.mat"
    savemat(path, {"data": cube, "map": first, "targets": second})
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "yml").mkdir()
    file = {**FILE, "path": "one/one.mat", "sha256": sha}
    write(tmp_path / "yml", files=[file], keys={"cube": "data", "truth": "targets"}, notes=["a note"], anomalous_pixels=2)
    found = read_folder(tmp_path / "yml")
    monkeypatch.setattr(catalog, "_by_id", lambda: found)
    catalog._by_sha256.cache_clear()
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    yield path, sha
    catalog._by_sha256.cache_clear()


def test_provenance_by_name(small_catalogue):
    path, sha = small_catalogue
    scene = open_scene("one")
    assert scene.attrs["sha256"] == sha
    assert scene.attrs["id"] == "one"
    assert scene.attrs["source"] == "somebody"
    assert scene.attrs["licence"] == "none stated"
    assert scene.attrs["simulated"] == ""
    assert scene.attrs["anomalous_pixels"] == 2  # "targets", as the entry says
    assert scene.attrs["notes"].splitlines() == ["a note"]  # nothing was guessed
    assert open_scene("one", keys={"truth": "map"}).attrs["anomalous_pixels"] == 1
    assert "truth" not in open_scene("one", keys={"truth": "none"})
    np.save(path.parent / "mine.npy", np.eye(3, 5))
    assert open_scene("one", truth=path.parent / "mine.npy").attrs["anomalous_pixels"] == 3
    assert fetch("one") == path
    card = describe_entry("one")
    assert str(path) in card
    assert "2 anomalous pixels of 15" in card


def test_bare_path_knows_its_twin(small_catalogue, tmp_path, monkeypatch):
    path, sha = small_catalogue
    copy = tmp_path / "renamed.mat"
    copy.write_bytes(path.read_bytes())
    scene = open_scene(str(copy), keys={"truth": "map"})
    assert scene.attrs["id"] == "renamed"
    assert scene.attrs["sha256"] == sha
    assert "catalogue entry one" in scene.attrs["notes"]
    assert scene.attrs["citation"] == "none"
    savemat(copy, {"data": np.random.default_rng(0).normal(size=(3, 5, 4))})
    scene = open_scene(copy)
    assert scene.attrs["sha256"] == hashlib.sha256(copy.read_bytes()).hexdigest()
    assert "catalogue" not in scene.attrs["notes"]
    assert scene.attrs["source"] == "file renamed.mat"
    # a catalogue name wins over a file of the same name; ./name is the file
    monkeypatch.chdir(tmp_path)
    copy.rename(tmp_path / "one")
    assert open_scene("one").attrs["sha256"] == sha
    (tmp_path / "one").write_text("hello")
    with pytest.raises(InputError, match="in no format"):
        open_scene("./one")


def test_absent_file_is_named_in_the_card(small_catalogue, monkeypatch):
    path, _ = small_catalogue
    path.unlink()
    assert "not on this machine" in describe_entry("one")


@pytest.mark.long
def test_every_real_entry_is_as_described(real_data):
    """Shape, marked pixels and checksum of every entry whose files are there; all of the development data is."""
    opened = 0
    for entry in entries():
        if entry.kind != "hyperspectral" or not (real_data / entry.files[0].path).is_file():
            continue
        scene = open_scene(entry.id)
        assert dict(scene["hsi"].sizes) == entry.shape.model_dump(), entry.id
        assert scene.attrs.get("anomalous_pixels") == entry.anomalous_pixels, entry.id
        assert all((real_data / f.path).stat().st_size == f.bytes for f in entry.files), entry.id
        assert "guessed" not in scene.attrs["notes"], entry.id
        opened += 1
    assert opened == 34


# --- labelled chips -----------------------------------------------------------------------------------------------------


def chips_folder(folder, names=("a", "b"), each=3):
    """CLASS/0.png ... of 4 x 4 grey pixels, the number of the class as grey value."""
    from PIL import Image

    for c, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(np.full((4, 4), 50 * c + i, np.uint8)).save(folder / name / f"{i}.png")
    return folder


def test_chips_are_in_the_catalogue_beside_the_scenes():
    found = {e.id: e for e in entries() if e.kind == "chips"}
    assert set(found) == {
        *("cifar10-6000", "digits", "eurosat-rgb-200", "mstar-10", "nwpu-resisc-12", "ucmerced-9"),
        *(
            "houston2013-pixels",
            "houston2013-lidar",
            "houston2013-lidar-test",
            "houston2013-lidar-windows",
            "houston2013-two-sensors",
        ),
    }
    assert all(name in names() for name in found)
    told = describe_entry("eurosat-rgb-200")
    assert "2000 samples of 10 classes" in told
    assert "obtain:" in told
    with pytest.raises(InputError, match="included in the package"):
        fetch("digits")


def test_sar_and_boxes_are_in_the_catalogue():
    found = {e.id: e.kind for e in entries() if e.kind in ("sar", "boxes", "boxes-joined")}
    assert found == {
        **dict.fromkeys(("sen1floods11-spain", "sentinel1-grdh-safe-blank", "sentinel1-vv-utm31"), "sar"),
        **dict.fromkeys(
            (
                "ssdd-2",
                "ssdd-2-coco",
                "hrsid-24",
                "hrsid-masks-1",
                "hrsid-masks-2",
                "sar-aircraft-6",
                "dota-2",
                "vedai-512-3",
            ),
            "boxes",
        ),
        "hrsid-27": "boxes-joined",
    }
    told = describe_entry("hrsid-24")
    assert "24 images, 44 boxes" in told
    assert "obtain:" in told
    with pytest.raises(InputError, match="images only"):
        catalog._by_id()["vedai-512-3"].open(keys={"annotations": "x"})


def test_every_file_that_is_no_cube_and_no_pair_belongs_to_an_entry(real_data):
    """Cubes are looked after beside their readers, pairs of dates by the entries of change detection."""
    listed = {part.path for e in entries() for part in getattr(e, "files", [])}
    kinds = ("sar_detection", "sar_classification", "sar_geotiff", "object_detection", "scene_classification")
    lost = [
        found.as_posix()
        for kind in (*kinds, "image_classification", "multimodal")
        for folder, _, names in os.walk(real_data / kind)
        for found in (Path(folder, name).relative_to(real_data) for name in names)
        if not listed & {found.as_posix(), *(p.as_posix() for p in found.parents)}
    ]
    assert lost == []
    assert len(listed) > 80


def test_digits_open_by_name_with_provenance():
    scene = open_scene("digits")
    assert scene["image"].sizes == {"sample": 1797, "band": 1, "y": 8, "x": 8}
    assert scene.attrs["id"] == "digits"
    assert scene.attrs["licence"] == "CC BY 4.0"
    with pytest.raises(InputError, match="leave truth and key out"):
        open_scene("digits", keys={"cube": "image"})


def test_a_folder_and_a_zip_of_chips_open_by_path(tmp_path):
    import shutil

    folder = chips_folder(tmp_path / "mine")
    packed = shutil.make_archive(str(tmp_path / "mine"), "zip", folder)
    for path in (folder, packed):
        scene = open_scene(path)
        assert scene["label"].values.tolist() == [0, 0, 0, 1, 1, 1]
        assert scene["label"].attrs["names"] == ["a", "b"]
    with pytest.raises(InputError, match="their own labels"):
        open_scene(folder, truth="truth.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no images"):
        open_scene(tmp_path / "empty")


def test_a_coreset_file_opens_as_the_part_it_names(tmp_path):
    import xarray as xr

    from workbench.data.coresets import write_coreset
    from workbench.scene import fingerprint

    folder = chips_folder(tmp_path / "mine")
    whole = open_scene(folder)
    kept = xr.DataArray([True, False, True, False], {"sample": ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]}, "sample")
    path = write_coreset(tmp_path / "some.yml", str(folder), fingerprint(whole), kept, ["a/2.png"])
    part = open_scene(path)
    assert dict(zip(part["sample"].values, part["split"].values, strict=True)) == {
        "a/0.png": "train",
        "b/0.png": "train",
        "a/2.png": "test",
    }
    assert part.attrs["sha256"] != whole.attrs["sha256"]
    (tmp_path / "round.yml").write_text(path.read_text().replace(f"of: {folder}", f"of: {tmp_path / 'round.yml'}"))
    with pytest.raises(InputError, match="names itself"):
        open_scene(tmp_path / "round.yml")
    (tmp_path / "other.yml").write_text("entries: []")
    with pytest.raises(InputError, match="is not a coreset file"):
        open_scene(tmp_path / "other.yml")
