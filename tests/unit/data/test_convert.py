"""Conversion to Zarr: equal, resumable, and never looking finished when it is not."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.unit.data import products
from workbench.data import convert as converting
from workbench.data.convert import convert, windows
from workbench.data.formats import open_file
from workbench.errors import InputError


def envi(path: Path, cube: np.ndarray, interleave: str = "bil") -> Path:
    """cube: (band, y, x); writes `path` and its header, returns the header."""
    order = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    cube.transpose(order).tofile(path)
    b, y, x = cube.shape
    header = path.with_name(path.name + ".hdr")
    code = {"int16": 2, "float32": 4}[cube.dtype.name]
    wave = ", ".join(str(400 + i) for i in range(b))
    header.write_text(
        f"ENVI\nsamples = {x}\nlines = {y}\nbands = {b}\ndata type = {code}\ninterleave = {interleave}\nbyte order = 0\n"
        f"data ignore value = -7\nwavelength units = nm\nwavelength = {{{wave}}}\n"
    )
    return header


def test_windows_are_whole_chunks_and_cover_all(monkeypatch):
    monkeypatch.setattr(converting, "BLOCK", 4 * 3 * 4 * 5 * 4)  # four chunks
    seen = np.zeros((7, 10, 11), int)
    for window in windows((7, 10, 11), (3, 4, 5), 4):
        seen[window] += 1
        assert all(w.start % c == 0 for w, c in zip(window, (3, 4, 5), strict=True))
        assert seen[window].size <= 4 * 3 * 4 * 5
    assert (seen == 1).all()


@pytest.mark.parametrize("chunks", [None, {"band": 2, "y": 3, "x": -1}])
def test_a_scene_comes_back_as_it_was(tmp_path, monkeypatch, chunks):
    monkeypatch.setattr(converting, "SMALL", 1)
    cube = np.random.default_rng(1).normal(size=(5, 7, 6)).astype("f4")
    cube[:, 2, 3] = -7
    header = envi(tmp_path / "a.raw", cube)
    np.save(tmp_path / "t.npy", np.eye(7, 6))
    seen = []
    out = convert(header, tmp_path / "a.zarr", truth=tmp_path / "t.npy", chunks=chunks, progress=lambda *n: seen.append(n))
    before, after = open_file(header, truth=tmp_path / "t.npy"), open_file(out)
    assert set(after.attrs) >= set(before.attrs)
    for name in (*before.variables,):
        xr.testing.assert_identical(before[name].reset_coords(drop=True), after[name].reset_coords(drop=True))
        assert after[name].dtype == before[name].dtype
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.raw", "a.raw.hdr", "a.zarr", "t.npy"]
    assert open_file(out, keys={"truth": "none"}).data_vars.keys() == {"hsi"}


def test_maps_coordinates_and_swaths_survive(tmp_path, monkeypatch):
    monkeypatch.setattr(converting, "SMALL", 1)
    rng = np.random.default_rng(1)
    products.enmap(tmp_path / "L2A", rng)
    before, after = open_file(tmp_path / "L2A"), open_file(convert(tmp_path / "L2A", tmp_path / "a.zarr"))
    assert after.rio.crs == before.rio.crs
    assert after.rio.transform() == before.rio.transform()
    np.testing.assert_array_equal(after["good"], before["good"])
    products.emit(tmp_path / "e.nc", rng)
    before, after = open_file(tmp_path / "e.nc"), open_file(convert(tmp_path / "e.nc", tmp_path / "e.zarr"))
    np.testing.assert_array_equal(after["latitude"], before["latitude"])
    turned = open_file(convert(tmp_path / "e.nc", tmp_path / "o.zarr", ortho=True))
    np.testing.assert_array_equal(turned["hsi"], open_file(tmp_path / "e.nc", ortho=True)["hsi"])


def test_refused(tmp_path):
    header = envi(tmp_path / "a.raw", np.zeros((3, 300, 300), "f4"))
    for out, told in (("a.zip", "end with .zarr"), ("no/a.zarr", "no folder")):
        with pytest.raises(InputError, match=told):
            convert(header, tmp_path / out)
    with pytest.raises(InputError, match="not a size"):
        convert(header, tmp_path / "a.zarr", chunks={"y": 0})
    with pytest.raises(InputError, match="has the dims z"):
        convert(header, tmp_path / "a.zarr", chunks={"z": 2})
    convert(header, tmp_path / "a.zarr")
    with pytest.raises(InputError, match="exists already"):
        convert(header, tmp_path / "a.zarr")


@pytest.mark.process
def test_killed_it_never_looks_finished_and_continues_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(converting, "SMALL", 1)
    cube = np.arange(4 * 64 * 64, dtype="f4").reshape(4, 64, 64)
    header = envi(tmp_path / "a.raw", cube)
    out, log = tmp_path / "a.zarr", tmp_path / "a.zarr.journal"
    slowly = (
        "import sys, time; import workbench.data.convert as c; c.SMALL = 1; c.BLOCK = 4 * 4 * 8 * 64\n"
        "c.convert(sys.argv[1], sys.argv[2], chunks={'y': 8, 'x': 64}, progress=lambda *n: time.sleep(0.1))"
    )
    child = subprocess.Popen([sys.executable, "-c", slowly, str(header), str(out)], env=dict(os.environ))
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end and (not log.exists() or log.read_text().count("\n") < 4):
            time.sleep(0.01)
        with pytest.raises(InputError, match="Another process"):
            convert(header, out)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    finished = log.read_text().count("\n") - 1
    assert 3 <= finished < 8
    assert not out.exists()
    with pytest.raises(InputError, match="unfinished conversion"):
        open_file(tmp_path / "a.zarr.partial")

    with log.open("a") as torn:
        torn.write('["hsi", ')  # killed in the middle of a line
    with pytest.raises(InputError, match="unfinished, different conversion"):
        convert(header, out, chunks={"y": 16, "x": 64})
    script = slowly.replace("time.sleep(0.1)", "print(*n)")
    again = subprocess.run([sys.executable, "-c", script, str(header), str(out)], capture_output=True, text=True, check=True)
    assert again.stdout.split("\n")[0] == f"{finished} 8"  # nothing that was finished is done again
    np.testing.assert_array_equal(open_file(out)["hsi"], cube)
    assert not log.exists()


def test_an_error_in_the_middle_keeps_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(converting, "SMALL", 1)
    monkeypatch.setattr(converting, "BLOCK", 1)
    cube = np.arange(3 * 6 * 5, dtype="f4").reshape(3, 6, 5)
    header = envi(tmp_path / "a.raw", cube)
    write, calls = converting._write, []

    def failing(*args):
        calls.append(args)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*args)

    monkeypatch.setattr(converting, "_write", failing)
    with pytest.raises(InputError, match="the disk is full"):
        convert(header, tmp_path / "a.zarr", chunks={"y": 2})
    assert not (tmp_path / "a.zarr").exists()
    out = convert(header, tmp_path / "a.zarr", chunks={"y": 2})
    assert len(calls) == 4  # three blocks: two, the failure, the last
    np.testing.assert_array_equal(open_file(out)["hsi"], cube)


@pytest.mark.process
def test_the_cube_is_never_held(tmp_path):
    header = envi(tmp_path / "a.raw", np.zeros((2, 2, 2), "int16"))
    text = header.read_text().replace("samples = 2", "samples = 500").replace("lines = 2", "lines = 1000")
    header.write_text(text.replace("bands = 2", "bands = 200").split("wavelength units")[0])
    with (tmp_path / "a.raw").open("r+b") as file:
        file.truncate(2 * 200 * 500 * 1000)  # 200 MB as int16, 400 MB as float32; sparse on disk
    script = (
        "import sys, workbench.data.convert as c, xarray, zarr, dask.array, scipy\n"
        "from tests.peak import peak\n"
        "before = peak()\n"
        "c.convert(sys.argv[1], sys.argv[2])\n"
        "print(round(peak() - before))"
    )
    run = [sys.executable, "-c", script, str(header), str(tmp_path / "a.zarr")]
    grown = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert grown < 250, f"{grown} MB for a cube of 400 MB"
    assert open_file(tmp_path / "a.zarr")["hsi"].shape == (200, 1000, 500)
