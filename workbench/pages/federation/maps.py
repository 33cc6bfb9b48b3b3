"""Fourth tab: the class map beside the truth, and where the heads of single sensors, or the owners, disagree."""

from __future__ import annotations

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.data.coresets import true_map
from workbench.pages.federation.state import FederationState
from workbench.scene import names_of
from workbench.views.card import explain, html
from workbench.views.classes import ClassMap, legend
from workbench.views.kinds import picture
from workbench.views.looks import GREY, RED, VIOLET
from workbench.views.picture import PictureView
from workbench.views.plots import Frame, batched
from workbench.views.screen import grid

INVITATION = (
    "When a run has finished, this tab shows the class map of the first owner beside the true classes, and the pixels on which the heads "
    "of single sensors disagree. A run of chips without a map, or with <b>map</b> off, has none."
)

APART = {
    "differ": "Maps of the two owners: red differ",
    "heads_differ": "Heads of one sensor: red one, violet both disagree",
}
WORDS, COLOURS = ("agree", "disagree", "both disagree"), (GREY, RED, VIOLET)


class Maps:
    """Linked maps of one image."""

    def __init__(self, state: FederationState) -> None:
        self.state = state
        self.frame = Frame()
        self.images = pmui.Select(label="Image", options={}, size="small", width=220, margin=(6, 8))
        self.given = ClassMap(self.frame, "Classes at the first owner")
        self.true = ClassMap(self.frame, "True classes")
        self.apart = {name: ClassMap(self.frame, "") for name in APART}
        self.entropy = PictureView(frame=self.frame)
        self.key, self.text = html(margin=(4, 8)), html(margin=(4, 8))
        self._content = pn.Column(
            self.images,
            self.key,
            self.text,
            grid(
                self.given.panel,
                self.true.panel,
                *(v.panel for v in self.apart.values()),
                self.entropy.panel,
                least=300,
                most=3,
            ),
            visible=False,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._invite = explain("Where do sensors disagree?", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        self.images.param.watch(batched(lambda e: e.new is not None and setattr(state, "image", e.new)), "value")

    def take(self) -> None:
        """Reset for another result, or for none."""
        findings = self.state.findings
        known = findings is not None and "labels" in findings.result
        self._content.visible, self._invite.visible = known, not known
        if findings is None or not known:
            return
        labels = findings.result["labels"]
        count = labels.sizes.get("sample", 1)
        names = labels["sample"].values.astype(str) if "sample" in labels.coords else [str(n) for n in range(count)]
        self.images.visible = count > 1
        self.images.options = {str(n): i for i, n in enumerate(names)}
        numbers = findings.numbers()
        words = {
            "disagreement": "share of test pixels on which heads of single sensors disagree",
            "differ_share": "share of pixels on which the owners' maps differ",
        }
        told = [f"{text}: <b>{numbers[name]:.3f}</b>" for name, text in words.items() if name in numbers]
        told.append(f"OA <b>{numbers['oa']:.3f}</b>, best single owner {numbers.get('oa_only_best', float('nan')):.3f}")
        self.text.object = "; ".join(told) + f". Split: {findings.result.attrs.get('split', 'not named')}."
        self.key.object = legend(names_of(labels) or findings.names)
        self.draw()

    def draw(self) -> None:
        """Draw the maps of the image."""
        state, findings = self.state, self.state.findings
        if findings is None or "labels" not in findings.result or state.tab != 3:
            return
        result = findings.result
        names = names_of(result["labels"]) or findings.names
        labels = _one(result["labels"], state.image)
        if self.frame.shape != labels.shape:
            self.frame.fit(*labels.shape)
        self.given.show(labels.values, names)
        truth = self._truth(result["labels"])
        self.true.panel.visible = truth is not None
        if truth is not None:
            self.true.show(true_map(truth, names), names)
        for name, view in self.apart.items():
            view.panel.visible = name in result
            if name in result:
                values = np.nan_to_num(_one(result[name], state.image).values, nan=-1).astype(int)
                title = APART[name] if findings.method == "feddiff" else "Heads of single sensors: red disagree"
                view.show(values, WORDS, title, COLOURS)
        self.entropy.show(picture("uncertainty", _one(result["uncertainty"], state.image)))

    def _truth(self, labels: xr.DataArray) -> xr.DataArray | None:
        data = self.state.data
        if data is None or "truth" not in data:
            return None
        truth = data["truth"]
        if "sample" in truth.dims:
            if "sample" in labels.coords and "sample" in truth.coords:
                return truth.sel(sample=labels["sample"].values[self.state.image])
            return truth.isel(sample=self.state.image)
        return truth


def _one(array: xr.DataArray, image: int) -> xr.DataArray:
    """(y, x) of the chosen image."""
    return array.isel(sample=min(image, array.sizes["sample"] - 1)) if "sample" in array.dims else array
