"""Results: maps of the watched pair, maps and scores of all networks on held-out pixels, uncertainty against error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from workbench.baselines.change import RIVALS, detect
from workbench.methods.arcdnet.network import reach
from workbench.methods.arcdnet.pairs import TEST, TRAIN, VAL, Pairs
from workbench.methods.arcdnet.settings import Config
from workbench.methods.arcdnet.tiles import Trained, check_fits, knowledge, layout, predict, strips
from workbench.methods.arcdnet.training import Learner
from workbench.metrics import change as change_metrics
from workbench.metrics import uncertainty as uncertainty_metrics
from workbench.metrics.change import confusion
from workbench.metrics.uncertainty import (
    aurc,
    calibration_error,
    entropy,
    error_auroc,
    fit_temperature,
    max_probability,
    mean_gap,
    risk_at,
    variance,
)
from workbench.scene import PROVENANCE, fingerprint

VIEW = 256  # largest side of the watched window
WATCHED_PAIRS = 16  # validation pairs scored while training


# --- the watched pair -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Watched:
    """A window of one validation pair, fixed for the run, and the validation pairs scored during training.

    pair: its position; rows, columns: the window. scored: positions of validation pairs; of a single large pair only the
    window is scored.
    """

    pair: int
    rows: slice
    columns: slice
    scored: tuple[int, ...]

    def window(self, pairs: Pairs, n: int) -> tuple[slice, slice]:
        """Rows and columns to score in pair `n`: the window of a single large pair, else the whole pair."""
        return (self.rows, self.columns) if pairs.single else (slice(None), slice(None))

    def validation(self, learner: Learner, pairs: Pairs) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(truth, name -> map), each flat over the scored validation pixels."""
        truth, maps = [], []
        for n in self.scored:
            at = self.window(pairs, n)
            chosen = pairs.part[(n, *at)] == VAL
            truth.append(pairs.truth[(n, *at)][chosen])
            maps.append(maps_of(learner, pairs, n, at)[:, chosen])
        rows = np.concatenate(maps, 1)
        return np.concatenate(truth), dict(zip(learner.names, rows, strict=True))

    def maps(self, learner: Learner, pairs: Pairs) -> dict[str, xr.DataArray]:
        """`change`, `uncertainty`, and `target`, the ideal U, |y - P|; (y, x) of the window."""
        at = (self.rows, self.columns)
        maps = dict(zip(learner.names, maps_of(learner, pairs, self.pair, at), strict=True))
        truth = pairs.truth[(self.pair, *at)]
        target = np.where(truth < 0, np.nan, np.abs((truth == 1) - maps["change"])).astype(np.float32)
        shown = {"change": maps["change"], "uncertainty": maps.get("uncertainty"), "target": target}
        texts = {"change": "probability of change P", "uncertainty": "uncertainty U", "target": "error |y - P|"}
        return {k: self.labelled(v, texts[k], pairs) for k, v in shown.items() if v is not None}

    def images(self, pairs: Pairs) -> dict[str, xr.DataArray]:
        """`before`, `after` (band, y, x) as used in training, and `truth (y, x)`."""
        at = (self.pair, slice(None), self.rows, self.columns)
        truth = pairs.truth[(self.pair, self.rows, self.columns)].astype(np.float32)
        dates = {name: self.labelled(getattr(pairs, name)[at].numpy(), name, pairs) for name in ("before", "after")}
        return dates | {"truth": self.labelled(truth, "truth: 1 changed, 0 not, -1 not labelled", pairs)}

    def labelled(self, values: np.ndarray, text: str, pairs: Pairs) -> xr.DataArray:
        """`values ([band,] y, x)` of the window as a DataArray on pixel coordinates, with `text` as its long name."""
        coords = {
            "y": np.arange(*self.rows.indices(pairs.truth.shape[1])),
            "x": np.arange(*self.columns.indices(pairs.truth.shape[2])),
        }
        dims = ("band", "y", "x")[-values.ndim :]
        return xr.DataArray(values.copy(), coords, dims, attrs={"long_name": text, "sample": str(pairs.ids[self.pair])})


def watched(pairs: Pairs) -> Watched:
    """The window with most change of the validation pair with most change."""
    changed = ((pairs.truth == 1) & (pairs.part == VAL)).sum((1, 2))
    n = int(changed.argmax())
    weight = (pairs.part[n] == VAL) * (1.0 + 1000.0 * (pairs.truth[n] == 1))
    rows, columns = (_window(weight.sum(axis), VIEW) for axis in (1, 0))
    scored = pairs.of(VAL)
    keep = np.argsort(-changed[scored], kind="stable")[: WATCHED_PAIRS // 2]
    rest = np.setdiff1d(np.arange(len(scored)), keep)[: WATCHED_PAIRS - len(keep)]
    return Watched(n, rows, columns, tuple(int(scored[i]) for i in sorted({*keep, *rest})))


def _window(weight: np.ndarray, side: int) -> slice:
    """The `side` consecutive entries with the largest sum; starts at a multiple of 32."""
    side = min(side, len(weight))
    total = np.concatenate([[0.0], np.cumsum(weight)])
    starts = np.arange(0, len(weight) - side + 1, 32)
    best = int(starts[np.argmax(total[starts + side] - total[starts])])
    return slice(best, best + side)


# --- maps -------------------------------------------------------------------------------------------------------------


def maps_of(learner: Learner, pairs: Pairs, n: int, at: tuple[slice, slice] = (slice(None), slice(None))) -> np.ndarray:
    """Maps (K, y, x) of one pair or a window of it, in tiles if it is large; NaN where a date is missing."""
    before, after = (
        xr.DataArray(x[(n, slice(None), *at)].numpy(), dims=("band", "y", "x")) for x in (pairs.before, pairs.after)
    )
    tile, margin, fade = layout(learner.config)
    return np.concatenate(list(strips(learner.maps, before, after, tile, margin, fade, stride=32)), axis=1)


def applied(trained: Trained, pair: xr.Dataset, config: Config) -> xr.Dataset:
    """`change` and `uncertainty (y, x)` of one pair, tiled as `config` says."""
    check_fits(trained, pair["before"])
    return predict(trained, pair["before"], pair["after"], config.tile, config.margin)


def applied_result(scene: xr.Dataset, maps: Sequence[xr.Dataset], config: Config, single: bool) -> xr.Dataset:
    """The result of applying weights: maps on the scene's coordinates and, with truth, all scores."""
    joined = maps[0] if single else xr.concat([m.drop_vars("split", errors="ignore") for m in maps], scene["sample"])
    result = joined.assign_attrs(_about(scene, config))
    if "truth" not in scene:
        return result
    truth = scene["truth"]
    result["truth"] = truth.astype(np.int16).compute().assign_attrs(long_name="truth")
    y, p = np.where(truth.values < 0, -1, truth.values > 0), result["change"].values
    measures = {"max_probability": (max_probability(p), p), "entropy": (entropy(p), p), "variance": (variance(p), p)}
    if "uncertainty" in result:
        measures = {"uncertainty": (result["uncertainty"].values, p), **measures}
    return result.assign(_scores({"arcdnet": p}, y)).assign(_uncertainty_scores(measures, y))


def training_result(
    scene: xr.Dataset, pairs: Pairs, config: Config, trained: Mapping[str, Learner], view: Watched
) -> xr.Dataset:
    """The result of a training run: maps of the test pairs, or of a single pair as a whole; scores on test pixels only."""
    positions = [0] if pairs.single else list(map(int, pairs.of(TEST)))
    y = np.where(pairs.part[positions] == TEST, pairs.truth[positions], -1)  # (M, H, W); other pixels do not count
    maps: dict[str, np.ndarray] = {}  # name -> (M, H, W)
    for name, learner in trained.items():
        stacked = np.stack([maps_of(learner, pairs, n) for n in positions], 1)
        for kind, values in zip(learner.names, stacked, strict=True):
            maps[kind if name == "arcdnet" else f"{kind}_{name}"] = values
    p = maps["change"]
    temperature = _temperature(trained["arcdnet"], pairs)
    calibrated = 1 / (1 + np.exp(-_logit(p) / temperature))
    # measure -> (uncertainty, the change map whose errors it should predict)
    measures = {"uncertainty": (maps["uncertainty"], p)} if "uncertainty" in maps else {}
    measures |= {
        "max_probability": (max_probability(p), p),
        "entropy": (entropy(p), p),
        "variance": (variance(p), p),
        "temperature": (calibrated * (1 - p) + (1 - calibrated) * p, p),
    }
    for control in ("shuffled", "untrained"):
        if control in maps:
            measures[control] = (maps.pop(control), p)
    if "mc_dropout" in trained:
        maps["change_mc_dropout"] = np.stack([_dropped(trained["mc_dropout"], pairs, n, config) for n in positions])
        measures["mc_dropout"] = (variance(maps["change_mc_dropout"]), maps["change_mc_dropout"])
    members = [name for name in maps if name.startswith("change_ensemble_")]
    if members:
        maps["change_ensemble"] = np.mean([p, *(maps.pop(name) for name in members)], 0)
        measures["ensemble"] = (variance(maps["change_ensemble"]), maps["change_ensemble"])
    maps = {k: v for k, v in maps.items() if not k.startswith(("uncertainty_ensemble", "uncertainty_mc"))}
    used = scene if pairs.single else scene.isel(sample=positions)
    for name in classical(scene):
        maps[f"change_{name}"] = detect(name, used)["change"].values.reshape(y.shape).astype(np.float32)

    dims, like = _frame(scene, pairs, positions)
    result = xr.Dataset(coords=like, attrs=_about(scene, config) | {"split": _split(pairs)})
    for name, values in maps.items():
        text = {"change": "probability of change", "uncertainty": "expected error of the change map"}.get(name)
        result[name] = (
            dims,
            _fit(values, pairs),
            {"long_name": text or f"change by {name.removeprefix('change_')}"},
        )
    for name, (values, _) in measures.items():
        if name != "uncertainty":
            result[f"uncertainty_{name}"] = (dims, _fit(values, pairs), {"long_name": f"uncertainty by {name}"})
    result["truth"] = (
        dims,
        _fit(pairs.truth[positions], pairs).astype(np.int16),
        {"long_name": "truth: 1 changed, -1 not labelled"},
    )
    if pairs.single:
        result["part"] = (dims, pairs.part[0], {"long_name": "0 training, 1 validation, 2 test, -1 none"})
    for name in ("chance", "ambiguity"):  # known only for simulated scenes
        if name in used:
            result[name] = (
                dims,
                used[name].transpose(..., "y", "x").values,
                {"long_name": f"{name} known to the simulation"},
            )
    change = {"arcdnet": p} | {k.removeprefix("change_"): v for k, v in maps.items() if k.startswith("change_")}
    result = result.assign(_scores(change, y)).assign(_uncertainty_scores(measures, y))
    result = result.assign(_training_scores(trained["arcdnet"], pairs))
    result["temperature"] = (
        (),
        temperature,
        {"long_name": "temperature fitted on validation pixels; above 1: P was overconfident"},
    )
    for name in trained:
        count = sum(w.numel() for w in trained[name].network.parameters())
        key = "parameters" if name == "arcdnet" else f"parameters_{name}"
        result[key] = ((), float(count), {"long_name": f"parameters of {name}"})
    return result.assign(_inspected(trained["arcdnet"], pairs, view))


def classical(scene: xr.Dataset) -> list[str]:
    """Rivals without training that suit the scene: the log-ratio for SAR, the change vector for other images."""
    sar = scene["before"].attrs.get("kind") == "sar"
    return [name for name in RIVALS if name not in (("cva",) if sar else ("log_ratio",))]


def _dropped(learner: Learner, pairs: Pairs, n: int, config: Config) -> np.ndarray:
    """Mean P (y, x) of `config.passes` passes in evaluation mode with dropout on, drawn from the learner's random state."""
    for module in learner.evaluating().network.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.train()
    with learner.random:
        mean = np.mean([maps_of(learner, pairs, n)[0] for _ in range(config.passes)], 0)
    learner.evaluating()
    return mean


def _temperature(learner: Learner, pairs: Pairs) -> float:
    rows = [
        (maps_of(learner, pairs, n)[0][pairs.part[n] == VAL], pairs.truth[n][pairs.part[n] == VAL]) for n in pairs.of(VAL)
    ]
    return fit_temperature(_logit(np.concatenate([p for p, _ in rows])), np.concatenate([t for _, t in rows]))


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


# --- tables -----------------------------------------------------------------------------------------------------------


def _scores(change: Mapping[str, np.ndarray], y: np.ndarray) -> xr.Dataset:
    """`scores (rival, metric)`, each rival from one pooled matrix, and the same as 0-d variables."""
    metrics = ("precision", "recall", "f1", "iou", "kappa")
    table = {name: confusion(p, y) for name, p in change.items()}
    values = np.array([[getattr(matrix, m) for m in metrics] for matrix in table.values()])
    result = xr.Dataset(
        {"scores": (("rival", "metric"), values, {"long_name": "scores on test pixels, pooled"})},
        {"rival": list(table), "metric": list(metrics)},
    )
    for name, matrix in table.items():
        for m in metrics if name == "arcdnet" else ("f1",):
            result[m if name == "arcdnet" else f"{m}_{name}"] = (
                (),
                getattr(matrix, m),
                {"long_name": _text(change_metrics.MEANING[m], "" if name == "arcdnet" else name)},
            )
    return _finite(result)


def _uncertainty_scores(measures: Mapping[str, tuple[np.ndarray, np.ndarray]], y: np.ndarray) -> xr.Dataset:
    """`uncertainty_scores (measure, quantity)`, and the most important as 0-d variables."""
    rows = {name: _against_error(u, p, y) for name, (u, p) in measures.items()}
    quantities = list(next(iter(rows.values())))
    result = xr.Dataset(
        {
            "uncertainty_scores": (
                ("measure", "quantity"),
                np.array([[row[q] for q in quantities] for row in rows.values()]),
                {"long_name": "uncertainty against the error of its own change map, test pixels"},
            )
        },
        {"measure": list(rows), "quantity": quantities},
    )
    own = "uncertainty" if "uncertainty" in rows else "entropy"
    for q in quantities:
        text = _text(uncertainty_metrics.MEANING[q], "" if own == "uncertainty" else own)
        result[q] = ((), rows[own][q], {"long_name": text})
    for name in rows:
        for q in ("error_auroc", "aurc"):
            if name != "uncertainty":
                result[f"{q}_{name}"] = ((), rows[name][q], {"long_name": _text(uncertainty_metrics.MEANING[q], name)})
    return _finite(result)


def _text(meaning: str, who: str) -> str:
    """Description of a metric on test pixels; who: the rival or measure, empty for the network's own."""
    return f"{meaning} (test pixels{', ' + who if who else ''})"


def _against_error(u: np.ndarray, p: np.ndarray, y: np.ndarray) -> dict[str, float]:
    mean_u, mean_error = mean_gap(u, p, y)
    known = (y >= 0) & np.isfinite(p)
    wrong = known & ((p > 0.5) != (y == 1))
    right = known & ~wrong
    return {
        "error_auroc": error_auroc(u, p, y),
        "aurc": aurc(u, p, y),
        "calibration_error": calibration_error(u, p, y),
        "mean_uncertainty": mean_u,
        "mean_error": mean_error,
        "mean_on_wrong": float(u[wrong].mean()) if wrong.any() else np.nan,
        "mean_on_right": float(u[right].mean()) if right.any() else np.nan,
        "error_rate": float(wrong.sum() / max(known.sum(), 1)),
        "error_rate_kept_80": risk_at(u, p, y, 0.8),
    }


def _training_scores(learner: Learner, pairs: Pairs) -> xr.Dataset:
    """F1 and the calibration of U on the training part."""
    rows = [
        (maps_of(learner, pairs, n)[:, pairs.part[n] == TRAIN], pairs.truth[n][pairs.part[n] == TRAIN])
        for n in pairs.of(TRAIN)
    ]
    truth = np.concatenate([t for _, t in rows])
    maps = dict(zip(learner.names, np.concatenate([m for m, _ in rows], 1), strict=True))
    numbers = {"train_f1": (confusion(maps["change"], truth).f1, "F1 on training pixels")}
    if "uncertainty" in maps:
        u, e = mean_gap(maps["uncertainty"], maps["change"], truth)
        numbers["train_mean_uncertainty"] = (u, "mean U on training pixels")
        numbers["train_mean_error"] = (e, "mean |y - P| on training pixels")
        numbers["train_error_auroc"] = (
            error_auroc(maps["uncertainty"], maps["change"], truth),
            "AUROC of U against error, training pixels",
        )
    return _finite(xr.Dataset({name: ((), float(v), {"long_name": text}) for name, (v, text) in numbers.items()}))


def _inspected(learner: Learner, pairs: Pairs, view: Watched) -> xr.Dataset:
    """The inspector's maps of the watched window, on (view_y, view_x), with its images and truth."""
    at = (slice(view.pair, view.pair + 1), slice(None), view.rows, view.columns)
    maps = knowledge(learner.trained, pairs.before[at], pairs.after[at])
    shown = view.maps(learner, pairs) | view.images(pairs)
    names = {n: f"krm_{n}" for n in maps.data_vars}
    result = maps.rename(names).assign(
        {f"view_{n}": v.rename({"band": "view_band"}) if "band" in v.dims else v for n, v in shown.items()}
    )
    return result.rename({"y": "view_y", "x": "view_x"}).drop_vars("view_band", errors="ignore")


def _finite(scores: xr.Dataset) -> xr.Dataset:
    """Without undefined 0-d numbers, such as precision when no pixel was classified as changed."""
    return scores.drop_vars([str(n) for n, v in scores.data_vars.items() if v.ndim == 0 and not np.isfinite(v)])


# --- on the scene's coordinates ---------------------------------------------------------------------------------------


def _frame(scene: xr.Dataset, pairs: Pairs, positions: Sequence[int]) -> tuple[tuple[str, ...], dict[str, Any]]:
    dims = ("y", "x") if pairs.single else ("sample", "y", "x")
    used = scene["truth"] if pairs.single else scene["truth"].isel(sample=list(positions))
    coords = {str(n): c.variable for n, c in used.coords.items() if set(c.dims) <= set(dims)}
    coords |= {str(n): c.variable for n, c in scene.coords.items() if not c.dims and n not in coords}
    return dims, coords


def _fit(values: np.ndarray, pairs: Pairs) -> np.ndarray:
    return (values[0] if pairs.single else values).astype(np.float32)


def _split(pairs: Pairs) -> str:
    names = {"train": TRAIN, "val": VAL, "test": TEST}
    return json.dumps({name: [str(i) for i in pairs.ids[pairs.of(part)]] for name, part in names.items()})


def _about(scene: xr.Dataset, config: Config) -> dict[str, Any]:
    about = {k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs}
    return {
        **about,
        "scene_fingerprint": fingerprint(scene),
        "reach": -1 if reach(config) is None else reach(config),
        "config": json.dumps(config.model_dump(mode="json"), sort_keys=True),
    }
