"""Plots of an inventory: layers of a point cloud, crowns drawn on pixels, and all plots of IDTReeS as one scene."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data.catalog import describe_entry, entries, open_scene
from workbench.data.plots import LAYERS, above_ground, drawn, point_layers
from workbench.errors import InputError
from workbench.scene import VOCABULARY

Y, X = np.array([3.5, 2.5]), np.array([10.5, 11.5, 12.5])


def test_crowns_are_drawn_where_exactly_one_is():
    crowns = [("A", np.array([10, 2, 12, 4])), ("B", np.array([11, 3, 13, 4])), ("C", np.array([12, 2, 13, 3]))]
    truth, crown = drawn(crowns, {"A": 1, "B": 2}, Y, X)
    assert truth.tolist() == [[1, -1, 2], [1, 1, -1]]  # two crowns in one pixel; a species that is not asked for
    assert crown.tolist() == [[1, 0, 2], [1, 1, 0]]


def test_heights_are_above_the_slope_of_the_ground():
    random = np.random.default_rng(0)
    place = random.uniform(0, 20, (2, 40))
    ground = np.stack([*place, 100 + 0.5 * place[0] - 0.2 * place[1]])
    tree = ground[:, :20] + np.array([[0.0], [0.0], [7.0]])
    height = above_ground(np.concatenate([ground, tree], 1), np.array([2] * 40 + [5] * 20))
    np.testing.assert_allclose(height[:40], 0, atol=1e-9)
    np.testing.assert_allclose(height[40:], 7, atol=1e-9)
    np.testing.assert_allclose(above_ground(tree, np.full(20, 5)), tree[2] - tree[2].min())


def test_layers_of_a_small_cloud(tmp_path):
    laspy = pytest.importorskip("laspy")
    cloud = laspy.LasData(laspy.LasHeader(point_format=1, version="1.2"))
    cloud.x, cloud.y, cloud.z = [10.2, 10.7, 12.9, 11.5], [3.9, 3.1, 2.1, 3.5], [1.0, 5.0, 3.0, 99.0]
    cloud.classification, cloud.intensity = [1, 1, 1, 7], [10, 30, 20, 20]
    cloud.write(tmp_path / "a.las")
    layers = dict(zip(LAYERS[1:], point_layers(tmp_path / "a.las", Y, X), strict=True))
    assert layers["returns"].tolist() == [[2, 0, 0], [0, 0, 1]]  # the noise is no return
    assert layers["highest return"].tolist() == [[4, 0, 0], [0, 0, 2]]
    assert layers["mean height"].tolist() == [[2, 0, 0], [0, 0, 2]]
    assert layers["spread of height"].tolist() == [[2, 0, 0], [0, 0, 0]]
    assert layers["share above 2 m"].tolist() == [[0.5, 0, 0], [0, 0, 0]]
    assert layers["intensity"].tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(InputError, match="no return on the pixels"):
        point_layers(tmp_path / "a.las", Y + 100, X)
    (tmp_path / "b.las").write_bytes(b"no cloud")
    with pytest.raises(InputError, match="cannot be read as a point cloud"):
        point_layers(tmp_path / "b.las", Y, X)


@pytest.mark.long
def test_all_plots_of_idtrees_are_one_scene(real_data):
    pytest.importorskip("laspy")
    pytest.importorskip("pyogrio")
    scene = open_scene("idtrees")
    assert dict(scene.sizes) == {"sample": 61, "band": 369, "y": 20, "x": 20, "lidar_band": 7}
    truth = scene["truth"].values
    assert [int((truth == c).sum()) for c in range(1, 9)] == [1630, 534, 371, 3225, 1619, 697, 669, 2109]
    assert (truth == 0).sum() == 0  # nothing is a background
    assert ((scene["crown"].values > 0) == (truth > 0)).all()
    entry = next(e for e in entries() if e.id == "idtrees")
    assert set(entry.provides) == set(scene.data_vars) & set(VOCABULARY)
    assert entry.many
    assert scene.attrs["id"] == "idtrees"
    assert entry.place().is_relative_to(real_data)
    lidar = scene["lidar"].values
    assert ((lidar[:, 0].max((1, 2)) > 1) & (lidar[:, 0].max((1, 2)) < 45)).all()
    assert np.corrcoef(lidar[:, 0].ravel(), lidar[:, 1].ravel())[0, 1] > 0.9  # canopy height of the raster and of the cloud
    assert "61 plots, 8 classes, 10854 labelled pixels" in describe_entry("idtrees")
    with pytest.raises(InputError, match="own truth"):
        open_scene("idtrees", truth="x.tif")
