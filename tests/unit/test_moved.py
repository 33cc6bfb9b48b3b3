"""A run finds its data again: in a project that moved, in a folder that the user names, by hash, or it says how."""

import os
import shutil

import numpy as np
import pytest
import scipy.io

from workbench.data import moved
from workbench.data.moved import found_again
from workbench.data.readers.files import sha256
from workbench.data.source import Source, digest_of
from workbench.errors import InputError
from workbench.execution import check_setting_files, execute, reopen, settings_again
from workbench.runs import read

RNG = np.random.default_rng(8)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "machine1" / "proj"
    (folder / "data").mkdir(parents=True)
    cube = RNG.random((20, 22, 8))
    cube[3, 4:8] += 2
    mask = np.zeros((20, 22), "u1")
    mask[3, 4:8] = 1
    scipy.io.savemat(folder / "data" / "flight.mat", {"data": cube})
    np.save(folder / "data" / "marks.npy", mask)
    source = Source(str(folder / "data" / "flight.mat"), truth=str(folder / "data" / "marks.npy"))
    execute("rx", source, folder=folder / "r1")
    return folder


def test_a_project_that_moved_as_a_whole(project, tmp_path):
    about = read(project / "r1")
    (tmp_path / "machine1").rename(tmp_path / "machine2")
    scene = reopen(tmp_path / "machine2" / "proj" / "r1", about)
    assert int((scene["truth"] == 1).sum()) == 4


@pytest.mark.parametrize("name", ["flight.mat", "renamed.mat"])
def test_data_in_a_folder_that_the_user_names(project, tmp_path, monkeypatch, name):
    about = read(project / "r1")
    store = tmp_path / "store" / "deep" / "er"
    store.mkdir(parents=True)
    scipy.io.savemat(store / "other.mat", {"data": RNG.random((20, 22, 8))})
    (project / "data" / "flight.mat").rename(store / name)
    (project / "data" / "marks.npy").rename(tmp_path / "store" / "marks.npy")
    with pytest.raises(InputError, match=r"no file .*flight\.mat, with which .*r1 was made.*--data-root DIR"):
        reopen(project / "r1", about)
    monkeypatch.setenv(moved.ROOTS, str(tmp_path / "store"))
    assert int((reopen(project / "r1", about)["truth"] == 1).sum()) == 4


def test_another_file_of_the_same_name_is_not_used(project, tmp_path, monkeypatch):
    about = read(project / "r1")
    store = tmp_path / "store"
    store.mkdir()
    scipy.io.savemat(store / "flight.mat", {"data": RNG.random((20, 22, 8))})
    (project / "data" / "flight.mat").unlink()
    monkeypatch.setenv(moved.ROOTS, str(store))
    with pytest.raises(InputError, match="data are not what they were"):
        reopen(project / "r1", about)


def test_the_right_one_of_two_files_of_one_name(project, tmp_path, monkeypatch):
    lost = project / "data" / "flight.mat"
    known = sha256(lost)
    for i, folder in enumerate(("a", "b")):
        (tmp_path / "store" / folder).mkdir(parents=True)
        if i:
            shutil.copy(lost, tmp_path / "store" / folder / "flight.mat")
        else:
            scipy.io.savemat(tmp_path / "store" / folder / "flight.mat", {"data": RNG.random((20, 22, 8))})
    lost.unlink()
    monkeypatch.setenv(moved.ROOTS, os.pathsep.join([str(tmp_path / "store")]))
    found = found_again(Source(str(lost)), project / "r1", {"sha256": known})
    assert found.scene == str((tmp_path / "store" / "b" / "flight.mat").resolve())


def test_what_is_still_there_is_not_looked_for(project, monkeypatch):
    monkeypatch.setenv(moved.ROOTS, str(project / "no such folder"))
    source = Source("sim-coast-town")
    assert found_again(source, project, {}) == source
    with pytest.raises(InputError, match="which is no folder"):
        found_again(Source(str(project / "gone.mat")), project, {})


def test_weights_that_moved_are_found_by_name_and_hash(tmp_path, monkeypatch):
    run, old, store = tmp_path / "proj" / "r1", tmp_path / "old" / "net.safetensors", tmp_path / "store" / "below"
    for folder in (run, old.parent, store):
        folder.mkdir(parents=True)
    old.write_bytes(b"weights of a network")
    about = {"config": {"weights": str(old), "steps": 3}, "files": {"weights": {"path": str(old), "sha256": digest_of(old)}}}
    assert settings_again(run, about) == about["config"]
    (tmp_path / "store" / "net.safetensors").write_bytes(b"another network")
    old.rename(store / "net.safetensors")
    with pytest.raises(InputError, match=r"no file .*net\.safetensors, with which .*r1 was made.*--data-root DIR"):
        settings_again(run, about)
    monkeypatch.setenv(moved.ROOTS, str(tmp_path / "store"))
    assert settings_again(run, about) == {"weights": str(store / "net.safetensors"), "steps": 3}
    check_setting_files(run, about)


def test_a_run_folder_with_weights_moves_with_the_project_and_is_compared(tmp_path):
    weights = tmp_path / "machine1" / "trained"
    weights.mkdir(parents=True)
    (weights / "weights.safetensors").write_bytes(b"weights of a network")
    kept = {"path": str(weights), "sha256": digest_of(weights / "weights.safetensors")}
    about = {"config": {"weights": str(weights)}, "files": {"weights": kept}}
    (tmp_path / "machine1").rename(tmp_path / "machine2")
    now = tmp_path / "machine2" / "trained"
    assert settings_again(tmp_path / "machine2" / "r1", about) == {"weights": str(now)}
    check_setting_files(tmp_path / "machine2" / "r1", about)
    (now / "weights.safetensors").write_bytes(b"weights of another one")
    with pytest.raises(InputError, match="setting weights.* is not what it was"):
        check_setting_files(tmp_path / "machine2" / "r1", about)


@pytest.mark.parametrize("given", ["flight.hdr", "flight.img"])
def test_an_envi_pair_that_was_renamed(tmp_path, monkeypatch, given):
    lost, store = tmp_path / "lost" / given, tmp_path / "store"
    store.mkdir()
    for name, first in (("other", 0), ("new", 1)):
        (store / f"{name}.img").write_bytes(bytes(range(first, first + 24)))
        (store / f"{name}.hdr").write_text("ENVI\nsamples = 4\nlines = 3\nbands = 2\ndata type = 1\ninterleave = bsq\n")
    monkeypatch.setenv(moved.ROOTS, str(store))
    found = found_again(Source(str(lost)), tmp_path / "runs" / "r1", {"sha256": sha256(store / "new.img")})
    assert found.scene == str((store / "new.img").resolve())


def test_a_truth_that_was_renamed(project, tmp_path, monkeypatch):
    about = read(project / "r1")
    (tmp_path / "store").mkdir()
    np.save(tmp_path / "store" / "other.npy", np.ones((20, 22), "u1"))
    (project / "data" / "marks.npy").rename(tmp_path / "store" / "renamed.npy")
    monkeypatch.setenv(moved.ROOTS, str(tmp_path / "store"))
    assert int((reopen(project / "r1", about)["truth"] == 1).sum()) == 4
    (tmp_path / "store" / "renamed.npy").unlink()
    with pytest.raises(InputError, match=r"no file .*marks\.npy.* none of this name and hash"):
        reopen(project / "r1", about)
