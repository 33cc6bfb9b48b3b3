"""What the tabs of the coreset page know: the choice, the picked samples, what the run has found out, and how samples look."""

from __future__ import annotations

from collections.abc import Sequence

import param

from workbench.pages.coresets.samples import Film, Pictures
from workbench.pages.frame.runner import Runner
from workbench.pages.frame.session import Session
from workbench.views.card import say
from workbench.views.looks import PICKS


class CoresetState(Session):
    """State of the coreset page. Tabs watch its parameters and set them; those named in ADDRESS are in the address.

    film: what the run has found out about every sample. pictures: how samples look. runner: the run that is followed.
    """

    ADDRESS = ("scene", "truth", "keys", "run", "tab", "keep", "length", "selector", "balanced", "picks")

    keep = param.Number(0.3, bounds=(0.01, 1.0), doc="share of the training samples that is kept")
    length = param.Integer(0, bounds=(0, None), doc="T, epochs the score reads; 0 for the one of the run")
    selector = param.String("tdds", doc="whose choice is shown")
    balanced = param.Boolean(False, doc="every class keeps its share")
    picks = param.String("", doc="identifiers of the picked samples, with | between them")
    picked = param.List([], item_type=str, doc="identifiers of all picked samples; `picks` holds the first few")

    runner: Runner
    film: Film
    pictures: Pictures

    def called_classes(self, ids: Sequence[str]) -> list[str]:
        """` · class NAME` of each sample, as the data have it; nothing where the truth does not say."""
        data = self.data
        if data is None:
            return [""] * len(ids)
        if "label" in data:
            names, labels = data["label"].attrs.get("names", []), self.pictures.labels
            return [f" · class {say(str(names[labels[i]] if labels[i] < len(names) else labels[i]))}" for i in ids]
        truth, names = data["truth"].values, data["truth"].attrs.get("names", [])
        found = [int(truth[tuple(map(int, i.split(",")))]) for i in ids]
        return [f" · {say(str(names[c] if 0 <= c < len(names) else f'class {c}'))}" for c in found]

    def pick(self, ids: Sequence[str]) -> None:
        """Pick these samples instead of others; the first few get colours and trajectories."""
        known = set(self.film.ids.tolist()) if self.film.ids is not None else set()
        self.picked = [str(i) for i in ids if i in known]
        self.picks = "|".join(self.picked[: len(PICKS)])

    def focus(self, identifier: str) -> None:
        """Put one sample before all other picked ones."""
        self.pick([identifier, *(i for i in self.picked if i != identifier)])
