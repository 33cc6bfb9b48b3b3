"""First tab: scores by epoch; all samples as points, picked samples as thumbnails and trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui

from workbench.baselines.coresets import budget
from workbench.pages.coresets.state import CoresetState
from workbench.views.card import escape, explain, html
from workbench.views.coresets import DataMap, Trajectory
from workbench.views.gallery import Gallery
from workbench.views.image import ImageView
from workbench.views.looks import GREY, PICKS, STATES
from workbench.views.maps import OWN, ScoreMap
from workbench.views.plots import Frame, batched
from workbench.views.screen import beside, grid, wrapped
from workbench.views.stepper import Stepper

ACROSS = 18  # tiles in a row
HINT = (
    "Click a point or a picture for its trajectory; select several points with the lasso or the box. "
    "Orange: kept at the share chosen under <b>Coreset</b>; grey: dropped. Dashed beside a trajectory: the means of both."
)


class Score:
    """Epoch slider, data map, trajectories, thumbnails of the samples with the highest and lowest scores, and the score on the scene."""

    def __init__(self, state: CoresetState, invitation: str) -> None:
        self.state = state
        self._kept = np.zeros(0, bool)  # samples kept at the visible epoch
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.stepper = Stepper(self.draw)
        self.text = html(margin=(0, 8))
        self.map = DataMap(height=380)
        self.trajectory = Trajectory(height=190)
        self.most, self.least = Gallery(ACROSS, 1), Gallery(ACROSS, 1)
        self.chosen = Gallery(ACROSS, 3)
        self.picked_text = html(margin=(8, 8, 2, 8))
        self.clearer = pmui.Button(label="Clear", icon="clear", variant="text", size="small", margin=(2, 4))
        self.frame = Frame()
        self.ground = ImageView(self.frame, "Scene")
        self.painted = ScoreMap(self.frame, "Score S")
        self.painted.set_scale(OWN)
        self._maps = pn.Column(grid(self.ground.panel, self.painted.panel, least=300), visible=False, **stretch)
        self._list = pn.Column(self.chosen.panel, visible=False, **stretch)
        self._watch = pn.Column(
            wrapped(self.stepper.follow, self.stepper.slider),
            self.text,
            beside(self.map.panel, self.trajectory.panel, least=(420, 420)),
            wrapped(self.picked_text, self.clearer),
            self._list,
            self._maps,
            html("<b>Most change</b>: the highest scores, kept first", margin=(6, 8, 0, 8)),
            self.most.panel,
            html("<b>Least change</b>: the lowest scores, dropped first", margin=(2, 8, 0, 8)),
            self.least.panel,
            visible=False,
            **stretch,
        )
        self._invite = explain("See which samples matter", invitation, height=420)
        self.panel = pn.Column(self._watch, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        state.param.watch(batched(lambda _: self.draw_picks()), "picked")
        self.clearer.on_click(batched(lambda _: (self.map.unselect(), state.pick([]))))
        self.map.on_select(batched(self._selected))
        for gallery in (self.most, self.least, self.chosen):
            gallery.on_tap(batched(state.focus))
        self.ground.on_tap(batched(self._tapped))
        self.painted.on_tap(batched(self._tapped))

    def take(self) -> None:
        """Reset for newly opened data."""
        ground = self.state.pictures.ground
        self._maps.visible = ground is not None
        if ground is not None:
            self.frame.fit(*ground.shape[:2])
            self.ground.show(ground)

    def clear(self) -> None:
        """Remove all samples and picks, and show the invitation."""
        self.map.clear()
        self._kept = np.zeros(0, bool)
        self.most.clear()
        self.least.clear()
        self.painted.show(None)
        self.draw_picks()
        self.invite(True)

    def invite(self, inviting: bool) -> None:
        """Show the invitation, or the plots."""
        self._invite.visible, self._watch.visible = inviting, not inviting

    # --- which epoch ------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int | None:
        """The visible epoch; None before the first."""
        epochs = self.state.film.epochs
        return epochs[min(self.stepper.at, len(epochs) - 1)] if epochs else None

    def grown(self) -> None:
        """Update the slider; with `follow`, move to the newest epoch."""
        count = len(self.state.film.epochs)
        if not count:
            self.text.object = "Waiting for the first epoch …"
            return
        self.stepper.fit(count)

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw the epoch at the slider's position."""
        state, epoch = self.state, self.epoch
        if epoch is None:
            return
        film, settings = state.film, state.runner.config
        J = int(settings.get("J", 5))
        known = film.S.get(epoch)
        score = known if known is not None else np.zeros(len(film.ids))
        ease = film.ease(epoch)
        order = np.argsort(-score, kind="stable")
        kept = np.zeros(len(score), bool)
        if known is not None:
            kept[order[: budget(len(score), state.keep)]] = True
        wrong = state.result["flipped"].values if state.result is not None and "flipped" in state.result else None
        self._kept = kept
        self.map.show(ease, score, self._texts(score, ease), kept, wrong)
        text = f"<b>Epoch {epoch}</b> of {settings.get('epochs', '?')} &ensp; {len(score):,} training samples"
        text += (
            f" &ensp; S uses epochs 1 to {epoch}, mainly the last {J}"
            if known is not None
            else f" &ensp; the first scores come at epoch {J}, when the first window is complete"
        )
        self.text.object = text + (" &ensp; blue rings: deliberately wrong labels" if wrong is not None else "")
        if known is None:
            self.most.clear()
            self.least.clear()
        else:
            for gallery, rows in ((self.most, order[:ACROSS]), (self.least, order[::-1][:ACROSS])):
                ids = film.ids[rows].tolist()
                gallery.show(state.pictures.of(ids), ids, self._texts(score, ease, rows))
        if film.place is not None:
            grid = np.full(self.frame.shape, np.nan)
            grid[tuple(film.place.T)] = score
            self.painted.show(grid if known is not None else None, f"T = {epoch}")
        self.draw_picks()

    def draw_picks(self) -> None:
        """Draw the picked samples: rings, thumbnails and trajectories."""
        state, film, epoch = self.state, self.state.film, self.epoch
        ids = state.picked
        self._list.visible = self.clearer.visible = bool(ids)
        self.picked_text.object = f"<b>Picked</b>: {len(ids)} sample{'s' if len(ids) != 1 else ''}" if ids else HINT
        if not ids or epoch is None:
            self.chosen.clear()
            self.map.mark([], [])
            self.trajectory.show([], [], self._means(), film.epochs[-1] if epoch else 2, self._window(epoch))
            self._mark_places(np.zeros(0, int), [])
            return
        if len(ids) > self.chosen.room:
            self.picked_text.object += f", the first {self.chosen.room} are shown"
        rows = film.at(ids)
        score = film.S.get(epoch, np.zeros(len(film.ids)))
        ease = film.ease(epoch)
        colours = [*PICKS, *[GREY] * len(ids)][: len(ids)]
        few = ids[: self.chosen.room]
        self.chosen.show(state.pictures.of(few), few, self._texts(score, ease, rows[: len(few)]), colours)
        self.map.mark(rows[: len(PICKS)], colours[: len(PICKS)])
        lines, changes = [], []
        epochs, changed = film.epochs, sorted(film.d)
        for identifier, row, colour in list(zip(ids, rows, colours, strict=True))[: len(PICKS)]:
            lines.append((identifier, colour, epochs, [float(film.p[e][row]) for e in epochs]))
            changes.append((identifier, colour, changed, [float(film.d[e][row]) for e in changed]))
        self.trajectory.show(lines, changes, self._means(), epochs[-1], self._window(epoch))
        self._mark_places(rows[: len(PICKS)], colours[: len(PICKS)])

    def _means(self) -> tuple[list[Any], list[Any]]:
        """Mean trajectories of p and of d, of the kept and of the dropped samples."""
        film = self.state.film
        if not self._kept.any() or self._kept.all():
            return [], []
        groups = (
            ("mean of kept", STATES["kept"].colour, self._kept),
            ("mean of dropped", STATES["dropped"].colour, ~self._kept),
        )
        return tuple(
            [
                (name, colour, sorted(by), [float(np.mean(by[e][which])) for e in sorted(by)])
                for name, colour, which in groups
            ]
            for by in (film.p, film.d)
        )

    def _mark_places(self, rows: np.ndarray, colours: list[str]) -> None:
        place = self.state.film.place
        if place is None:
            rows, place = rows[:0], np.zeros((0, 2))
        self.frame.mark_all([(y, x) for y, x in place[rows].tolist()], [str(n + 1) for n in range(len(rows))], colours)

    def _window(self, epoch: int | None) -> tuple[float, float] | None:
        """First and last epoch of the newest window that the score of this epoch uses."""
        J = int(self.state.runner.config.get("J", 5))
        return (epoch - J + 1, epoch) if epoch is not None and epoch >= J else None

    def _texts(self, score: np.ndarray, ease: np.ndarray, rows: np.ndarray | None = None) -> list[str]:
        film, names = self.state.film, self.state.called_classes
        at = np.arange(len(score)) if rows is None else rows
        classes = names(film.ids[at])
        ids = film.ids[at]
        return [
            f"{escape(i)}{c} · S {s:.3g} · mean p {e:.2f}"
            for i, c, s, e in zip(ids, classes, score[at], ease[at], strict=True)
        ]

    # --- picking ----------------------------------------------------------------------------------------------------

    def _selected(self, rows: list[int]) -> None:
        film, epoch = self.state.film, self.epoch
        if film.ids is None or epoch is None or not rows:
            return
        score = film.S.get(epoch, np.zeros(len(film.ids)))
        ordered = sorted(rows, key=lambda r: -score[r])
        ids = film.ids[ordered].tolist()
        if len(ids) == 1:
            self.state.focus(ids[0])
        else:
            self.state.pick(ids)

    def _tapped(self, row: int, column: int) -> None:
        """Pick the tapped training pixel of the scene."""
        place = self.state.film.place
        if place is not None:
            rows = np.flatnonzero((place == (row, column)).all(1))
            if len(rows):
                self.state.focus(str(self.state.film.ids[rows[0]]))
