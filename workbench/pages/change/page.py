"""The change workbench: change between two dates, its uncertainty, and how reliable the uncertainty is.

    change("sim-change-town")                   # in a notebook: the page in the cell
    Changes().page().servable()                 # in dashboards/change.py: the served page

The state of the page is a few parameters (pair, run, detector, share answered), which are stored in its address. Nothing is
trained in the page's own process: `arcdnet` is launched as a separate process, and the page reads its run folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import panel_material_ui as pmui
import xarray as xr
from safetensors import SafetensorError, safe_open

from workbench.data.checks import check_pair
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.pages.change.export import Export
from workbench.pages.change.findings import Findings
from workbench.pages.change.inside import Inside
from workbench.pages.change.learning import Learning
from workbench.pages.change.maps import Maps
from workbench.pages.change.state import ChangeState
from workbench.pages.change.trust import Trust
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.rooms import Rooms
from workbench.pages.frame.runner import Runner
from workbench.pages.frame.session import WIDE
from workbench.runs.watch import Live
from workbench.views.card import escape, heading, html
from workbench.views.change import OURS, pair_card
from workbench.views.plots import batched

FIRST = ("steps", "rivals", "measures", "show_every", "seed")
LATER: dict[type, str] = {
    Learning: "Training",
    Trust: "How sure?",
    Inside: "Inside",
    Export: "Take it with you",
}  # built when first looked at
UPLOADS = ".png,.bmp,.jpg,.jpeg,.tif,.tiff,.npy,.mat,.hdr,.img,.dat"


class Changes(ChangeState):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or an opened pair or set of pairs; None for the pair of the address, or the simulated town.
    root: folder of the runs.
    """

    TITLE = "Change workbench"
    WHAT, OWN, FILES = "Pair, or set of pairs", "your own pair", "image of the first date, or a folder with A, B, label"
    UNNAMED = "No pair was given. Choose one from the list, or give the paths of the images of two dates."
    EMPTY = (
        "No pair is open",
        "Choose a pair from the list in the side bar, or open your own: the images of two dates, and a mask of the changes if you "
        "have one.",
    )
    METHOD, FIRST_SCENE = "arcdnet", "sim-change-town"
    SCENES: ClassVar = SharedResults(4)

    @classmethod
    def checked(cls, data: xr.Dataset) -> None:
        """Raise InputError unless these are two dates of one place."""
        super().checked(data)
        check_pair(data, who="the change workbench")

    # --- layout -----------------------------------------------------------------------------------------------------

    def fields(self) -> list[Any]:
        """Fields for the paths of two dates and the reference, for resampling, and for uploads."""
        super().fields()
        self.path.label = "Path of the first date, or of a folder of pairs"
        self.after_path.label = "Path of the second date"
        self.truth_path.label = "Path of the reference mask (optional)"
        self.key_text.label, self.key_text.placeholder = "What the files do not contain (optional)", "modality=sar"
        self.upload = pmui.FileInput(
            label="Or upload files", multiple=True, accept=UPLOADS, size="small", variant="outlined", margin=(8, 0, 2, 0)
        )
        self.uploaded = html(
            "First date, second date and mask are recognised by <i>before</i>, <i>after</i>, <i>label</i> in their names, "
            "else by the order of the names."
        )
        self.upload.param.watch(batched(lambda _: self._take_uploads()), "value")
        return [
            self.path, self.after_path, self.truth_path, self.key_text, self.resampling, self.upload, self.uploaded,
        ]  # fmt: skip

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The five tabs, and the controls of a run."""
        self.findings, self.quick, self.judged = None, {}, {}
        self._changing = False
        self.runner = Runner(self, self.METHOD, self, first=FIRST)
        self.networks = pmui.Select(label="Network", options={"train a new one": ""}, value="", margin=(8, 0), **WIDE)
        self.networks.param.watch(batched(lambda _: self._network_chosen()), "value")
        self.maps = Maps(self)
        self.rooms = Rooms(LATER, lambda tab: tab(self), self._fill)
        self.param.watch(batched(lambda e: self._furnish(e.new)), "tab")
        self.param.watch(batched(lambda *_: self.draw()), ["sample", "detector", "overlay"])
        self.param.watch(batched(lambda *_: self.rooms.each("draw", Trust)), ["answered", "rival"])
        tabs = [("Pair and maps", self.maps.panel), *self.rooms.tabs]
        return tabs, [heading("Run"), self.networks, *self.runner.controls, self.link]

    def _fill(self, tab: Any) -> None:
        """Draw in a tab that has just been built what came before."""
        if not isinstance(tab, Learning):
            tab.take()
        elif self.runner.live is not None:
            tab.invite(False)
            tab.curves(self.runner.live)
            tab.grown()

    def _furnish(self, tab: int) -> None:
        if self.data is not None:
            self.rooms.show(self.titles[tab])

    @property  # type: ignore[override]
    def learning(self) -> Learning:
        """The second tab."""
        return self.rooms[Learning]

    @property
    def trust(self) -> Trust:
        """The third tab."""
        return self.rooms[Trust]

    @property
    def inside(self) -> Inside:
        """The fourth tab."""
        return self.rooms[Inside]

    @property
    def export(self) -> Export:
        """The fifth tab; it offers the pixels that the third one judges."""
        _ = self.trust
        return self.rooms[Export]

    # --- opening ----------------------------------------------------------------------------------------------------

    def _take_uploads(self) -> None:
        """Store uploaded files beside the runs, and write their paths into the fields."""
        kept = {p.name: p for p in self.keep_uploads(self.upload)}
        if not kept:
            return
        try:
            roles = told_apart(list(kept))
        except InputError as error:
            self.complain(str(error))
            return
        self.complain("")
        for field, role in ((self.path, "before"), (self.after_path, "after"), (self.truth_path, "truth")):
            field.value = str(kept[roles[role]]) if role in roles else ""
        text = ", ".join(f"{escape(roles[r])} is the {what}" for r, what in ROLES.items() if r in roles)
        self.uploaded.object = f"{text}. Change the fields above if that is wrong, then press <b>Open</b>."

    def describe(self, data: xr.Dataset) -> str:
        """HTML card of the pair."""
        return pair_card(data)

    def arrived(self, first: bool) -> None:
        """Show the opened pair, a fast classical map, and the run named in the address."""
        data, run = self.data, self.run if first else ""
        self._changing = True  # do not redraw after each of the following changes
        self.samples = data["sample"].values.astype(str).tolist() if "sample" in data.dims else []
        if self.sample not in self.samples:
            self.sample = self.samples[0] if self.samples else ""
        if not first:
            self.param.update(detector=OURS, overlay="Nothing")
        self.path.value, self.truth_path.value, self.after_path.value = (
            (self.scene, self.truth, self.after) if self.scene not in self.choice.options.values() else ("", "", "")
        )
        self._list_networks()
        self.maps.take()
        self._changing = False
        self.runner.take(run)
        self.draw()
        self._furnish(self.tab)

    def _list_networks(self) -> None:
        """Offer the trained networks that fit the bands of this pair."""
        bands = int(self.data["before"].sizes["band"])
        networks = self.networks_of("own pair", lambda folder, _: _bands(folder) == bands)
        required = "truth" not in self.data
        options = {"choose a trained one" if required else "train a new one": "", **networks}
        if options != self.networks.options:
            self.networks.param.update(options=options, value="")

    def _network_chosen(self) -> None:
        self.runner.form.widgets["weights"].value = self.networks.value

    # --- called by the runner ----------------------------------------------------------------------------------------

    def summary(self, config: Mapping[str, Any]) -> str:
        """Text of a run in the list of runs."""
        if config.get("weights"):
            return f"applied {Path(str(config['weights'])).name}"
        return f"{config.get('network')}, {config.get('steps')} steps, seed {config.get('seed')}"

    def cleared(self) -> None:
        """Reset all tabs; no run is followed."""
        self.findings, self.judged = None, {}
        self.rooms.each("clear", Learning)
        self.rooms.each("take", Trust, Inside, Export)
        self.maps.found()

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """Show the training of the followed run."""
        self.rooms.each("invite", Learning, inviting=False)
        self.rooms.each("grown", Learning)

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Draw the new scalars, and new maps of the validation pair if there are any."""
        self.when_seen("Training", lambda: self.rooms.each("curves", Learning, live=live), "curves")
        if any(line.get("arrays") for line in new):
            self.when_seen("Training", lambda: self.rooms.each("grown", Learning), "maps")

    def read(self, result: xr.Dataset) -> Findings:
        """The maps of all detectors."""
        return Findings(result)

    def finished(self, result: xr.Dataset) -> None:
        """Show the maps and their evaluation."""
        assert self.findings is not None
        self._list_networks()
        if self.samples and not self.findings.knows(self.sample):
            self.sample = self.findings.samples[0]
        self.judged = {}
        self.maps.found()
        self.rooms.each("take", Trust, Inside, Export)
        self.draw()

    def draw(self) -> None:
        """Redraw all tabs after a change of the visible pair, detector or overlay."""
        if self.data is None or self._changing:
            return
        self.maps.draw()
        self.rooms.each("draw", Trust, Inside)


ROLES = {"before": "first date", "after": "second date", "truth": "reference"}
WORDS = {
    "before": ("before", "pre", "t1", "im1", "time1"),
    "after": ("after", "post", "t2", "im2", "time2"),
    "truth": ("label", "truth", "gt", "mask", "reference"),
}


def told_apart(names: Sequence[str]) -> dict[str, str]:
    """Which of the files is the first date, the second date and the mask: by words in their names, else by order.

    An ENVI file is represented by its header. Raises InputError for fewer than two and for more than three images.

    >>> told_apart(["town_label.png", "town_after.png", "town_before.png"])["before"]
    'town_before.png'
    >>> told_apart(["2003.tif", "2000.tif"])
    {'before': '2000.tif', 'after': '2003.tif'}
    """
    headers = {Path(n).stem for n in names if n.lower().endswith(".hdr")}
    images = sorted(n for n in names if n.lower().endswith(".hdr") or not ({Path(n).stem, Path(n).name} & headers))
    if not 2 <= len(images) <= 3:
        raise InputError(
            f"A pair is two images and optionally a mask; {len(images)} were uploaded ({', '.join(images)}). Choose "
            "all files of the pair together."
        )
    roles: dict[str, str] = {}
    for role, words in WORDS.items():
        fits = [n for n in images if n not in roles.values() and any(w in n.lower() for w in words)]
        if len(fits) == 1:
            roles[role] = fits[0]
    rest = [n for n in images if n not in roles.values()]
    for role in WORDS:
        if role not in roles and rest:
            roles[role] = rest.pop(0)
    return {role: roles[role] for role in WORDS if role in roles}


def _bands(folder: Path) -> int | None:
    """Number of input bands of a run's network, read from its weights file; None without a readable one."""
    try:
        with safe_open(folder / "weights.safetensors", "numpy") as weights:
            return int(json.loads(bytes(weights.get_tensor("settings/json")))["bands"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def change(scene: str | Path | Source | xr.Dataset | None = None) -> Changes:
    """The change page for a notebook cell: put it last in the cell.

    scene: a catalogue name, the path of a set of pairs, or a `Source` of the files of two dates; None for the page's first choice.
    """
    return Changes(scene)
