"""MATLAB 5, element by element: the same arrays as scipy (an independent reader), and damaged files never get through."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from workbench.data.formats import open_file
from workbench.data.readers import matlab5
from workbench.errors import InputError


def variables(path):
    with path.open("rb") as file:
        return matlab5.variables(file)


def load(path, variable):
    with path.open("rb") as file:
        return matlab5.load(file, variable)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c16", "bool"])
def test_same_as_scipy(tmp_path, compressed, dtype):
    values = (np.arange(24) % 7).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / "a.mat"
    savemat(
        path, {"a_name_longer_than_4": values, "x": values[0], "text": "hello", "box": {"a": 1}}, do_compression=compressed
    )
    found = variables(path)
    assert {n: v.kind for n, v in found.items()} == {"a_name_longer_than_4": "", "x": "", "text": "text", "box": "struct"}
    peer = loadmat(path)
    for name in ("a_name_longer_than_4", "x"):
        ours = load(path, found[name])
        np.testing.assert_array_equal(ours, peer[name])
        assert ours.dtype == peer[name].dtype
        assert found[name].is_complex == (dtype == "c16")


def test_same_as_scipy_on_real_files(real_data):
    """Doubles that MATLAB stored as small integers keep their small type."""
    for path in sorted((real_data / "hsi_anomaly").glob("*/*.mat")):
        if path.read_bytes()[:10] == b"MATLAB 7.3":
            continue
        peer = loadmat(path)
        for name, variable in variables(path).items():
            ours = load(path, variable)
            np.testing.assert_array_equal(ours, peer[name])
            assert ours.dtype == peer[name].dtype


def by_hand(order: str, kind: int = 4, values: bytes | None = None, dims: bytes | None = None) -> bytes:
    """A file with the 2 x 3 array `ab` = [[1, 3, 5], [2, 4, 6]], written from the format's description."""
    values = struct.pack(f"{order}6H", 1, 2, 3, 4, 5, 6) if values is None else values  # column by column

    def element(kind, data):
        return struct.pack(f"{order}II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    flags = element(6, struct.pack(f"{order}II", 6, 0))  # class 6 is double
    dims = element(5, struct.pack(f"{order}ii", 2, 3)) if dims is None else dims
    name = struct.pack(f"{order}I", 2 << 16 | 1) + b"ab\0\0"  # two bytes within the tag
    matrix = element(14, flags + dims + name + element(kind, values))
    return b"by hand".ljust(124) + struct.pack(f"{order}H", 0x0100) + {"<": b"IM", ">": b"MI"}[order] + matrix


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(tmp_path, order):
    path = tmp_path / "a.mat"
    path.write_bytes(by_hand(order))
    ours = load(path, variables(path)["ab"])
    assert ours.tolist() == [[1, 3, 5], [2, 4, 6]]
    assert ours.tolist() == loadmat(path)["ab"].tolist()


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (by_hand("<", kind=200), "unknown type 200"),  # ends the process in scipy 1.17
        (by_hand("<", values=b"12"), "holds 2 bytes, its size promises 12"),
        (by_hand("<", dims=struct.pack("<IIii", 5, 8, -2, 3)), r"the size \(-2, 3\)"),
        (by_hand("<", dims=struct.pack("<IIi", 5, 4, 6) + b"\0" * 4), r"the size \(6,\)"),
        (by_hand("<")[:-8], "but the file ends at"),
        (by_hand("<")[:132], "ends within the description"),
        (by_hand("<")[:126] + b"??", "no MATLAB 5 header"),
    ],
)
def test_damaged(tmp_path, file, says):
    path = tmp_path / "a.mat"
    path.write_bytes(file)

    def read():
        for variable in variables(path).values():
            load(path, variable)

    with pytest.raises(matlab5.Damaged, match=says):
        read()


@pytest.mark.parametrize("compressed", [False, True])
def test_any_damage_is_one_clear_error_or_none(tmp_path, compressed):
    """300 files with up to 20 bytes changed: a scene, or an InputError; never anything else."""
    rng = random.Random(0)
    path = tmp_path / "a.mat"
    cube = np.arange(12 * 13 * 14, dtype="u2").reshape(12, 13, 14)
    savemat(path, {"data": cube, "map": np.eye(12, 13), "wavelengths": np.arange(400.0, 414)}, do_compression=compressed)
    whole = path.read_bytes()
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 3, 20])):
            damaged[rng.randrange(min(len(damaged), rng.choice([300, 10**6])))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            open_file(path)
        except InputError:
            refused += 1
    assert refused > 50


def test_compressed_element_is_proved_to_its_end(tmp_path):
    """Its checksum is looked at, and nothing may follow what the array promises."""
    path = tmp_path / "a.mat"
    plain = by_hand("<")
    head, matrix = plain[:128], plain[128:]

    def write(packed):
        path.write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)

    write(zlib.compress(matrix))
    assert load(path, variables(path)["ab"]).tolist() == [[1, 3, 5], [2, 4, 6]]
    write(zlib.compress(matrix)[:-4] + b"\0\0\0\0")  # the Adler-32 at the end
    with pytest.raises(zlib.error, match="incorrect data check"):
        load(path, variables(path)["ab"])
    write(zlib.compress(matrix + b"more"))
    with pytest.raises(matlab5.Damaged, match="does not end where it should"):
        load(path, variables(path)["ab"])
