"""Fourth tab: masks and attention of knowledge review for the visible pair, and how P depends on the order of the dates."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.errors import InputError
from workbench.methods.arcdnet import exchange_gap, inspect, load_network
from workbench.pages.change.state import ChangeState
from workbench.views.card import explain, html, problem
from workbench.views.fields import Field
from workbench.views.looks import RED
from workbench.views.plots import Frame, batched
from workbench.views.screen import beside, grid

LARGEST = 512  # pixels a side of the pair that are used at most: the network runs in the page's own process
SUB = {3: "₃", 4: "₄", 5: "₅"}
REVIEWS = 3  # rows of maps: one per review of the full network
INVITATION = (
    "When a run has finished, this tab shows the inside of its network: the pixels that each level marks as change, the reverse "
    "attention of the coarse levels, and where two levels disagree. It can also exchange the dates: change does not depend on "
    "their order, so P should not either."
)
NOTES = (
    "<b>s(m₂)</b>: change mask of the finest level. For every coarser level k: <b>s(mₖ)</b>, its change mask; "
    "<b>1 − s(mₖ)</b>, reverse attention: high where this level found no change; <b>disagreement</b> of levels 2 and k: the "
    "probability that two independent draws from them differ."
)


class Inside:
    """Side masks and attention by level, and the change of P when the dates are exchanged."""

    def __init__(self, state: ChangeState) -> None:
        self.state = state
        self._drawn: tuple[Any, ...] = ()
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.frame = Frame()
        self.first = Field(self.frame, "s(m₂)")
        self.gap = Field(self.frame, "|P(A, B) − P(B, A)|", palette="uncertainty")
        self.rows = [
            (
                Field(self.frame, "s(mₖ)"),
                Field(self.frame, "1 − s(mₖ)"),
                Field(self.frame, "disagreement", palette="uncertainty"),
            )
            for _ in range(REVIEWS)
        ]
        self._rows = [pn.Column(grid(*(f.panel for f in row), least=190), **stretch) for row in self.rows]
        self.text = html(margin=(4, 8))
        self.swap = pmui.Button(
            label="Exchange the dates", icon="swap_horiz", variant="outlined", size="small", margin=(10, 8, 4, 8)
        )
        self.swapped = html(margin=(2, 8))
        self._content = pn.Column(
            self.text,
            html(NOTES, margin=(2, 8, 6, 8)),
            beside(
                pn.Column(self.first.panel, self.swap, self.swapped, self.gap.panel, **stretch),
                pn.Column(*self._rows, **stretch),
                least=(260, 600),
            ),
            visible=False,
            **stretch,
        )
        self._invite = explain("Look inside", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        self.swap.on_click(batched(lambda _: self.exchange()))
        state.param.watch(batched(lambda _: self.draw()), "tab")

    def take(self) -> None:
        """Reset for another result, or for none."""
        self._drawn = ()
        available = self.state.weights() is not None
        self._content.visible, self._invite.visible = available, not available
        self.draw()

    def window(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Both dates of the visible pair, cropped to the central LARGEST pixels a side."""
        pair = self.state.pair()
        at = {}
        for dim in ("y", "x"):
            start = max(0, (pair.sizes[dim] - LARGEST) // 2)
            at[dim] = slice(start, start + LARGEST)
        return pair["before"].isel(at), pair["after"].isel(at)

    def draw(self) -> None:
        """Compute and draw the maps of the visible pair, when the tab is visible: this needs a pass through the network."""
        state, folder = self.state, self.state.weights()
        now = (str(folder), state.sample, state.key)
        if folder is None or state.data is None or state.tab != 3 or self._drawn == now:
            return
        self._drawn = now
        self.gap.show(None)
        self.gap.panel.visible = False
        self.swapped.object = ""
        self.text.object = "Computing …"
        before, after = self.window()
        key = ("inside", *now)
        state.when(state.MADE.ask(key, lambda: inspect(load_network(folder), before, after)), lambda f: self._show(f, now))

    def _show(self, future: Future, asked: tuple[Any, ...]) -> None:
        if asked != self._drawn:
            return
        try:
            maps = future.result()
        except InputError as error:
            self.text.object = f'<span style="color:{RED}">{problem(str(error))}</span>'
            return
        self.frame.fit(maps.sizes["y"], maps.sizes["x"])
        self.first.show(maps["mask"].sel(level=2).values)
        reviews = [int(k) for k in maps["review"].values]
        for (row, fields), k in zip(zip(self._rows, self.rows, strict=True), [*reviews, *[0] * REVIEWS], strict=False):
            row.visible = k > 0
            if k:
                shown = (maps["mask"].sel(level=k), maps["reverse"].sel(review=k), maps["disagreement"].sel(review=k))
                for field, values, title in zip(
                    fields, shown, (f"s(m{SUB[k]})", f"1 − s(m{SUB[k]})", f"levels 2 and {k} disagree"), strict=True
                ):
                    field.show(values.values, title)
        name = f"pair {self.state.sample}" if self.state.samples else "the pair"
        part = max(self.state.data["before"].shape[-2:]) > LARGEST
        text = f"Inside the network, for {name}" + (f"; its central {LARGEST} × {LARGEST} pixels" if part else "")
        self.text.object = text + ("" if reviews else ". This network has only one level of masks, so there is no review.")

    def exchange(self) -> None:
        """Run the network with the dates exchanged."""
        state, folder, now = self.state, self.state.weights(), self._drawn
        if folder is None or not now:
            return
        self.swapped.object = "Computing P(B, A) …"
        before, after = self.window()

        def here(future: Future) -> None:
            if now == self._drawn:
                self._swapped(future.result())

        state.when(state.MADE.ask(("gap", *now), lambda: exchange_gap(load_network(folder), before, after)), here)

    def _swapped(self, gap: xr.DataArray) -> None:
        values = gap.values
        self.gap.show(values)
        self.gap.panel.visible = True
        config = self.state.runner.config
        reason = (
            "The second branch of the difference gets the dates in reverse order, but has different weights: P(A, B) and "
            "P(B, A) are similar, not equal."
            if config.get("swap_second") and not config.get("compat")
            else "Both branches get the dates in the same order, as in the authors' code."
        )
        self.swapped.object = (
            f"mean {np.nanmean(values):.4f}, largest {np.nanmax(values):.3f}. <span style='opacity:.8'>{reason}</span>"
        )
