"""What the federation page reads of a run: the rounds in its events, and the messages, maps and partition in its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

Series = tuple[list[int], list[float]]  # steps of the phase from 1, values
History = Mapping[str, tuple[list[int], list[float]]]
OTHERS = ("fedprox", "powersgd", "local", "pooled")  # learners whose `round_loss` is no client's


class Phase(NamedTuple):
    """A training in rounds. length: its steps so far. unit: what a step is. loss, oa: line -> series.

    clients: name -> the line of its loss and of its accuracy. sent: class of traffic -> megabytes; exact: with exact features.
    present: steps at which a client took part; empty if all always do. apart: differences of shared weights.
    """

    title: str
    unit: str
    length: int
    clients: dict[str, tuple[str, str]]
    loss: dict[str, Series]
    oa: dict[str, Series]
    sent: dict[str, Series]
    exact: Series
    present: dict[str, set[int]]
    apart: dict[str, Series]

    def shares(self, step: int) -> dict[str, float]:
        """Client -> its share of all bytes up to a step. Messages are of one size, so it is that of the rounds with this client."""
        if not self.present:
            return dict.fromkeys(self.clients, 1 / len(self.clients))
        rounds = {name: sum(s <= step for s in steps) for name, steps in self.present.items()}
        return {name: count / max(sum(rounds.values()), 1) for name, count in rounds.items()}


def phases(history: History) -> dict[str, Phase]:
    """The phases that a run has reached, by name: `home`, `exchange`, `fedavg`."""
    made = {}
    owners = [n.partition("/")[2] for n in history if n.startswith("owner_oa/")]
    home = [n.partition("/")[2] for n in history if n.startswith("probe_oa/") and f"loss/{n.partition('/')[2]}" in history]
    if "loss_of_zero" in history and home:
        made["home"] = _home(history, [name for name in home if name != "joint"])
    if owners:
        made["exchange"] = _exchange(history, owners)
    if "failed" in history:
        made["fedavg"] = _fedavg(history)
    return made


def at(series: Series, step: int) -> float:
    """The value at a step, or the newest before it; NaN before the first.

    >>> at(([1, 5], [0.5, 0.25]), 4)
    0.5
    """
    steps, values = series
    place = int(np.searchsorted(steps, step, side="right"))
    return values[place - 1] if place else float("nan")


def _own(history: History, name: str, before: int) -> Series:
    steps, values = history.get(name, ([], []))
    return [s - before for s in steps], list(values)


def _home(history: History, owners: list[str]) -> Phase:
    """Diffusion networks, one after another; nothing travels."""
    loss = {o: _own(history, f"loss/{o}", history[f"loss/{o}"][0][0] - 1) for o in owners}
    oa = {o: _own(history, f"probe_oa/{o}", history[f"loss/{o}"][0][0] - 1) for o in owners}
    count = max(steps[-1] for steps, _ in loss.values())
    return Phase("Diffusion networks, at home", "step", count, {o: (o, o) for o in owners}, loss, oa, {}, ([], []), {}, {})


def _exchange(history: History, owners: list[str]) -> Phase:
    """Messages of features; the first of the trainings that exchange."""
    diffusion = "head_loss" in history
    first = history[f"owner_oa/{owners[0]}"][0][0] - 1
    last = history["megabytes/features"][0][-1]
    sent = {
        w: _own(history, f"megabytes/{w}", first) for w in ("features", "weights", "protocol") if f"megabytes/{w}" in history
    }
    apart = {
        n.partition("/")[2] or "before the average": _own(history, n, first)
        for n in history
        if n.partition("/")[0] == "apart"
    }
    loss = (
        {"both": _own(history, "head_loss", first)} if diffusion else {o: _own(history, f"loss/{o}", first) for o in owners}
    )
    return Phase(
        "Exchange of features",
        "step",
        last - first,
        {o: ("both" if diffusion else o, o) for o in owners},
        loss,
        {o: _own(history, f"owner_oa/{o}", first) for o in owners},
        sent,
        _own(history, "megabytes/features if exact", first),
        {},
        apart,
    )


def _fedavg(history: History) -> Phase:
    first, last = history["failed"][0][0] - 1, history["failed"][0][-1]
    names = [n.partition("/")[2] for n in history if n.startswith("round_loss/")]
    clients = sorted(n for n in names if n not in OTHERS)
    loss = {c: _own(history, f"round_loss/{c}", first) for c in clients}
    oa = {"common weights": _own(history, "round_oa/fedavg", first)}
    for other in OTHERS:
        if f"round_oa/{other}" in history:
            oa[other] = _own(history, f"round_oa/{other}", history[f"round_oa/{other}"][0][0] - 1)
    return Phase(
        "FedAvg",
        "global round",
        last - first,
        {c: (c, "common weights") for c in clients},
        loss,
        oa,
        {"weights": _own(history, "megabytes/fedavg", first)},
        ([], []),
        {c: set(steps) for c, (steps, _) in loss.items()},
        {},
    )


class Findings:
    """A finished run of one of the rooms. method: its name."""

    def __init__(self, result: xr.Dataset, method: str) -> None:
        self.result, self.method = result, method

    @property
    def parties(self) -> list[str]:
        """Owners of the messages."""
        return [str(p) for p in self.result["party"].values]

    @property
    def names(self) -> list[str]:
        """Classes."""
        return [str(n) for n in self.result["class_name"].values]

    @property
    def clients(self) -> list[str]:
        """Of the partition."""
        return [str(n) for n in self.result["client"].values]

    @property
    def labels(self) -> np.ndarray:
        """(n,) classes of all training pixels of a partition, in no order."""
        counts = self.result["clients"].values.sum(0).astype(int)
        return np.repeat(np.arange(len(counts)), counts)

    @property
    def ranks(self) -> int:
        """The largest rank of a message."""
        return self.result.sizes["rank"]

    def sizes(self) -> tuple[list[str], np.ndarray]:
        """Forms of a pixel, and their bytes (form, party)."""
        name, dim = ("bytes_by_pixel", "what") if "bytes_by_pixel" in self.result else ("bytes", "message")
        return [str(k) for k in self.result[dim].values], self.result[name].values

    def rivals(self) -> list[tuple[str, float, float, str]]:
        """Name, bytes of a pixel's message, accuracy, and what it is, of each training with other messages."""
        found = []
        if "traffic" in self.result.dims:
            features = self.result["bytes"].sel(traffic="features").values
            own = float(self.sizes()[1][-1, 0])  # bytes of a pixel's message of the run, the first of the table
            for n, (message, size) in enumerate(zip(self.result["message"].values, features, strict=True)):
                row = "" if n == 0 else "_" + str(message).replace(" ", "_")
                name = f"oa{row}" if f"oa{row}" in self.result else f"oa{row.rpartition('_')[0]}"
                if name in self.result:
                    cost = own * size / features[0] if features[0] else 0.0
                    found.append(
                        (str(message), cost, float(self.result[name]), str(self.result[name].attrs.get("long_name")))
                    )
            return found
        own = float(self.sizes()[1][-1].mean())
        exact = float(self.sizes()[1][-2].mean())
        for name, size in (("", own), ("dense", exact), ("int8", exact / 4), ("top_k", own), ("random_basis", own)):
            key = f"oa_{name}" if name else "oa"
            if key in self.result:
                label = name.replace("_", " ") or "messages of the run"
                found.append((label, size, float(self.result[key]), str(self.result[key].attrs.get("long_name"))))
        return found

    def numbers(self) -> dict[str, float]:
        """Scalars of the result by name."""
        return {str(n): float(v) for n, v in self.result.data_vars.items() if v.ndim == 0}

    @property
    def apart(self) -> float:
        """The largest difference of shared weights at the end; must be 0."""
        return float(self.result["divergence" if "divergence" in self.result else "apart"])


def reads(result: xr.Dataset) -> bool:
    """Whether a result has what the page needs at least."""
    return {"oa_by_rank", "maps", "clients", "kept_by_rank"} <= set(map(str, result.data_vars))
