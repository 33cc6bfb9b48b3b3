"""The run: train, rank the filters, search scales and shifts, compress, and do the same for every rival."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from workbench.event import Event, Outcome, Trace
from workbench.methods.picpq.arms import Found, arm_of
from workbench.methods.picpq.bits import cost_of, limit_of
from workbench.methods.picpq.chips import Chips, chips_of
from workbench.methods.picpq.deploy import measured_files, settings_of
from workbench.methods.picpq.result import finished_arm, result_of, shown_arm, shown_search
from workbench.methods.picpq.settings import Config
from workbench.methods.picpq.training import Arm, Compression, Learner, judged, network_of
from workbench.parts.device import device
from workbench.parts.evolution import Search
from workbench.parts.filter_properties import feature_ranks
from workbench.parts.pruning import Plan, choose
from workbench.parts.seeding import Seeded
from workbench.parts.training import about, same_run, weights


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Train a classifier and compress it, with PIC-PQ and each of `config.rivals`.

    Events, in this order: an epoch of the dense network, `loss/dense` and `val_accuracy/dense`; a candidate of the search,
    `search_loss/picpq` and `search_best/picpq`, every `show_every` with the arrays `scale` and `shift`; an epoch of each compressed
    network, `loss/NAME` and `val_accuracy/NAME`. docs/methods/picpq.md lists the result.
    """
    chips = chips_of(scene, config)
    work = Work(chips, config, about(chips.samples.fingerprint, config))
    if state is not None:
        same_run("picpq", state["about"], work.identity)
        work.load(state)
    yield from work.train_dense()
    work.rank()
    yield from work.search_all()
    yield from work.compress_all()
    ours = work.finished["picpq"]
    result = result_of(scene, work.found(), work.searches, work.finished)
    if config.files or "ptq8" in config.rivals:
        result = result.assign(measured_files(work.found(), work.compressed(), "ptq8" in config.rivals))
    networks = {"picpq": ours["weights"], "dense": weights(work.dense.network)}
    return Outcome(result, {**networks, "settings": settings_of(work.found(), ours)})


class Work:
    """The stages of a run, and their state."""

    def __init__(self, chips: Chips, config: Config, identity: str) -> None:
        self.chips, self.config, self.identity = chips, config, identity
        with Seeded(config.seed):
            network = network_of(config, tuple(chips.values.shape[1:]), chips.classes).to(device())
        self.dense = Learner(network, chips, config, config.epochs, config.lr, config.seed + 1)
        self.plan = Plan.of(network, chips.values[chips.train[:2]])
        least = [np.zeros(g.count) for g in self.plan.groups]  # refuses a target that cannot be reached, before the training
        choose(
            self.plan,
            least,
            limit_of(self.plan, config),
            lambda n: cost_of(self.plan, n, config),
            config.safeguard,
            config.round_to,
        )
        self.searches: dict[str, Search] = {}
        self.finished: dict[str, dict[str, Any]] = {}
        self.going: dict[str, Any] | None = None
        self.properties: dict[str, np.ndarray] = {}
        self.step = 0

    @property
    def names(self) -> list[str]:
        """The arms that are trained, in their order."""
        return ["picpq", *(n for n in self.config.rivals if n != "ptq8")]

    def total(self) -> int:
        """Events of the whole run, if every pruned arm removes something."""
        c = self.config
        pruned = ("picpq", "hrank", "shuffled", "random", "uniform_l1", "global_l1", "legr")
        return (
            c.epochs
            + c.generations * len(self.search_names)
            + sum(c.quantize_epochs + (c.recover if n in pruned else 0) for n in self.names)
        )

    @property
    def search_names(self) -> list[str]:
        """Properties that are searched."""
        return ["picpq", *(["legr"] if "legr" in self.config.rivals else [])]

    def event(self, scalars: dict[str, float], arrays: Mapping[str, xr.DataArray] | None = None, **going: Any) -> Event:
        """The next event; `going`: state of the part that is under way."""
        self.step += 1
        finished, searches, step = dict(self.finished), {k: s.state() for k, s in self.searches.items()}, self.step

        def saved() -> dict[str, Any]:
            return {
                "about": self.identity,
                "step": step,
                "dense": self.dense.state(),
                "searches": searches,
                "finished": finished,
                "going": {k: v() for k, v in going.items()},
            }

        return Event(step, scalars, arrays or {}, max(self.total(), step), saved)

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of an event."""
        self.step = state["step"]
        self.dense.load(state["dense"])
        self.finished = {k: dict(v) for k, v in state["finished"].items()}
        self.going = dict(state["going"]) or None
        self.saved_searches = state["searches"]

    def found(self) -> Found:
        """All that the choices need."""
        return Found(self.dense.network, self.plan, self.properties, self.chips, self.config)

    def compressed(self) -> nn.Module:
        """The network of PIC-PQ with its trained weights."""
        ours = self.finished["picpq"]
        arm = Arm("picpq", [np.array(k) for k in ours["kept"]], ours["bits"])
        compression = Compression(arm, self.dense.network, self.plan, self.chips, self.config)
        compression.quantise(fitted=False)
        compression.network.load_state_dict(ours["weights"])
        return compression.network

    def train_dense(self) -> Iterator[Event]:
        """1. The network that is compressed."""
        while self.dense.done < self.dense.total:
            loss = self.dense.epoch()
            yield self.event(
                {"loss/dense": loss, "val_accuracy/dense": judged(self.dense.network, self.chips, self.chips.val)[1]}
            )

    def rank(self) -> None:
        """2. The property of each filter; and the searches, as far as they have come."""
        c, chips = self.config, self.chips
        images = chips.values[chips.train[: c.rank_images]]
        self.properties = feature_ranks(self.dense.network, images, self.found().layers, c.property_at)
        saved = getattr(self, "saved_searches", {})
        found = self.found()
        for name in self.search_names:
            self.searches[name] = found.search(found.properties if name == "picpq" else found.norms())
            if name in saved:
                self.searches[name].load(saved[name])

    def search_all(self) -> Iterator[Event]:
        """3. Scales and shifts of PIC-PQ; the same search with norms of weights is LeGR."""
        found = self.found()
        fitness = found.fitness()
        for name, search in self.searches.items():
            properties = found.properties if name == "picpq" else found.norms()
            while not search.done:
                a, b = search.ask()
                search.tell(a, b, fitness(found.chosen(found.by(properties, a, b))))
                scalars = {f"search_loss/{name}": search.history[-1].loss, f"search_best/{name}": search.best.loss}
                shown = name == "picpq" and (len(search.history) % self.config.show_every == 0 or search.done)
                yield self.event(scalars, shown_search(found, search) if shown else {})

    def compress_all(self) -> Iterator[Event]:
        """4. Prune and quantise, train again: PIC-PQ, then each rival."""
        found, best = self.found(), {k: (s.best.a, s.best.b) for k, s in self.searches.items()}
        ours = arm_of("picpq", found, best, None)
        for name in self.names:
            if name in self.finished:
                continue
            with Seeded(self.config.seed):
                arm = ours if name == "picpq" else arm_of(name, found, best, ours)
                compression = Compression(arm, self.dense.network, self.plan, self.chips, self.config)
            if self.going is not None:
                compression.load(self.going["compression"])
                self.going = None
            if compression.epochs == 0:
                compression.finish()
            while compression.done < compression.epochs:
                loss = compression.epoch()
                scalars = {
                    f"loss/{name}": loss,
                    f"val_accuracy/{name}": judged(compression.network, self.chips, self.chips.val)[1],
                }
                last = compression.done == compression.epochs
                if last:
                    compression.finish()
                    self.finished[name] = finished_arm(compression, found)
                    yield self.event(scalars, shown_arm(found, arm) if name == "picpq" else {})
                else:
                    yield self.event(scalars, compression=compression.state)
            if name not in self.finished:
                self.finished[name] = finished_arm(compression, found)
