"""The entries of places seen by several sensors."""

from __future__ import annotations

import pytest

from tests.unit.data.test_catalog import PART, SHA, write
from workbench.data.beside import put_beside
from workbench.data.catalog import describe_entry, entries, fetch, open_scene, read_folder
from workbench.errors import InputError

PLOT = {
    "kind": "multimodal",
    "site": "X",
    "shape": [369, 20, 20],
    "mirrors": {"one": "https://example.org"},
    "shared": [{**PART, "path": "crowns/x.shp", "role": "crowns"}],
    "files": [{**PART, "role": "hsi", "url": None}, {"role": "lidar", "path": "one/b.tif", "bytes": 9, "sha256": SHA}],
}


def test_mirrors_and_shared_files_of_a_place_are_written_out(tmp_path):
    write(tmp_path, **{**PLOT, "files": [{**PLOT["files"][1], "role": "hsi"}, PLOT["files"][1]]})
    assert [(f.role, f.url) for f in read_folder(tmp_path)["one"].files] == [
        ("hsi", "https://example.org/b.tif"),
        ("lidar", "https://example.org/b.tif"),
        ("crowns", "https://example.org/a.tif"),
    ]
    write(tmp_path, **{**PLOT, "files": PLOT["files"][:1]})
    with pytest.raises(ValueError, match="one hsi and one lidar"):
        read_folder(tmp_path)


@pytest.mark.long
def test_a_plot_opens_as_its_cube_with_its_heights(real_data):
    """61 plots, of which every tenth is opened (all, as one scene, in `test_plots`); the numbers of one of each site as rasterio reads
    them.
    """
    plots = [e for e in entries() if e.kind == "multimodal"]
    assert [sum(e.id.startswith(f"idtrees-{site}-") for e in plots) for site in ("mlbs", "osbs")] == [34, 27]
    assert {e.site[:4] for e in plots} == {"MLBS", "OSBS"}
    for entry in plots[::10]:
        scene = open_scene(entry.id)
        assert scene["hsi"].sizes == {"band": 369, "y": 20, "x": 20}
        assert scene["lidar"].sizes == {"lidar_band": 1, "y": 20, "x": 20}
        assert scene["lidar"].attrs["units"] == "m"
        assert 1 < float(scene["lidar"].max()) < 45, entry.id
    for name, height, corner in (("mlbs-12", 25.669, (538559.5, 4142318.5)), ("osbs-3", 16.859, (404363.5, 3284701.5))):
        scene = open_scene(f"idtrees-{name}")
        assert float(scene["lidar"].max()) == pytest.approx(height, abs=1e-3)
        assert (float(scene["x"][0]), float(scene["y"][0])) == corner
        assert scene.rio.crs.to_epsg() == 32617
        assert scene.attrs["site"].startswith(name[:4].upper())
    assert fetch("idtrees-mlbs-12").name == "MLBS_12.tif"
    card = describe_entry("idtrees-mlbs-12")
    assert "LAS/MLBS_12.las" in card
    assert "site: MLBS" in card


def test_heights_on_another_grid_are_refused(real_data):
    """Plot 12 with the heights of plot 13, as an entry could say by mistake."""
    twelve, thirteen = (next(e for e in entries() if e.id == f"idtrees-mlbs-{n}") for n in (12, 13))
    other = next(f for f in thirteen.files if f.role == "lidar")
    wrong = twelve.model_copy(update={"files": [f for f in twelve.files if f.role != "lidar"] + [other]})
    with pytest.raises(InputError, match="MLBS_13.tif is not on the grid"):
        wrong.open()
    scene = open_scene("idtrees-mlbs-12").drop_vars("lidar")
    with pytest.raises(InputError, match="MLBS_13.tif is not on the grid"):
        put_beside(scene, {"lidar": real_data / "multimodal/idtrees-2020/CHM/MLBS_13.tif"})
    with pytest.raises(InputError, match="20 x 20 pixels, the scene 19 x 20"):
        put_beside(scene.isel(y=slice(0, 19)), {"lidar": real_data / "multimodal/idtrees-2020/CHM/MLBS_12.tif"})
