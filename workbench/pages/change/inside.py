"""Fourth tab: what knowledge review looks at in the pair on show, and whether the answer depends on which date comes first."""

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
from workbench.views.plots import Frame, held

SIDE = 190
LARGEST = 512  # pixels a side of the pair that are looked at: the network runs in the page's own process
SUB = {3: "₃", 4: "₄", 5: "₅"}
REVIEWS = 3  # rows there is room for: the full network has as many
INVITATION = (
    "When a run has finished, this shows inside its network: which pixels each level takes for change, where a coarse level is told "
    "to look again, and where two levels disagree. And it runs the pair backwards: what changed does not depend on which date comes "
    "first, so neither should the answer."
)
NOTES = (
    "<b>s(m₂)</b>: change as the finest level sees it. For every coarser level k: <b>s(mₖ)</b>, change as it sees it; "
    "<b>1 − s(mₖ)</b>, reverse attention: look again where this level saw nothing; <b>disagreement</b> of levels 2 and k: the chance that "
    "two independent draws from them differ."
)


class Inside:
    """Side masks and attentions by level, and the difference that exchanging the dates makes."""

    def __init__(self, state: ChangeState) -> None:
        self.state = state
        self._drawn: tuple[Any, ...] = ()
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.frame = Frame()
        small = {"width": SIDE, "height": SIDE}
        self.first = Field(self.frame, "s(m₂)", **small)
        self.gap = Field(self.frame, "|P(A, B) − P(B, A)|", palette="uncertainty", **small)
        self.rows = [
            (
                Field(self.frame, "s(mₖ)", bar=False, **small),
                Field(self.frame, "1 − s(mₖ)", bar=False, **small),
                Field(self.frame, "disagreement", palette="uncertainty", **small),
            )
            for _ in range(REVIEWS)
        ]
        self._rows = [pn.Row(*(f.panel for f in row), margin=0) for row in self.rows]
        self.text = html(margin=(4, 8))
        self.swap = pmui.Button(
            label="Exchange the dates", icon="swap_horiz", variant="outlined", size="small", margin=(10, 8, 4, 8)
        )
        self.swapped = html(margin=(2, 8), width=250)
        self._there = pn.Column(
            self.text,
            html(NOTES, margin=(2, 8, 6, 8)),
            pn.Row(
                pn.Column(self.first.panel, self.swap, self.swapped, self.gap.panel, width=290, margin=0),
                pn.Column(*self._rows, **stretch),
                **stretch,
            ),
            visible=False,
            **stretch,
        )
        self._invite = explain("Look inside", INVITATION, height=420)
        self.panel = pn.Column(self._there, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        self.swap.on_click(held(lambda _: self.exchange()))
        state.param.watch(held(lambda _: self.draw()), "tab")

    def take(self) -> None:
        """Begin anew: another result, or none."""
        self._drawn = ()
        there = self.state.weights() is not None
        self._there.visible, self._invite.visible = there, not there
        self.draw()

    def window(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Both dates of the pair on show, at most LARGEST pixels a side from its middle."""
        pair = self.state.pair()
        at = {}
        for dim in ("y", "x"):
            start = max(0, (pair.sizes[dim] - LARGEST) // 2)
            at[dim] = slice(start, start + LARGEST)
        return pair["before"].isel(at), pair["after"].isel(at)

    def draw(self) -> None:
        """Look inside for the pair on show, once the tab is seen: it takes a pass through the network."""
        state, folder = self.state, self.state.weights()
        now = (str(folder), state.sample, state.key)
        if folder is None or state.data is None or state.tab != 3 or self._drawn == now:
            return
        self._drawn = now
        self.gap.show(None)
        self.gap.panel.visible = False
        self.swapped.object = ""
        self.text.object = "Looking …"
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
        told = f"Inside the network, for {name}" + (f"; its middle {LARGEST} × {LARGEST} pixels" if part else "")
        self.text.object = told + (
            "" if reviews else ". This network has one level of masks only: there is nothing to review."
        )

    def exchange(self) -> None:
        """Run the pair backwards."""
        state, folder, now = self.state, self.state.weights(), self._drawn
        if folder is None or not now:
            return
        self.swapped.object = "Running it backwards …"
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
            "The second branch of the difference sees the dates in reverse order, but its weights are its own: near, not equal."
            if config.get("swap_second") and not config.get("compat")
            else "Both branches see the dates in one order, as in the authors' code."
        )
        self.swapped.object = (
            f"mean {np.nanmean(values):.4f}, largest {np.nanmax(values):.3f}. <span style='opacity:.8'>{reason}</span>"
        )
