"""Tiled inference of AR-CDNet: the whole image's numbers, no seam, lazily, straight to georeferenced files."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from torch import nn

from workbench.errors import InputError
from workbench.methods.arcdnet import ARCDNet, Config, Trained, exchange_gap, inspect, load_network, predict, predict_to_cog
from workbench.methods.arcdnet.tiles import layout, line, packed, strips


def trained(bands: int = 2, **settings) -> Trained:
    torch.manual_seed(0)
    config = Config(**{"width": 4, **settings})
    net = ARCDNet(bands, config)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.1, 0.3)
    for head in (net.head, *([net.branch.head] if net.branch else [])):
        head[-1].weight.data *= 10
    net.mean.fill_(0.5)
    net.std.fill_(0.3)
    return Trained(net.eval(), config)


def images(height: int, width: int, bands: int = 2, georeferenced: bool = False) -> tuple[xr.DataArray, xr.DataArray]:
    random = np.random.default_rng(3)
    coords = {"y": 5_000_000.0 - 10 * np.arange(height), "x": 400_000.0 + 10 * np.arange(width)} if georeferenced else {}
    both = []
    for _ in range(2):
        image = xr.DataArray(random.random((bands, height, width), np.float32), coords, ("band", "y", "x"))
        both.append(image.rio.write_crs("EPSG:32633") if georeferenced else image)
    return both[0], both[1]


@pytest.fixture(autouse=True)
def _rio():
    import rioxarray  # noqa: F401


@pytest.mark.parametrize("length", [1, 15, 16, 100, 512, 513, 700, 1500, 4096])
@pytest.mark.parametrize(("tile", "margin", "fade"), [(512, 208, 1), (512, 32, 128), (64, 0, 16), (1024, 208, 1)])
def test_shares_of_tiles_are_one_everywhere(length, tile, margin, fade):
    placed = line(length, tile, margin, fade, 16)
    total = np.zeros(-(-length // 16) * 16)
    for start, share in zip(placed.starts, placed.share, strict=True):
        assert start % 16 == 0
        total[start : start + placed.size] += share
        inner = share[margin if start else 0 : len(share) - (margin if start + placed.size < len(total) else 0)]
        assert share.sum() == pytest.approx(inner.sum())  # the margin counts nothing where there is a neighbour
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(70, 90), (200, 333)])
def test_strips_put_back_what_they_cut(shape):
    before, after = images(*shape)
    found = list(strips(lambda a, b: torch.cat([a[0], b[0]]), before, after, 64, 16, 16, 16))
    assert len(found) > 1
    np.testing.assert_allclose(np.concatenate(found, 1), np.concatenate([before, after]), atol=1e-6)


def test_a_tiled_result_is_the_whole_images():
    model, (before, after) = trained(), images(704, 624)
    whole = predict(model, before, after, tile=1024)
    tiled = predict(model, before, after, tile=512)
    assert float(whole["change"].std()) > 0.01  # there is something to compare
    for name in ("change", "uncertainty"):
        np.testing.assert_allclose(tiled[name], whole[name], rtol=0, atol=1e-4)
    short = predict(model, before, after, tile=192, margin=32)  # too little margin: this test can fail
    assert abs(short["change"] - whole["change"]).max() > 1e-4


def test_odd_sizes_differ_at_their_border_only():
    model, (before, after) = trained(), images(601, 530)
    cut = [image.isel(y=slice(0, 593), x=slice(0, 530)) for image in (before, after)]
    whole, part = predict(model, before, after), predict(model, *cut)
    far = {"y": slice(0, 593 - 224)}
    np.testing.assert_allclose(part["change"].isel(far), whole["change"].isel(far), rtol=0, atol=1e-4)
    assert whole["change"].shape == (601, 530)


def test_global_tiles_fade_into_each_other():
    model, (before, after) = trained(context="global"), images(160, 320)
    assert layout(model.config, 128) == (128, 8, 32)
    tiled = predict(model, before, after, tile=128)["change"]
    assert np.isfinite(tiled).all()
    assert abs(tiled - predict(model, before, after, tile=512)["change"]).max() > 1e-4  # other contexts, other numbers


def test_missing_pixels_are_missing_in_the_maps_and_spoil_no_other():
    model, (before, after) = trained(), images(96, 96)
    before[0, 10:20, 30:40], after[1, 90, 90] = np.nan, np.nan
    found = predict(model, before, after)
    lost = np.isnan(found["change"].values)
    expected = np.zeros((96, 96), bool)
    expected[10:20, 30:40] = expected[90, 90] = True
    np.testing.assert_array_equal(lost, expected)
    np.testing.assert_array_equal(np.isnan(found["uncertainty"].values), expected)


@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (33, 16)])
def test_images_smaller_than_anything(shape):
    found = predict(trained(), *images(*shape))
    assert found["change"].shape == shape
    assert np.isfinite(found["change"]).all()


def test_lazy_images_are_read_tile_by_tile_and_give_the_same():
    before, after = images(160, 160)
    read = []

    def watched(block):
        read.append(block.shape)
        return block

    lazy = []
    for image in (before, after):
        blocks = dask.array.from_array(image.values, (2, 32, 32)).map_blocks(watched, meta=np.empty((0, 0, 0), np.float32))
        lazy.append(xr.DataArray(blocks, dims=image.dims))
    rows = strips(lambda a, b: torch.cat([a[0], b[0]]), *lazy, tile=96, margin=16, fade=32, stride=16)
    next(rows)
    assert len(read) == 2 * 3 * (3 + 3 + 3)  # the first row of three tiles, 3 blocks high: not the image, which has 5
    model = trained()
    np.testing.assert_array_equal(predict(model, *lazy)["change"], predict(model, before, after)["change"])


def test_straight_to_georeferenced_files(tmp_path):
    model, (before, after) = trained(), images(640, 560, georeferenced=True)
    paths = predict_to_cog(model, before, after, tmp_path / "p.tif", tmp_path / "u.tif", tile=512)
    expected = predict(model, before, after, tile=512)
    for path, name in zip(paths, ("change", "uncertainty"), strict=True):
        with rasterio.open(path) as file:
            assert file.crs.to_epsg() == 32633
            assert file.transform == rasterio.Affine(10, 0, 399_995, 0, -10, 5_000_005)
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            np.testing.assert_array_equal(file.read(1), expected[name])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.tif", "u.tif"]


def test_uncertainty_that_was_not_trained_is_refused(tmp_path):
    with pytest.raises(InputError, match="oue=false"):
        predict_to_cog(trained(oue=False), *images(64, 64), tmp_path / "p.tif", tmp_path / "u.tif")


def test_tiles_without_a_middle_are_refused():
    with pytest.raises(InputError, match="no centre left"):
        predict(trained(), *images(600, 600), tile=256)


def test_other_bands_are_refused():
    with pytest.raises(InputError, match="trained with 2 bands; the pair has 3"):
        predict(trained(), *images(64, 64, bands=3))


def test_a_pair_of_another_kind_is_refused():
    before, after = (image.assign_attrs(kind="sar") for image in images(64, 64))
    with pytest.raises(InputError, match="is SAR, the network was trained on optical"):
        predict(trained(), before, after)


def test_weights_come_back_from_a_file(tmp_path):
    from safetensors.torch import save_file

    model, (before, after) = trained(), images(64, 64)
    flat = {
        f"{net}/{k}": v.contiguous() for net, s in packed(model.network, model.config, 0.01).items() for k, v in s.items()
    }
    save_file(flat, tmp_path / "weights.safetensors")
    for source in (tmp_path, tmp_path / "weights.safetensors"):
        again = load_network(source)
        assert (again.config, again.log) == (model.config, 0.01)
    same = Trained(again.network, again.config)
    np.testing.assert_array_equal(predict(same, before, after)["change"], predict(model, before, after)["change"])


def test_weights_of_something_else_are_refused(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(InputError, match=r"no .*weights\.safetensors: the run has not finished"):
        load_network(tmp_path)
    save_file({"denoiser/x": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="no network of arcdnet"):
        load_network(tmp_path)


def test_the_inspector_shows_what_the_review_looks_at():
    found = inspect(trained(), *images(70, 50))
    assert dict(found.sizes) == {"level": 3, "review": 2, "y": 70, "x": 50}
    assert list(found["level"]) == [2, 3, 4]
    for values in found.data_vars.values():
        assert float(values.min()) >= 0
        assert float(values.max()) <= 1
    assert float(abs(found["reverse"][0] + found["mask"][1] - 1).max()) < 1e-3  # resized after, so nearly


def test_the_gap_of_exchanged_dates():
    model, (before, after) = trained(), images(64, 64)
    gap = exchange_gap(model, before, after)
    np.testing.assert_allclose(gap, abs(predict(model, before, after)["change"] - predict(model, after, before)["change"]))
    assert float(gap.max()) > 0
    assert float(exchange_gap(model, before, before).max()) == 0
