"""Second tab: choose a budget, see kept and dropped samples and the overlap of selectors, and download the coreset."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import tempfile
from pathlib import Path

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.baselines.coresets import jaccard, select, selectors
from workbench.data.coresets import write_coreset, write_index, wrong_labels
from workbench.errors import InputError
from workbench.methods.tdds.choosing import length_of
from workbench.methods.tdds.settings import RIVALS, STRATIFIED, Config
from workbench.pages.coresets.state import CoresetState
from workbench.views import save
from workbench.views.card import escape, explain, html, problem
from workbench.views.coresets import ClassBars, Cumulative, Overlap
from workbench.views.decide import HistogramView
from workbench.views.gallery import Gallery
from workbench.views.image import ImageView
from workbench.views.looks import RED, SELECTORS, STATES, rgb
from workbench.views.plots import Frame, batched
from workbench.views.screen import WHOLE, beside, grid, wrapped

ACROSS = 9
ENDS, CUT, DRAWN = "extremes", "at the cut", "at random"
WAITING = (
    "The coreset is chosen from the scores of a finished run: start one in the side bar, or choose an earlier one. With "
    "<b>compare</b> empty the run ends when all samples are scored. Moving the slider needs no new training: one training gives "
    "the scores for every share and every T."
)


class Choose:
    """Share kept, T and selector; class bars, histogram, cumulative score, overlap, galleries; export and training on the coreset."""

    def __init__(self, state: CoresetState) -> None:
        self.state = state
        self._setting = False
        self.scores: xr.Dataset | None = None
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.keep = pmui.FloatSlider(
            label="Share kept",
            start=0.01,
            end=1.0,
            step=0.01,
            value=state.keep,
            sizing_mode="stretch_width",
            min_width=220,
            margin=(4, 14),
        )
        self.length = pmui.IntSlider(
            label="T, number of epochs that the score uses",
            start=3,
            end=30,
            value=10,
            sizing_mode="stretch_width",
            min_width=260,
            margin=(4, 14),
        )
        titles = {one.title: name for name, one in SELECTORS.items()}
        self.selector = pmui.Select(label="Selector", options=titles, value="tdds", size="small", width=170, margin=(4, 8))
        self.balanced = pmui.Switch(label="By class", value=state.balanced, margin=(14, 8))
        self.readout = html(margin=(4, 8))
        self.bars = ClassBars(height=260)
        self.histogram = HistogramView(height=260)
        self.histogram.figure.yaxis.axis_label = "samples (log scale)"
        self.cumulative = Cumulative(height=260)
        self.overlap = Overlap(height=400)
        self.show_what = pmui.RadioButtonGroup(
            options=[ENDS, CUT, DRAWN], value=ENDS, size="small", width=340, margin=(4, 8)
        )
        self.kept, self.dropped = Gallery(ACROSS, 3), Gallery(ACROSS, 3)
        self.frame = Frame()
        self.ground = ImageView(self.frame, "Kept (orange) and dropped (blue)", tall=WHOLE)
        self._map = pn.Column(self.ground.panel, visible=False, margin=0)
        parquet = importlib.util.find_spec("fastparquet") is not None
        files = [save.download("Index list, CSV", lambda: self.table(".csv"), "coreset.csv")]
        files += [save.download("Index list, Parquet", lambda: self.table(".parquet"), "coreset.parquet")] if parquet else []
        self.yaml = save.download("Coreset, YAML", self.entry, "coreset.yml")
        self.opener = pmui.Button(
            label="Open this coreset", icon="play_arrow", variant="contained", size="small", margin=(6, 6, 4, 0)
        )
        self.message = html(margin=(2, 4))
        self._content = pn.Column(
            wrapped(self.selector, self.balanced, self.keep, self.length),
            self.readout,
            grid(self.bars.panel, self.histogram.panel, self.cumulative.panel, least=300),
            beside(
                pn.Column(
                    html("<b>Overlap</b> of the selectors' coresets at this share", margin=(0, 8)),
                    self.overlap.panel,
                    **stretch,
                ),
                pn.Column(
                    self.show_what,
                    html(f'<b style="color:{STATES["kept"].colour}">Kept</b>', margin=(2, 8, 0, 8)),
                    self.kept.panel,
                    html("<b>Dropped</b>", margin=(2, 8, 0, 8)),
                    self.dropped.panel,
                    **stretch,
                ),
                least=(420, 480),
            ),
            self._map,
            wrapped(*files, self.yaml, self.opener),
            self.message,
            visible=False,
            **stretch,
        )
        self._waiting = explain("Choose a coreset", WAITING, height=420)
        self.panel = pn.Column(self._content, self._waiting, sizing_mode="stretch_width", margin=(8, 4))
        self.keep.param.watch(lambda e: self._setting or state.param.update(keep=round(e.new, 2)), "value")
        self.length.param.watch(lambda e: self._setting or state.param.update(length=e.new), "value")
        self.selector.param.watch(lambda e: self._setting or state.param.update(selector=e.new), "value")
        self.balanced.param.watch(lambda e: self._setting or state.param.update(balanced=e.new), "value")
        self.show_what.param.watch(batched(lambda _: self.draw()), "value")
        self.opener.on_click(batched(lambda _: self.open()))
        for gallery in (self.kept, self.dropped):
            gallery.on_tap(batched(state.focus))

    def take(self) -> None:
        """Reset for the result of the page's run, or for none."""
        result = self.state.result
        self._content.visible, self._waiting.visible = result is not None, result is None
        self.scores = None
        if result is None:
            return
        trouble = self._unnamed()
        self.yaml.disabled = self.opener.disabled = bool(trouble)
        self.message.object = escape(trouble)
        plain = {str(n)[6:]: v for n, v in result.data_vars.items() if str(n).startswith("score_") and v.dims == ("sample",)}
        self.scores = xr.Dataset(plain)
        ground = self.state.pictures.ground
        self._map.visible = ground is not None and self.state.film.place is not None
        if ground is not None:
            self.frame.fit(*ground.shape[:2])
        self.draw()

    # --- selection --------------------------------------------------------------------------------------------------

    @property
    def T(self) -> int:
        """The T in use: the selected one, else that of the run's settings at this share."""
        lengths = self.state.result["T"].values
        wanted = self.state.length or length_of(self.state.keep, Config.model_validate(self.state.runner.config))
        return int(np.clip(wanted, lengths[0], lengths[-1]))

    def choices(self) -> xr.Dataset:
        """`NAME (sample)` bool of every selector at the share of the page; TDDS at `T`."""
        state, result = self.state, self.state.result
        labels = result["label"].values
        score = result["score_by_T"].sel(T=self.T).drop_vars("T")
        kept = {"tdds": select(score, state.keep, labels, balance="class" if state.balanced else None)}
        seed = int(state.runner.config.get("seed", 0))
        scores = self.scores.assign(tdds=score)
        for name, choose in selectors([*RIVALS, *STRATIFIED]).items():
            kept[name] = choose(scores, state.keep, labels, seed)
        if state.balanced and state.selector in self.scores:
            kept[state.selector] = selectors([f"{state.selector}_balanced"])[f"{state.selector}_balanced"](
                self.scores, state.keep, labels, seed
            )
        return xr.Dataset(kept)

    def draw(self) -> None:
        """Draw the current selection."""
        state, result = self.state, self.state.result
        if result is None or self.scores is None:
            return
        lengths = result["T"].values
        self._setting = True
        try:
            self.keep.value, self.balanced.value, self.selector.value = state.keep, state.balanced, state.selector
            self.length.param.update(
                start=int(lengths[0]),
                end=max(int(lengths[-1]), int(lengths[0]) + 1),
                value=self.T,
                disabled=state.selector != "tdds" or len(lengths) < 2,
            )
        finally:
            self._setting = False
        choices = self.choices()
        kept = choices[state.selector].values
        labels, total = result["label"].values, result["label_total"].values
        names = [str(c) for c in result["class"].values]
        counts = np.bincount(labels[kept], minlength=len(names))
        self.bars.show(names, total, counts)
        score = self.score()
        finite = np.where(np.isfinite(score), score, np.nan)
        self.histogram.show(finite, SELECTORS[state.selector].title)
        self.histogram.mark(float(np.nanmin(np.where(kept, finite, np.nan))) if np.isfinite(finite[kept]).any() else 0.0)
        scores = {"tdds": result["score_by_T"].sel(T=self.T).values.astype(float), state.selector: score}
        self.cumulative.show(scores, state.keep)
        self.overlap.show([SELECTORS[str(n)].title for n in choices.data_vars], jaccard(choices).values)
        self.readout.object = self._summary(kept, counts, names, score)
        self._galleries(kept, score)
        if self._map.visible:
            self._paint(kept)

    def score(self) -> np.ndarray:
        """Score (sample) of the current selector; for CCS that of AUM, in strata that which is stratified, for random zeros."""
        state, result = self.state, self.state.result
        name = "aum" if state.selector == "ccs" else state.selector.removesuffix("_ccs")
        if name == "tdds":
            return result["score_by_T"].sel(T=self.T).values.astype(float)
        return self.scores[name].values.astype(float) if name in self.scores else np.zeros(result.sizes["sample"])

    def _summary(self, kept: np.ndarray, counts: np.ndarray, names: list[str], score: np.ndarray) -> str:
        result, lost = self.state.result, [n for n, c in zip(names, counts, strict=True) if c == 0]
        parts = [f"<b>{int(kept.sum()):,} of {kept.size:,} kept</b>, {int((~kept).sum()):,} dropped"]
        finite = np.isfinite(score)
        if score[finite].sum() > 0 and self.state.selector == "tdds":
            parts.append(f"{100 * score[kept & finite].sum() / score[finite].sum():.0f} % of the total score")
        if "flipped" in result:
            flipped = result["flipped"].values
            parts.append(f"wrong labels {100 * flipped[kept].mean():.1f} % of the kept, {100 * flipped.mean():.1f} % of all")
        text = " &ensp; ".join(parts)
        if lost:
            text += f' &ensp; <b style="color:{RED}">no sample of {escape(", ".join(lost[:6]))} is kept</b>; switch <i>By class</i> on'
        if self.state.selector in ("random", "random_balanced", "ccs", *STRATIFIED):
            text += " &ensp; <i>drawn at random with the run's seed</i>"
        return text

    def _galleries(self, kept: np.ndarray, score: np.ndarray) -> None:
        state, ids = self.state, self.state.result["sample"].values.astype(str)
        random = np.random.default_rng(0)
        for gallery, rows, sign in ((self.kept, np.flatnonzero(kept), -1), (self.dropped, np.flatnonzero(~kept), 1)):
            ordered = rows[np.argsort(sign * score[rows], kind="stable")]  # kept: highest first; dropped: lowest first
            if self.show_what.value == CUT:
                ordered = ordered[::-1]
            elif self.show_what.value == DRAWN:
                ordered = random.permutation(rows)
            chosen = ids[ordered[: gallery.room]].tolist()
            classes = state.called_classes(chosen)
            texts = [f"{escape(i)}{c} · score {score[r]:.3g}" for i, c, r in zip(chosen, classes, ordered, strict=False)]
            gallery.show(state.pictures.of(chosen), chosen, texts)

    def _paint(self, kept: np.ndarray) -> None:
        place, ground = self.state.film.place, self.state.pictures.ground
        assert place is not None
        assert ground is not None
        canvas = (0.45 * ground.astype(float) + 0.55 * 128).astype(np.uint8)
        rows, columns = place.T
        canvas[rows, columns] = np.where(
            kept[:, None], *(rgb(STATES[n].colour) for n in ("kept", "dropped on a scene"))
        ).astype(np.uint8)
        self.ground.show(canvas)

    # --- downloads --------------------------------------------------------------------------------------------------

    def table(self, suffix: str) -> io.BytesIO:
        """The index list of the selection: sample, label, kept, score of the selector and of all rivals."""
        result, choices = self.state.result, self.choices()
        table = result.drop_vars([n for n in result.data_vars if result[n].dims != ("sample",)])
        table = table.drop_vars([n for n in table.data_vars if str(n).startswith("kept")])
        table = table.assign(
            kept=choices[self.state.selector].drop_vars("T", errors="ignore"), score=("sample", self.score())
        )
        with tempfile.TemporaryDirectory() as folder:
            return io.BytesIO(write_index(Path(folder) / f"coreset{suffix}", table).read_bytes())

    def _unnamed(self) -> str:
        """Why a coreset file cannot name its source data; empty if it can."""
        try:
            _ = self.state.source
        except InputError as error:
            return str(error)
        return ""

    def write(self, path: Path) -> Path:
        """Write the selection as a coreset file, which can be opened and trained on like any data."""
        state, result = self.state, self.state.result
        source = state.source.absolute()
        named = f"{state.selector} (T={self.T})" if state.selector == "tdds" else state.selector
        kept = self.choices()[state.selector]
        test, mark = result["test_sample"].values, result.attrs["scene_fingerprint"]
        opened = {"truth": source.truth, "keys": source.keys, "wrong": wrong_labels(result)}
        return write_coreset(path, source.scene, mark, kept, test, named, **opened)

    def entry(self) -> io.BytesIO:
        """The coreset file of the selection, as YAML bytes."""
        with tempfile.TemporaryDirectory() as folder:
            return io.BytesIO(self.write(Path(folder) / "coreset.yml").read_bytes())

    def open(self) -> None:
        """Write the selection to a file beside the runs, and open it in this page: Start then trains on it."""
        state = self.state
        try:
            chosen = self.choices()[state.selector].values
            mark = hashlib.sha256(np.packbits(chosen).tobytes() + state.mark.encode()).hexdigest()[:6]
            path = state.root / "coresets" / f"{state.called}-{state.selector}-{state.keep:g}-{mark}.yml"
            path.parent.mkdir(parents=True, exist_ok=True)
            self.write(path)
        except (InputError, OSError) as error:
            self.message.object = f'<span style="color:{RED}">{problem(str(error))}</span>'
            return
        state.open(str(path))
