"""Fifth tab: maps as GeoTIFF, NetCDF and PNG, areas of change as polygons with their size, scores as CSV, and Python code."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.data.export import polygons, write_cog, write_polygons
from workbench.errors import InputError
from workbench.pages.change.state import ChangeState
from workbench.views import save
from workbench.views.card import code, escape, explain, heading, html, problem
from workbench.views.change import OURS
from workbench.views.looks import CHANGE, RED, look
from workbench.views.paper.change import maps_png
from workbench.views.plots import batched
from workbench.views.screen import wrapped

INVITATION = (
    "Maps, areas of change and scores can be downloaded here when a run has finished, or when the first tab shows a classical "
    "map."
)


class Export:
    """Downloads of the map on the first tab."""

    def __init__(self, state: ChangeState) -> None:
        self.state = state
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        common = {"size": "small", "width": 210, "margin": (6, 8)}
        self.threshold = pmui.FloatInput(label="Change where P is above", value=0.5, start=0.0, end=1.0, step=0.05, **common)
        self.least = pmui.IntInput(label="Smallest area, pixels", value=4, start=1, **common)
        self.surer = pmui.Switch(
            label="only where uncertainty is low: the share under How sure?", value=False, margin=(12, 8)
        )
        self.count = pmui.Button(label="Count areas", icon="calculate", variant="outlined", size="small", margin=(6, 8))
        self.text = html(margin=(4, 8))
        self.message = html(margin=(4, 8))
        self.geojson = save.download("Polygons, GeoJSON", lambda: self.polygon_file(".geojson"), "change.geojson")
        self.geopackage = save.download("Polygons, GeoPackage", lambda: self.polygon_file(".gpkg"), "change.gpkg")
        self.change = save.download("Change P, GeoTIFF", lambda: self.cog("change"), "change.tif")
        self.uncertainty = save.download("Uncertainty, GeoTIFF", lambda: self.cog("uncertainty"), "uncertainty.tif")
        self.netcdf = save.download("All maps, NetCDF", self.maps_file, "maps.nc")
        self.png = save.download("Picture, PNG", self.picture, "change.png")
        self.csv = save.download("Scores, CSV", self.scores, "scores.csv")
        self.code = html(margin=(0, 8))
        self._content = pn.Column(
            self.text,
            heading("Areas of change"),
            wrapped(self.threshold, self.least, self.surer),
            wrapped(self.count, self.geojson, self.geopackage),
            self.message,
            heading("Maps"),
            wrapped(self.change, self.uncertainty, self.netcdf, self.png),
            heading("Numbers"),
            wrapped(self.csv),
            visible=False,
            **stretch,
        )
        self._invite = explain("Nothing to download yet", INVITATION, height=200)
        self.panel = pn.Column(
            self._content, self._invite, heading("The same as code"), self.code, sizing_mode="stretch_width", margin=(8, 4)
        )
        self.count.on_click(batched(lambda _: self.tell()))
        state.param.watch(batched(lambda *_: self.take()), ["tab", "detector", "sample"])

    def take(self) -> None:
        """Offer the downloads that exist for the map on the first tab."""
        state = self.state
        if state.data is None:
            return
        p = self.map("change")
        self._content.visible, self._invite.visible = p is not None, p is None
        self.code.object = code(self.as_code())
        self.message.object = ""
        if p is None:
            return
        self.threshold.disabled = state.mask
        self.threshold.label = "A mask: no threshold" if state.mask else "Change where P is above"
        self.change.label = "Change mask, GeoTIFF" if state.mask else "Change P, GeoTIFF"
        sure = self.map("uncertainty") is not None
        self.uncertainty.visible = sure
        self.surer.disabled = not sure or not state.judged
        self.netcdf.visible = state.findings is not None
        self.csv.visible = state.findings is not None and "scores" in state.findings.result
        which = f", pair {escape(state.sample)}" if state.samples else ""
        self.geojson.filename = f"{self._areas_name}.geojson"
        place = "georeferenced like the pair" if self.placed else "in pixels: the pair is not georeferenced"
        self.text.object = f"Map of <b>{escape(CHANGE[state.shown].title)}</b>{which}, as chosen on the first tab; {place}."

    @property
    def placed(self) -> bool:
        """Whether the pair is georeferenced."""
        return self.state.data is not None and "spatial_ref" in self.state.data.coords

    def map(self, kind: str) -> xr.DataArray | None:
        """The map on the first tab (y, x), on the pair's coordinates; "uncertainty" exists only for AR-CDNet's own map."""
        state, name = self.state, self.state.shown
        values = state.probability()
        if kind == "uncertainty":
            own = state.findings.map("uncertainty", OURS, state.sample) if state.findings is not None else None
            values = own.values if own is not None and name == OURS else None
        if values is None:
            return None
        like = state.pair()["before"].isel(band=0, drop=True)
        return like.copy(data=np.asarray(values, np.float32)).assign_attrs(long_name=kind)

    # --- areas ------------------------------------------------------------------------------------------------------

    def areas(self) -> dict[str, Any]:
        """Connected areas of change, from `workbench.data.export.polygons`."""
        u, limit = self.map("uncertainty"), None
        if self.surer.value and not self.surer.disabled:
            judged = self.state.judged[OURS]
            limit = float(judged.threshold[judged.at(self.state.answered)])
        threshold = 0.5 if self.state.mask else float(self.threshold.value)
        return polygons(self.map("change"), threshold, u, limit, int(self.least.value))

    def tell(self) -> None:
        """Show number and size of the areas."""
        areas = [f["properties"] for f in self.areas()["features"]]
        if not areas:
            self.message.object = "No area of change is large enough and certain enough."
            return
        pixels = sum(f["pixels"] for f in areas)
        text = f"<b>{len(areas):,} area{'s' if len(areas) > 1 else ''}</b>, {pixels:,} pixels in total"
        if areas[0]["area_m2"] is not None:
            sizes = [f["area_m2"] for f in areas]
            text += f", {sum(sizes):,.0f} m² on the ellipsoid; the largest {max(sizes):,.0f} m²"
        else:
            text += "; no areas in square metres, because the pair is not georeferenced"
        self.message.object = text

    def polygon_file(self, suffix: str) -> io.BytesIO:
        """The areas as a file."""
        return self._file(lambda path: write_polygons(self.areas(), path), f"{self._areas_name}{suffix}")

    @property
    def _areas_name(self) -> str:
        """Stem of the file of areas; without a georeference it says that the coordinates are pixels."""
        return "change" if self.placed else "change-pixels"

    # --- maps and numbers -------------------------------------------------------------------------------------------

    def cog(self, kind: str) -> io.BytesIO:
        """One map as a cloud-optimised GeoTIFF."""
        return self._file(lambda path: write_cog(self.map(kind), path), f"{kind}.tif")

    def _file(self, write: Callable[[Path], Any], name: str) -> io.BytesIO:
        """The bytes of the file that `write` makes; an InputError is shown on the page and raised."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            try:
                write(path)
            except InputError as error:
                self.message.object = f'<span style="color:{RED}">{problem(str(error))}</span>'
                raise
            return io.BytesIO(path.read_bytes())

    def maps_file(self) -> io.BytesIO:
        """The whole result of the run, with its tables and provenance."""
        result = self.state.findings.result.load()
        return io.BytesIO(bytes(result.to_netcdf(engine="h5netcdf")))

    def picture(self) -> io.BytesIO:
        """Both dates, decisions, the change map, U and the error in one figure."""
        state, u = self.state, self.map("uncertainty")
        title = f"{state.called}{', ' + state.sample if state.samples else ''}: {CHANGE[state.shown].title}"
        uncertainty = None if u is None else u.values
        return maps_png(state.pair(), self.map("change").values, uncertainty, title, mask=state.mask)

    def scores(self) -> io.StringIO:
        """Scores of all detectors on test pixels, one row per rival."""
        rows = self.state.findings.table("scores", "rival")
        columns: dict[str, Any] = {"rival": [look(n, CHANGE).title for n, _ in rows]}
        columns |= {c: [numbers[c] for _, numbers in rows] for c in rows[0][1]}
        return save.spectra_csv(columns)

    # --- code -------------------------------------------------------------------------------------------------------

    def as_code(self) -> str:
        """Python that opens this pair, trains with these settings, and writes these files."""
        state = self.state
        given = f"wb.Source({state.named.arguments()})"
        one = f".sel(sample={state.sample!r})" if state.samples else ""
        lines = [
            "import workbench as wb",
            "from workbench.data.export import polygons, write_cog, write_polygons",
            "",
            f'outcome = wb.execute("arcdnet", {given}, overrides={state.runner.form.overrides!r}, progress=True)',
            f'change = outcome.result["change"]{one}',
            'write_cog(change, "change.tif")',
            f"areas = polygons(change, {self.threshold.value:g}, min_pixels={self.least.value})",
            f'write_polygons(areas, "{self._areas_name}.geojson")',
            f"wb.change({given})  # this page, in a notebook",
        ]
        if state.findings is not None and state.runner.live is not None:
            lines.insert(3, f"# the run on this page: workbench.runs.folder.result({state.runner.live.folder.as_posix()!r})")
        return "\n".join(lines)
