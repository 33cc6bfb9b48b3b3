"""Shared state of the tabs of the coreset page: the selection, the picked samples, their scores, and their thumbnails."""

from __future__ import annotations

from collections.abc import Sequence

import param

from workbench.pages.coresets.samples import Film, Pictures
from workbench.pages.frame.one_run import OneRun
from workbench.views.card import escape
from workbench.views.looks import PICKS


class CoresetState(OneRun):
    """State of the coreset page. Tabs watch its parameters and set them; those named in ADDRESS are in the address.

    film: quantities of every sample by epoch. pictures: thumbnails of samples. runner: controls of the followed run.
    """

    ADDRESS = ("scene", "truth", "keys", "run", "tab", "keep", "length", "selector", "balanced", "picks")

    keep = param.Number(0.3, bounds=(0.01, 1.0), doc="share of the training samples that is kept")
    length = param.Integer(0, bounds=(0, None), doc="T, number of epochs that the score uses; 0 for the T of the run")
    selector = param.String("tdds", doc="selector of the visible coreset")
    balanced = param.Boolean(False, doc="every class keeps its share")
    picks = param.String("", doc="identifiers of the picked samples, separated by |")
    picked = param.List([], item_type=str, doc="identifiers of all picked samples; `picks` has the first few")

    film: Film
    pictures: Pictures

    def called_classes(self, ids: Sequence[str]) -> list[str]:
        """` · class NAME` of each sample; empty strings while no data are open."""
        data = self.data
        if data is None:
            return [""] * len(ids)
        if "label" in data:
            names, labels = data["label"].attrs.get("names", []), self.pictures.labels
            return [f" · class {escape(str(names[labels[i]] if labels[i] < len(names) else labels[i]))}" for i in ids]
        truth, names = data["truth"].values, data["truth"].attrs.get("names", [])
        classes = [int(truth[tuple(map(int, i.split(",")))]) for i in ids]
        return [f" · {escape(str(names[c] if 0 <= c < len(names) else f'class {c}'))}" for c in classes]

    def pick(self, ids: Sequence[str]) -> None:
        """Replace the picked samples; the first few get colours and trajectories."""
        known = set(self.film.ids.tolist()) if self.film.ids is not None else set()
        self.picked = [str(i) for i in ids if i in known]
        self.picks = "|".join(self.picked[: len(PICKS)])

    def focus(self, identifier: str) -> None:
        """Make one sample the first of the picked ones."""
        self.pick([identifier, *(i for i in self.picked if i != identifier)])
