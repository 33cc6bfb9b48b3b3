"""A scene's reference: what it opens, what its hash follows, its command line and its record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from PIL import Image

import workbench as wb
from tests.elsewhere import sent
from workbench.data.catalog import open_scene
from workbench.data.source import Source
from workbench.errors import InputError

CUBE = np.random.default_rng(0).random((4, 6, 5), np.float32)


def tif(
    path: Path, values: np.ndarray, *, corner: tuple[float, float] | None = (500_000, 4_000_000), crs: str = "EPSG:32633"
) -> Path:
    bands, rows, columns = values.shape
    place = {} if corner is None else {"crs": crs, "transform": Affine(10, 0, corner[0], 0, -10, corner[1])}
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=rows, width=columns, dtype=values.dtype, **place
    ) as file:
        file.write(values)
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "scene": tif(tmp_path / "cube.tif", CUBE),
        "truth": tmp_path / "mask.npy",
        "lidar": tif(tmp_path / "height.tif", CUBE[:1] * 30),
        "sar": tif(tmp_path / "radar_db.tif", -CUBE[:1] * 10),
        "infrared": tif(tmp_path / "ir.tif", CUBE[:3]),
    }


@pytest.fixture
def source(files: dict[str, Path]) -> Source:
    np.save(files["truth"], (CUBE[0] > 0.5).astype(np.uint8))
    beside = {n: str(files[n]) for n in ("lidar", "sar", "infrared")}
    return Source(str(files["scene"]), str(files["truth"]), beside=beside)


def test_it_is_one_value() -> None:
    pair = Source("a.tif", keys={"modality": "sar"}, beside={"after": "b.tif"}, resample=True)
    same = Source(Path("a.tif"), "", {"modality": "sar"}, {"lidar": "", "after": Path("b.tif")}, True)
    assert pair == same
    assert hash(pair) == hash(same)
    assert sent(pair) == pair
    assert len({pair, same, Source("a.tif"), Source("a.tif", "t.png")}) == 3
    with pytest.raises(TypeError):
        pair.beside["lidar"] = "c.tif"  # type: ignore[index]
    assert wb.Source is Source
    with pytest.raises(InputError, match="Did you mean 'lidar'"):
        Source("a.tif", beside={"lidr": "b.tif"})


def test_further_sensors_lie_on_the_pixels_of_the_scene(source: Source) -> None:
    scene = source.open()
    assert {n: scene[n].dims for n in ("hsi", "lidar", "sar", "infrared", "truth")} == {
        "hsi": ("band", "y", "x"),
        "lidar": ("lidar_band", "y", "x"),
        "sar": ("sar_band", "y", "x"),
        "infrared": ("infrared_band", "y", "x"),
        "truth": ("y", "x"),
    }
    assert all(scene[n].dtype == np.float32 for n in ("lidar", "sar", "infrared"))
    assert scene["lidar"].attrs["units"] == "m"
    np.testing.assert_allclose(scene["lidar"].values, CUBE[:1] * 30)
    np.testing.assert_allclose(scene["sar"].values, 10 ** -CUBE[:1], rtol=1e-6)
    np.testing.assert_array_equal(scene["hsi"].values, CUBE)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: tif(p, CUBE[:1, :5]), r"has 5 x 5 pixels, the scene 6 x 5 \(rows x columns\). Put"),
        (
            lambda p: tif(p, CUBE[:1], corner=(500_005, 4_000_000)),
            "its x runs from 500010 to 500050, that of the scene from 500005",
        ),
        (lambda p: tif(p, CUBE[:1], crs="EPSG:32634"), "its CRS is WGS 84 / UTM zone 34N, that of the scene"),
        (lambda p: tif(p, (CUBE[:1] * 255).astype(np.uint8)), "is a picture .uint8., not heights"),
        (lambda p: p.write_bytes(b"nothing"), "height.tif"),
    ],
)
def test_another_grid_is_refused(files: dict[str, Path], spoil, says: str) -> None:
    spoil(files["lidar"])
    with pytest.raises(InputError, match=says):
        Source(files["scene"], beside={"lidar": str(files["lidar"])}).open()


def test_heights_on_another_grid_are_resampled_and_told(files: dict[str, Path]) -> None:
    """A plane of heights with pixels of 5 m, shifted by 2.5 m: bilinear interpolation of a plane is the plane."""
    y, x = np.mgrid[0:40, 0:40]
    plane = (3 * (499_950 + (x + 0.5) * 5) - 1_499_900 + 2 * (4_000_050 - (y + 0.5) * 5) - 8_000_000)[None]
    place = {"crs": "EPSG:32633", "transform": Affine(5, 0, 499_950, 0, -5, 4_000_050)}
    with rasterio.open(files["lidar"], "w", driver="GTiff", count=1, height=40, width=40, dtype="float32", **place) as file:
        file.write(plane.astype(np.float32))
    with pytest.raises(
        InputError, match=r"has 40 x 40 pixels, the scene 6 x 5.*Or let it be put onto the pixels of the scene.*--resample"
    ):
        open_scene(files["scene"], beside={"lidar": files["lidar"]})
    source = Source(str(files["scene"]), beside={"lidar": str(files["lidar"])}, resample=True)
    scene = source.open()
    assert scene["lidar"].shape == (1, 6, 5)
    wanted = 3 * scene["x"].values[None] - 1_499_900 + 2 * scene["y"].values[:, None] - 8_000_000
    np.testing.assert_allclose(scene["lidar"].values[0], wanted, atol=0.6)  # metres; the plane rises 15 m per pixel
    assert "height.tif was resampled (bilinear) onto the pixels of the scene" in scene.attrs["notes"]
    assert Source.from_record(source.record()).open()["lidar"].equals(scene["lidar"])
    np.testing.assert_array_equal(
        open_scene(files["scene"], beside={"infrared": files["infrared"]}, resample=True)["infrared"], CUBE[:3]
    )


def test_a_file_of_another_place_and_radar_are_not_resampled(files: dict[str, Path]) -> None:
    tif(files["lidar"], CUBE[:1, :5], corner=(900_000, 4_000_000))
    with pytest.raises(
        InputError, match=r"The scene and height.tif \(lidar\) do not overlap: x 500000 to 500050 and 900000 to 900050"
    ):
        open_scene(files["scene"], beside={"lidar": files["lidar"]}, resample=True)
    tif(files["sar"], -CUBE[:1, :5] * 10)
    with pytest.raises(InputError, match=r"has 5 x 5 pixels, the scene 6 x 5 .*gdalwarp"):
        open_scene(files["scene"], beside={"sar": files["sar"]}, resample=True)
    with pytest.raises(InputError, match="puts a further file onto the pixels of the first"):
        open_scene(files["scene"], resample=True)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_without_a_map_on_one_side_the_sizes_decide(files: dict[str, Path]) -> None:
    tif(files["lidar"], CUBE[:1], corner=None)
    assert "lidar" in open_scene(files["scene"], beside={"lidar": files["lidar"]})


def test_what_a_second_sensor_cannot_stand_beside(files: dict[str, Path], source: Source) -> None:
    with pytest.raises(InputError, match="one image only"):
        open_scene("digits", beside={"lidar": files["lidar"]})
    with pytest.raises(InputError, match="lidar.alpha; leave lidar.scale out"):
        open_scene(files["scene"], beside={"lidar": files["lidar"]}, keys={"lidar.scale": "db"})
    plain = tif(files["sar"].with_name("plain.tif"), -CUBE[:1] * 10)
    told = open_scene(files["scene"], beside={"sar": plain}, keys={"sar.scale": "db", "sar.polarization": "VV"})
    assert list(told["polarization"].values) == ["VV"]


def test_one_byte_of_any_file_changes_the_hash(source: Source) -> None:
    seen = {source.digest()}
    assert source.digest() in seen
    for path in map(Path, source.files()):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        assert source.digest() not in seen, path.name
        seen.add(source.digest())
    assert len(seen) == 6


def test_the_role_and_the_files_that_belong_to_a_file_are_in_the_hash(tmp_path: Path, files: dict[str, Path]) -> None:
    pixels, header, other = tmp_path / "f.img", tmp_path / "f.hdr", tmp_path / "f.png"
    header.write_text("ENVI\nsamples = 2\nlines = 2\nbands = 2\ndata type = 1\ninterleave = bsq\n")
    pixels.write_bytes(bytes(8))
    by_header, by_pixels = Source(header).digest(), Source(pixels).digest()
    other.write_bytes(b"a picture of it")  # is not read with the cube
    assert (Source(header).digest(), Source(pixels).digest()) == (by_header, by_pixels)
    pixels.write_bytes(bytes([1, *range(7)]))
    assert Source(header).digest() != by_header
    changed = Source(pixels).digest()
    header.write_text(header.read_text() + "byte order = 0\n")
    assert Source(pixels).digest() != changed
    scene, other = files["scene"], str(files["infrared"])
    assert Source(scene, beside={"lidar": other}).digest() != Source(scene, beside={"infrared": other}).digest()


def test_a_file_is_read_once_until_it_changes(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.data import fetch

    reads: list[Path] = []
    read = fetch._files.sha256
    monkeypatch.setattr(fetch._files, "sha256", lambda path: reads.append(path) or read(path))
    source = Source(files["scene"], beside={"lidar": str(files["lidar"])})
    source.digest()
    assert len(reads) == 2
    source.digest()
    assert len(reads) == 2
    tif(files["lidar"], CUBE[:1] + 1)
    source.digest()
    assert len(reads) == 3


def test_a_name_or_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean"):
        Source("sim-coast-twon").digest()
    for missing in (
        Source(tmp_path / "a.tif"),
        Source("digits", tmp_path / "a.tif"),
        Source("digits", beside={"after": "./a.tif"}),
    ):
        with pytest.raises(InputError, match="no file"):
            missing.digest()
    assert Source("sim-coast-town").digest() != Source("digits").digest()


def test_argv_gives_back_the_source(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from workbench.cli import app

    opened: list[Source] = []
    monkeypatch.setattr(Source, "open", lambda self, **how: opened.append(self) or xr.Dataset())
    pair = Source("a.tif", "t.png", {"modality": "sar"}, {"after": "b.tif"}, True)
    for one in (source, pair, Source("digits", keys={"cube": "image"})):
        assert CliRunner().invoke(app, ["describe", *one.argv()]).exit_code == 0
    assert opened == [source, pair, Source("digits", keys={"cube": "image"})]
    assert CliRunner().invoke(app, ["describe", "a.tif", "--beside", "after=b.tif"]).exit_code == 0
    assert opened[-1] == Source("a.tif", beside={"after": "b.tif"})
    twice = CliRunner().invoke(app, ["describe", "a.tif", "--beside", "after=b.tif", "--after", "c.tif"])
    assert "twice" in str(twice.exception)


def test_record_and_parameters_give_back_the_source(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bare = Source("cube.tif", "mask.npy", {"scale": "db"}, {"lidar": "height.tif"})
    assert bare.record() == {
        "scene": str(tmp_path / "cube.tif"), "truth": str(tmp_path / "mask.npy"), "keys": {"scale": "db"},
        "beside": {"lidar": str(tmp_path / "height.tif")}, "resample": False,
    }  # fmt: skip
    assert Source.from_record(bare.record()) == bare.absolute()
    assert bare.digest() == bare.absolute().digest()
    assert Source("digits").record() == {"scene": "digits", "truth": None, "keys": {}}
    before = {"scene": "a.tif", "truth": None, "keys": {}, "after": "b.tif", "resample": True}  # written by older code
    assert Source.from_record(before) == Source("a.tif", beside={"after": "b.tif"}, resample=True)
    for one in (source, Source.from_record(before), Source("digits")):
        assert Source.from_parameters(one.parameters()) == one


def test_a_picture_beside_a_picture(tmp_path: Path) -> None:
    """Python's way and the command line's are one: the pair of `open_pair`."""
    from workbench.data.pairs import open_pair

    for name, seed in (("a.png", 1), ("b.png", 2)):
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / name)
    pair = Source(tmp_path / "a.png", beside={"after": tmp_path / "b.png"})
    xr.testing.assert_identical(pair.open(), open_pair(tmp_path / "a.png", tmp_path / "b.png"))


def test_links_masks_and_files_of_systems(tmp_path):
    """The digest follows the pixels behind linked ENVI files and the mask of a TIFF, and not what a system writes into a folder."""
    store, link = tmp_path / "store", tmp_path / "link"
    store.mkdir()
    link.mkdir()
    (store / "k2").write_bytes(bytes(range(24)))
    (store / "k3").write_text("ENVI\nsamples = 2\nlines = 3\nbands = 4\ndata type = 1\ninterleave = bsq\nbyte order = 0\n")
    (link / "f.dat").symlink_to(store / "k2")
    (link / "f.hdr").symlink_to(store / "k3")
    for name in ("f.hdr", "f.dat"):
        source = Source(str(link / name))
        assert source.absolute().open()["hsi"].shape == (4, 3, 2)
        before = source.digest()
        (store / "k2").write_bytes(bytes(range(1, 25)))
        assert source.digest() != before
        (store / "k2").write_bytes(bytes(range(24)))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"a")
    before = Source(str(folder)).digest()
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "._a.png").write_bytes(b"x")
    assert Source(str(folder)).digest() == before
    (folder / "b.tif").write_bytes(b"x")
    one = Source(str(folder / "b.tif")).digest()
    (folder / "b.tif.msk").write_bytes(b"x")
    assert Source(str(folder / "b.tif")).digest() != one
