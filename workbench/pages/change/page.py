"""The change workbench: what changed between two dates, how sure that is, and how far that can be trusted.

    change("sim-change-town")                   # in a notebook: the page in the cell
    Changes().page().servable()                 # in dashboards/change.py: the served page

The state of the page is a handful of parameters (pair, run, whose map, share answered), which its address holds. Nothing is
trained in the page's own process: `arcdnet` is launched as a process of its own, and the page follows its folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import panel_material_ui as pmui
import xarray as xr
from safetensors import SafetensorError, safe_open

from workbench import runs
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
from workbench.pages.frame.runner import Runner
from workbench.pages.frame.session import WIDE
from workbench.runs.watch import Live
from workbench.scene import Needs, require
from workbench.views.card import heading, html, say
from workbench.views.change import OURS, pair_card
from workbench.views.plots import held

FIRST = ("steps", "rivals", "measures", "show_every", "seed")
INVITATION = (
    "Press <b>Start</b> at the left. AR-CDNet learns from the reference, in a process of its own that outlives this page; here you "
    "see what it says of one pair that it never learns from, and how unsure it is, step by step. Beside it train the rivals and "
    "controls named in the settings."
)
UPLOADS = ".png,.bmp,.jpg,.jpeg,.tif,.tiff,.npy,.mat,.hdr,.img,.dat"


class Changes(ChangeState):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or an opened pair or set of pairs; None for the one in the address, or the simulated town.
    root: folder of the runs.
    """

    TITLE = "Change workbench"
    WHAT, OWN, FILES = "Pair, or set of pairs", "your own pair", "image of the first date, or a folder with A, B, label"
    UNNAMED = "No pair was named. Choose one of the list, or give the paths of the images of two dates."
    EMPTY = (
        "No pair is open",
        "Choose a pair of the list at the left, or open your own: the images of two dates, and, where there is one, a mask of "
        "what changed.",
    )
    SCENES: ClassVar = SharedResults(4)

    @classmethod
    def needs(cls) -> Needs:
        """Pairs."""
        return ("before", "after")

    @classmethod
    def first_choice(cls) -> str:
        """A pair that needs no files."""
        return "sim-change-town"

    @classmethod
    def checked(cls, data: xr.Dataset) -> None:
        """Raise InputError unless these are two dates of one place."""
        require(data, "before", "after", who="the change workbench")
        check_pair(data, who="the change workbench")

    # --- layout -----------------------------------------------------------------------------------------------------

    def fields(self) -> list[Any]:
        """Two dates, the reference, what to do where their pixels differ; or the same as files to hand over."""
        self.path.label = "Path of the first date, or of a folder of pairs"
        self.after_path = pmui.TextInput(label="Path of the second date", margin=(8, 0, 4, 0), **WIDE)
        self.truth_path.label = "Path of the reference mask (optional)"
        self.key_text.label, self.key_text.placeholder = "What files do not say (optional)", "modality=sar"
        self.resampling = pmui.Switch(label="Resample the second onto the first", value=False, size="small", margin=(4, 0))
        self.upload = pmui.FileInput(
            label="Or hand over files", multiple=True, accept=UPLOADS, size="small", variant="outlined", margin=(8, 0, 2, 0)
        )
        self.uploaded = html(
            "First, second date and mask, told apart by their order of name or by <i>before</i>, <i>after</i>, <i>label</i> in it."
        )
        self.upload.param.watch(held(lambda _: self._take_uploads()), "value")
        return [
            self.path, self.after_path, self.truth_path, self.key_text, self.resampling, self.upload, self.uploaded,
        ]  # fmt: skip

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The five tabs, and the controls of a run."""
        self.findings, self.quick, self.judged = None, {}, {}
        self._changing = False
        self.runner = Runner(self, "arcdnet", self, first=FIRST)
        self.runner.form.reset.label = "Defaults"
        self.networks = pmui.Select(label="Network", options={"train a new one": ""}, value="", margin=(8, 0), **WIDE)
        self.networks.param.watch(held(lambda _: self._network_chosen()), "value")
        self.maps, self.learning = Maps(self), Learning(self, INVITATION)
        self.trust, self.inside, self.export = Trust(self), Inside(self), Export(self)
        self.param.watch(held(lambda *_: self.draw()), ["sample", "detector", "overlay"])
        self.param.watch(held(lambda *_: self.trust.draw()), ["answered", "rival"])
        tabs = [
            ("Pair and maps", self.maps.panel),
            ("Training", self.learning.panel),
            ("How sure?", self.trust.panel),
            ("Inside", self.inside.panel),
            ("Take it with you", self.export.panel),
        ]
        return tabs, [heading("Run"), self.networks, *self.runner.controls, self.link]

    # --- opening ----------------------------------------------------------------------------------------------------

    def open_named(self) -> None:
        """Open what the fields of the side bar name."""
        self.open(
            self.path.value.strip(),
            self.truth_path.value.strip(),
            self.key_text.value,
            after=self.after_path.value.strip(),
            resample=self.resampling.value,
        )

    def _take_uploads(self) -> None:
        """Put files that were handed over beside the runs, and their paths into the fields."""
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
        told = ", ".join(f"{say(roles[r])} is the {what}" for r, what in ROLES.items() if r in roles)
        self.uploaded.object = f"{told}. Change the fields above if that is wrong, then press <b>Open</b>."

    def describe(self, data: xr.Dataset) -> str:
        """HTML card of the pair."""
        return pair_card(data)

    def arrived(self, first: bool) -> None:
        """A pair is open: show it, what takes a second to find in it, and the run that the address asked for."""
        data, run = self.data, self.run if first else ""
        self._changing = True  # what is set from here on is not to be drawn piece by piece
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

    def _list_networks(self) -> None:
        """Offer the trained networks that fit the bands of this pair."""
        bands = int(self.data["before"].sizes["band"])
        found: dict[str, str] = {}
        for folder, about in reversed(list(runs.iter_status(self.root))):
            if about.get("method") == "arcdnet" and about.get("status") == "finished" and _bands(folder) == bands:
                scene = about["scene"].get("id") or "own pair"
                found[f"trained on {scene}, {self.summary(about['config'])} ({folder.name[:15]})"] = str(folder.resolve())
        must = "truth" not in self.data
        options = {"choose a trained one" if must else "train a new one": "", **found}
        if options != self.networks.options:
            self.networks.param.update(options=options, value="")

    def _network_chosen(self) -> None:
        self.runner.form.widgets["weights"].value = self.networks.value

    # --- what the runner tells --------------------------------------------------------------------------------------

    def summary(self, config: Mapping[str, Any]) -> str:
        """What tells a run from others in the list."""
        if config.get("weights"):
            return f"applied {Path(str(config['weights'])).name}"
        return f"{config.get('network')}, {config.get('steps')} steps, seed {config.get('seed')}"

    def cleared(self) -> None:
        """No run is followed."""
        self.findings = None
        self.learning.clear()
        self.trust.take()
        self.inside.take()
        self.export.take()
        self.maps.found()

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """A run is followed."""
        self.learning.invite(False)
        self.learning.grown()

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Another step, and from time to time another look at the validation pair."""
        self.learning.curves(live)
        if any(line.get("arrays") for line in new):
            self.learning.grown()

    def ended(self, live: Live, result: xr.Dataset | None) -> None:
        """The run is over: maps, and how far they can be trusted."""
        if result is None:
            return
        self.findings = Findings(result)
        self._list_networks()
        if self.samples and not self.findings.knows(self.sample):
            self.sample = self.findings.samples[0]
        self.maps.found()
        self.trust.take()
        self.inside.take()
        self.export.take()
        self.draw()

    def take_in(self) -> bool:
        """Take in what the run has added; True while it goes on."""
        return self.runner.poll()

    def draw(self) -> None:
        """The pair on show changed, or how it is looked at."""
        if self.data is None or self._changing:
            return
        self.maps.draw()
        self.trust.draw()
        self.inside.draw()


ROLES = {"before": "first date", "after": "second date", "truth": "reference"}
WORDS = {
    "before": ("before", "pre", "t1", "im1", "time1"),
    "after": ("after", "post", "t2", "im2", "time2"),
    "truth": ("label", "truth", "gt", "mask", "reference"),
}


def told_apart(names: Sequence[str]) -> dict[str, str]:
    """Which of the files is the first date, the second, the mask: by words in their names, else by their order.

    Headers of ENVI files stand for their data. Raises InputError for fewer than two and for more than three images.

    >>> told_apart(["town_label.png", "town_after.png", "town_before.png"])["before"]
    'town_before.png'
    >>> told_apart(["2003.tif", "2000.tif"])
    {'before': '2000.tif', 'after': '2003.tif'}
    """
    headers = {Path(n).stem for n in names if n.lower().endswith(".hdr")}
    images = sorted(n for n in names if n.lower().endswith(".hdr") or not ({Path(n).stem, Path(n).name} & headers))
    if not 2 <= len(images) <= 3:
        raise InputError(
            f"A pair is two images, and a mask where there is one; {len(images)} were handed over ({', '.join(images)}). Choose "
            "them together."
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
    """Bands that the network of a run takes, as its weights file says; None where it holds none."""
    try:
        with safe_open(folder / "weights.safetensors", "numpy") as weights:
            return int(json.loads(bytes(weights.get_tensor("settings/json")))["bands"])
    except (OSError, SafetensorError):
        return None


def change(scene: str | Path | Source | xr.Dataset | None = None) -> Changes:
    """The change page for a notebook cell: put it last in the cell. Call `panel.extension(inline=True)` once before.

    scene: a catalogue name, the path of a set of pairs, or a `Source` of the files of two dates; None for the page's first choice.
    """
    return Changes(scene)
