"""The coreset workbench: watch scores form while a network trains, choose a budget, see what is kept, train on it.

    coresets("digits")                          # in a notebook: the page in the cell
    Coresets().page().servable()                # in dashboards/coresets.py: the served page

The state of the page is a handful of parameters (data, run, share kept, selector, picked samples), which its address holds.
Nothing is trained in the page's own process: `tdds` is launched as a process of its own, and the page follows its folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import param
import xarray as xr

from workbench import runs
from workbench.methods import load
from workbench.pages.coresets.choosing import Choose
from workbench.pages.coresets.measured import Measured
from workbench.pages.coresets.scoring import Score
from workbench.pages.frame.cache import Shelf
from workbench.pages.frame.runner import Runner
from workbench.pages.frame.session import Session
from workbench.runs.watch import Live
from workbench.scene import require
from workbench.views.card import heading, samples_card, say
from workbench.views.gallery import tiles
from workbench.views.image import composite, presets
from workbench.views.plots import PICKS, held

FIRST = ("epochs", "keep", "budgets", "compare", "label_noise", "seed")
INVITATION = (
    "Press <b>Start</b> at the left. One network is trained on everything, in a process of its own that outlives this page, and "
    "every sample's score moves while it learns. Then the same network is trained anew on what TDDS keeps, and on as many "
    "samples drawn at <b>random</b>: the rival that counts."
)


class Coresets(Session):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or an opened scene; None for the one in the address, or the embedded digits.
    root: folder of the runs.
    """

    TITLE = "Coreset workbench"
    WHAT, OWN, FILES = "Data", "your own files", "folder or .zip by class, a scene, a coreset's .yml"
    UNNAMED = "No data were named. Choose a set of the list, or give the path of a folder, .zip or scene."
    EMPTY = (
        "No data are open",
        "Choose a set of the list at the left, or open your own: a folder or .zip of images by class, or a scene with its truth.",
    )
    ADDRESS = ("scene", "truth", "keys", "run", "tab", "keep", "length", "selector", "balanced", "picks")
    SCENES: ClassVar = Shelf(4)

    keep = param.Number(0.3, bounds=(0.01, 1.0), doc="share of the training samples that is kept")
    length = param.Integer(0, bounds=(0, None), doc="T, epochs the score reads; 0 for the one of the run")
    selector = param.String("tdds", doc="whose choice is shown")
    balanced = param.Boolean(False, doc="every class keeps its share")
    picks = param.String("", doc="identifiers of the picked samples, with | between them")

    @classmethod
    def offers(cls, entry: Any) -> bool:
        """What has labels."""
        return entry.kind in ("chips", "simulated") or bool(getattr(entry, "anomalous_pixels", None))

    @classmethod
    def first_choice(cls) -> str:
        """The embedded chips."""
        return "digits"

    @classmethod
    def checked(cls, data: xr.Dataset) -> None:
        """Raise InputError unless these are data that samples can be taken from."""
        require(data, *load("tdds").NEEDS, who="the coreset workbench")

    # --- layout -----------------------------------------------------------------------------------------------------

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The three tabs, and the controls of a run."""
        self.film = Film()
        self.picked: list[str] = []
        self.runner = Runner(self, "tdds", self, first=FIRST)
        self.runner.form.reset.label = "Defaults"
        self.score, self.choosing, self.measured = Score(self, INVITATION), Choose(self), Measured(self)
        self.param.watch(held(lambda _: self._changed()), ["keep", "length", "selector", "balanced"])
        tabs = [("Scores", self.score.panel), ("Coreset", self.choosing.panel), ("Accuracy", self.measured.panel)]
        return tabs, [heading("Run"), *self.runner.controls, self.link]

    # --- opening ----------------------------------------------------------------------------------------------------

    def describe(self, data: xr.Dataset) -> str:
        """HTML card of the data."""
        return samples_card(data)

    def arrived(self, first: bool) -> None:
        """Data are open: show what is known of them, and the run that the address asked for."""
        picks = self.picks if first else ""
        self.pictures = Pictures(self.data)
        self.score.take()
        self.runner.take(self.run if first else "")
        if not first:
            self.param.update(selector="tdds", length=0)
        if (
            "wrong_label" in self.data.coords
        ):  # a coreset that was chosen under wrong labels still has them, and gets no more
            self.runner.form.widgets["label_noise"].value = 0.0
        self.measured.take()
        if self.runner.live is not None:
            self.pick([i for i in picks.split("|") if i])

    # --- what the runner tells --------------------------------------------------------------------------------------

    def summary(self, config: Mapping[str, Any]) -> str:
        """What tells a run from others in the list."""
        noise = f", {100 * config['label_noise']:g} % wrong labels" if config.get("label_noise") else ""
        return f"{config.get('epochs')} epochs, seed {config.get('seed')}{noise}"

    def cleared(self) -> None:
        """No run is followed: no scores, no choice, no picks."""
        self.film = Film()
        self.picked, self.picks = [], ""
        self.score.clear()
        self.choosing.take()
        self.measured.take()

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """A run is followed; a fresh one at its own share kept and T."""
        if fresh:
            self.param.update(keep=float(config["keep"]), length=0)
        self.score.invite(False)

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Scores of another epoch, or a step of a network trained on what was kept."""
        scored = [line for line in new if "p_label" in line.get("arrays", ())]
        for line in scored:
            self.film.add(line["step"], runs.Tail(live.folder).arrays(line))
        self.measured.curves(live.history)
        if scored:
            self.score.grown()

    def ended(self, live: Live, result: xr.Dataset | None) -> None:
        """The run is over: scores at every T, choices, accuracies."""
        if result is not None:
            self.film.finish(result)
            self.choosing.take()
            self.score.grown()
        self.measured.take()

    def take_in(self) -> bool:
        """Take in what the run has added; True while it goes on."""
        return self.runner.poll()

    # --- what the tabs share ----------------------------------------------------------------------------------------

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
        self.score.draw_picks()

    def focus(self, identifier: str) -> None:
        """Put one sample before all other picked ones."""
        self.pick([identifier, *(i for i in self.picked if i != identifier)])

    def _changed(self) -> None:
        self.choosing.draw()
        self.score.draw()


class Film:
    """What a run has told of every training sample, epoch by epoch: `p`, `d` and `S`, each epoch -> (sample,)."""

    def __init__(self) -> None:
        self.ids: np.ndarray | None = None
        self.place: np.ndarray | None = None  # (sample, 2) row and column, for pixels of a scene
        self.p: dict[int, np.ndarray] = {}
        self.d: dict[int, np.ndarray] = {}
        self.S: dict[int, np.ndarray] = {}
        self._at: dict[str, int] = {}

    def add(self, epoch: int, arrays: Mapping[str, xr.DataArray]) -> None:
        """Take in the arrays of one event of the scoring run."""
        self._know(arrays["p_label"])
        self.p[epoch] = arrays["p_label"].values
        if "contribution" in arrays:
            self.d[epoch] = arrays["contribution"].values[:, -1]
        if "score" in arrays:
            self.S[epoch] = arrays["score"].values

    def finish(self, result: xr.Dataset) -> None:
        """Fill in from the result what events did not show."""
        self._know(result["score"])
        for T in result["T"].values:
            self.S[int(T)] = result["score_by_T"].sel(T=T).values
        if "p_label" in result:
            self.p = {int(e): result["p_label"].sel(epoch=e).values for e in result["epoch"].values}
            self.d = {int(e): result["contribution"].sel(change=e).values for e in result["change"].values}

    def _know(self, array: xr.DataArray) -> None:
        if self.ids is None:
            self.ids = array["sample"].values.astype(str)
            self._at = {i: n for n, i in enumerate(self.ids.tolist())}
            if "sample_y" in array.coords:
                self.place = np.stack([array["sample_y"].values, array["sample_x"].values], 1)

    @property
    def epochs(self) -> list[int]:
        """Epochs of which something is known, in order."""
        return sorted(self.p)

    def at(self, ids: Sequence[str]) -> np.ndarray:
        """Positions of samples."""
        return np.array([self._at[i] for i in ids], int)

    def ease(self, epoch: int) -> np.ndarray:
        """Mean probability of the label up to an epoch."""
        return np.mean([self.p[e] for e in self.epochs if e <= epoch], axis=0)


class Pictures:
    """Little pictures of samples by identifier: the chip, the spectrum, or the surroundings of a pixel."""

    AROUND = 9  # pixels a side that are shown around a labelled pixel

    def __init__(self, data: xr.Dataset) -> None:
        name = next(n for n in ("image", "hsi", "sar") if n in data)
        self.values = data[name]
        self.chips = "sample" in self.values.dims
        self.ground: np.ndarray | None = None  # (row, column, 3), for a scene
        if self.chips:
            ids = (
                data["sample"].values.astype(str) if "sample" in data.coords else np.arange(data.sizes["sample"]).astype(str)
            )
            self._at = {i: n for n, i in enumerate(ids.tolist())}
            self.labels = dict(zip(ids.tolist(), data["label"].values.tolist(), strict=True))
            self.spectra = self.values.shape[-1] == self.values.shape[-2] == 1
        else:
            many = self.values.dims[0] == "band" and self.values.shape[0] > 2
            which = next(iter(presets(self.values).values())) if many else (0, 0, 0)
            self.ground = composite(self.values, which)
            self.spectra = False

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """(n, y, x, 3) uint8."""
        if not len(ids):
            return np.zeros((0, 1, 1, 3), np.uint8)
        if self.chips:
            return tiles(self.values[[self._at[i] for i in ids]].values)
        half = self.AROUND // 2
        assert self.ground is not None
        padded = np.pad(self.ground, ((half, half), (half, half), (0, 0)))
        places = [tuple(map(int, i.split(","))) for i in ids]
        return np.stack([padded[y : y + self.AROUND, x : x + self.AROUND] for y, x in places])


def coresets(scene: str | Path | xr.Dataset | None = None) -> Coresets:
    """The coreset page for a notebook cell: put it last in the cell. Call `panel.extension(inline=True)` once before."""
    return Coresets(scene)
