"""Shared state of the tabs of the compression page: the criterion, the cut line, and bits that the user has changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import param

from workbench.pages.compression.findings import Cost, Findings
from workbench.pages.frame.several import Several

LEAST, MOST = 2, 32  # bits of a layer


class CompressionState(Several):
    """State of the compression page. Tabs watch its parameters and set them; those named in ADDRESS are in the address.

    findings: result of the followed run; None before it has finished. runner: controls of the followed run.
    """

    ADDRESS = (
        "method", "scene", "truth", "keys", "run", "tab", "criterion", "gone", "threshold", "edited", "layer", "block", "sample",
        "filter", "without",
    )  # fmt: skip

    method = param.String("", doc="name of the method")
    tab = param.Integer(0, bounds=(0, 3))
    criterion = param.Integer(
        -2, bounds=(-2, None), doc="candidate whose scores are shown, from 0; -2: the best; -1: a = 1 and b = 0"
    )
    gone = param.Integer(-1, bounds=(-1, None), doc="removed filters before the floor of each layer; -1: as the run")
    threshold = param.Number(
        0.0, bounds=(0.0, None), doc="T: a layer gets the fewest bits with a distance below it; 0: bits of the run"
    )
    edited = param.String("", doc="changed bits, layer:bits, with commas between them; layers are numbered from 0")
    layer = param.Integer(0, bounds=(0, None), doc="number of the layer whose weights are shown")
    block = param.Integer(0, bounds=(0, None), doc="number of the block whose attention is shown")
    sample = param.String("", doc="name of the image whose boxes are shown; none: that with most boxes found")

    filter = param.String("", doc="picked filter, group:number; both from 0")
    without = param.String("", doc="filters removed by hand, group:number, with commas between them")

    findings: Findings | None

    # --- filters ----------------------------------------------------------------------------------------------------

    @property
    def candidate(self) -> int:
        """The candidate whose scores are shown; -1: the property alone."""
        assert self.findings is not None
        if self.criterion < -1 or self.criterion >= self.findings.candidates:
            return self.findings.best
        return self.criterion

    def scores(self) -> list[np.ndarray]:
        """(filters,) score of each group by the shown criterion."""
        assert self.findings is not None
        return self.findings.scores(self.candidate)

    def removed(self, scores: list[np.ndarray]) -> int:
        """How many of the lowest scores are removed."""
        findings = self.findings
        assert findings is not None
        assert findings.plan is not None
        most = int(findings.plan.full().sum())
        return min(self.gone, most) if self.gone >= 0 else findings.removals(scores)

    def cut(self, score: float) -> None:
        """Put the cut line at a score: all filters below it are removed."""
        self.gone = int(sum((s < score).sum() for s in self.scores()))

    @property
    def picked(self) -> tuple[int, int] | None:
        """(group, number) of the picked filter; None if it cannot be read or does not exist."""
        found = self._filters(self.filter)
        return found[0] if found else None

    @property
    def removed_by_hand(self) -> list[tuple[int, int]]:
        """(group, number) of the filters removed by hand."""
        return self._filters(self.without)

    def _filters(self, text: str) -> list[tuple[int, int]]:
        """The filters of a text that exist, each once."""
        if self.findings is None or self.findings.plan is None:
            return []
        groups, found = self.findings.plan.groups, []
        for part in text.split(","):
            group, _, number = part.partition(":")
            if not (group.isdecimal() and number.isdecimal()):
                continue
            one = (int(group), int(number))
            if one not in found and one[0] < len(groups) and one[1] < groups[one[0]].count:
                found.append(one)
        return found

    # --- bits -------------------------------------------------------------------------------------------------------

    @property
    def changed(self) -> dict[int, int]:
        """Number of a layer -> its changed bits; what cannot be read is ignored."""
        assert self.findings is not None
        made = {}
        for part in self.edited.split(","):
            layer, _, bits = part.partition(":")
            if (
                layer.isdecimal()
                and bits.isdecimal()
                and int(layer) < len(self.findings.layers)
                and LEAST <= int(bits) <= MOST
            ):
                made[int(layer)] = int(bits)
        return made

    def set_bits(self, layer: int, bits: int) -> None:
        """Give a layer these bits; those of the run again remove the change."""
        assert self.findings is not None
        changed = {**self.changed, layer: bits}
        own = self.base()
        self.edited = ",".join(f"{n}:{b}" for n, b in sorted(changed.items()) if b != own[n])

    def base(self) -> np.ndarray:
        """(layers,) bits of the threshold, or of the run."""
        findings = self.findings
        assert findings is not None
        return findings.bits_below(self.threshold) if self.by_threshold() else findings.bits

    def by_threshold(self) -> bool:
        """Whether the bits are those of a threshold, not of the run."""
        return self.threshold > 0 and self.findings is not None and self.findings.distances is not None

    def bits(self) -> np.ndarray:
        """(layers,) bits with the changes."""
        made = self.base().copy()
        for layer, bits in self.changed.items():
            made[layer] = bits
        return made

    # --- costs ------------------------------------------------------------------------------------------------------

    def counts(self, scores: list[np.ndarray] | None = None) -> np.ndarray | None:
        """(groups,) filters left at the cut line; None if the run removed none."""
        findings = self.findings
        if findings is None or findings.plan is None:
            return None
        scores = self.scores() if scores is None else scores
        return findings.chosen if self.gone < 0 and self.criterion == -2 else findings.counts(scores, self.removed(scores))

    def cost(self) -> Cost:
        """Of the network at the cut line with the bits of the ladder."""
        assert self.findings is not None
        return self.findings.cost(self.counts(), self.bits())

    def moved(self) -> bool:
        """Whether line, criterion or bits are no longer those of the run."""
        return self.gone >= 0 or self.criterion != -2 or bool(self.edited) or self.by_threshold()

    def reset(self) -> dict[str, Any]:
        """The parameters of a view that shows the run as it is."""
        return {"criterion": -2, "gone": -1, "threshold": 0.0, "edited": "", "filter": "", "without": ""}
