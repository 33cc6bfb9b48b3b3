"""Fifth tab: boxes as GeoPackage, GeoJSON, CSV and COCO, the network as ONNX, and Python code."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import panel as pn
import xarray as xr

from workbench.data.export_boxes import outlines, write_boxes, write_coco
from workbench.errors import InputError
from workbench.execution import export
from workbench.pages.detection.state import DetectionState
from workbench.views import save
from workbench.views.card import code, explain, heading, html, problem
from workbench.views.looks import RED
from workbench.views.plots import batched
from workbench.views.screen import wrapped

INVITATION = "Boxes and the trained network can be downloaded here when a run has finished."


class Export:
    """Downloads of the boxes of SAR-Net above the score of the slider."""

    def __init__(self, state: DetectionState) -> None:
        self.state = state
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self.text, self.message, self.code = html(margin=(4, 8)), html(margin=(4, 8)), html(margin=(0, 8))
        self.geojson = save.download("GeoJSON", lambda: self.boxes(".geojson"), "boxes.geojson")
        self.geopackage = save.download("GeoPackage", lambda: self.boxes(".gpkg"), "boxes.gpkg")
        self.csv = save.download("CSV", lambda: self.boxes(".csv"), "boxes.csv")
        self.coco = save.download("COCO", lambda: self.boxes(".json"), "boxes.json")
        self.network = save.download("Network, ONNX with manifest and loader", self.onnx, "network.zip")
        self._content = pn.Column(
            self.text,
            heading("Boxes"),
            wrapped(self.geojson, self.geopackage, self.csv, self.coco),
            heading("Network"),
            wrapped(self.network),
            self.message,
            visible=False,
            **stretch,
        )
        self._invite = explain("Nothing to download yet", INVITATION, height=200)
        self.panel = pn.Column(
            self._content, self._invite, heading("The same as code"), self.code, sizing_mode="stretch_width", margin=(8, 4)
        )
        state.param.watch(batched(lambda *_: self.take()), ["tab", "score"])

    def take(self) -> None:
        """Offer the downloads that exist."""
        state = self.state
        known = state.findings is not None
        self._content.visible, self._invite.visible = known, not known
        if state.data is None:
            return
        self.code.object = code(self.as_code())
        if known:
            count = self.dataset().sizes["object"]
            self.text.object = (
                f"{count:,} boxes of SAR-Net in {len(state.basis)} test images, with a score of at least {state.score:.2f} (slider of the "
                "first tab), in pixels of their image: chips are not on a map. For a scene on a map use <code>workbench detect</code>."
            )

    def dataset(self) -> xr.Dataset:
        """The boxes as a dataset, as in a result."""
        assert self.state.findings is not None
        found = self.state.findings.found["sarnet"]
        assert found.score is not None
        kept = found.score >= self.state.score
        return xr.Dataset(
            {
                "box": (("object", "edge"), found.box[kept]),
                "box_sample": ("object", found.image[kept].astype(str)),
                "box_score": ("object", found.score[kept]),
                "box_label": ("object", found.label[kept], {"names": self.state.names}),
            }
        )

    def boxes(self, suffix: str) -> io.BytesIO:
        """The boxes as a file; .json is COCO."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"boxes{suffix}"
            write_coco(self.dataset(), path) if suffix == ".json" else write_boxes(outlines(self.dataset()), path)
            return io.BytesIO(path.read_bytes())

    def onnx(self) -> io.BytesIO:
        """The network of the run as a .zip of its three files; an InputError is shown on the page and raised."""
        folder = self.state.weights()
        packed = io.BytesIO()
        with tempfile.TemporaryDirectory() as place:
            try:
                assert folder is not None
                paths = export(folder, Path(place) / "network.onnx")
            except InputError as error:
                self.message.object = f'<span style="color:{RED}">{problem(str(error))}</span>'
                raise
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in paths:
                    archive.write(path, path.name)
        packed.seek(0)
        return packed

    def as_code(self) -> str:
        """Python that trains with these settings on this scene, and writes these files."""
        state = self.state
        given = f"wb.Source({state.named.arguments()})"
        lines = [
            "import workbench as wb",
            "from workbench.data.export_boxes import outlines, write_boxes",
            "",
            f'outcome = wb.execute("sarnet", {given}, overrides={state.runner.form.overrides!r}, progress=True)',
            'write_boxes(outlines(outcome.result), "boxes.gpkg")  # the boxes above the operating threshold',
            f"wb.detection({given})  # this page, in a notebook",
        ]
        if state.findings is not None and state.runner.live is not None:
            lines.insert(3, f"# the run on this page: workbench.runs.folder.result({state.runner.live.folder.as_posix()!r})")
        return "\n".join(lines)
