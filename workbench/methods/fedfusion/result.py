"""The result: accuracies of all rows on the test pixels, the class map, where sensors disagree, and every byte that travelled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from workbench.baselines.fusion import centre_and_mean, fit
from workbench.methods.fedfusion.horizontal import Rounds
from workbench.methods.fedfusion.pixels import Pixels, shares, window_of
from workbench.methods.fedfusion.settings import Config, parsed
from workbench.methods.fedfusion.shown import messages_of
from workbench.metrics import classify
from workbench.metrics.class_maps import accuracies, class_map, details, leaks, scalar
from workbench.parts.cross_fusion import CHANNELS, PLACES, WINDOW
from workbench.parts.feature_exchange import Exchange, Together
from workbench.parts.federation import FLOAT, INDEX, Codec, class_counts, state_bytes
from workbench.parts.privacy import epsilon
from workbench.scene import PROVENANCE

OWN = "fedfusion"
REACH = 0.9  # of the best accuracy of exact messages
ROWS = {  # row -> what it is; the accuracies of a row end with its name
    "": "FedFusion, mean of the owners",
    "centralised": "the same network on pooled data",
    "fedavg": "FedAvg of a classifier of stacked sensors",
    "fedprox": "FedProx of the same classifier",
    "powersgd": "FedAvg of the same classifier, updates of low rank (PowerSGD)",
    "local": "the same classifier at each client alone, mean of the clients",
    "pooled": "the same classifier on pooled data",
    "svm": "SVM on raw values of all sensors",
    "forest": "random forest on raw values of all sensors",
}
MESSAGE_WORDS = {
    "dense": "exact messages",
    "low_rank": "messages of rank {}",
    "svd": "messages of rank {} as U, s, V",
    "int8": "messages of 8 bits a value",
    "top_k": "the largest values in the bytes of rank {}",
    "random_basis": "messages in a random basis of rank {}",
    "zeros": "zeros instead of messages",
}


def result_of(
    scene: xr.Dataset, pixels: Pixels, config: Config, made: Mapping[str, Exchange | Together | Rounds]
) -> xr.Dataset:
    """made: row -> its trained networks."""
    train, test, classes = pixels.train, pixels.test, len(pixels.names)
    truth = pixels.label[test]
    windows = {s: pixels.take(test, s) for s in pixels.sensors}
    stacked = pixels.stacked(test, config.network == "mlp")
    own = made[OWN]
    assert isinstance(own, Exchange)
    heads = own.told(windows)
    table = {"": [h[0] for h in heads]}
    for row, learner in made.items():
        if row != OWN:
            table[row] = learner.probabilities(stacked) if isinstance(learner, Rounds) else learner.probabilities(windows)
    known = {part: _raw(pixels, rows) for part, rows in (("train", train), ("test", test))}
    for model in ("svm", "forest"):
        table[model] = [fit(model, known["train"], pixels.label[train], classes, config.seed, config.trees)(known["test"])]

    result = xr.Dataset()
    for row, told in table.items():
        counts = sum((classify.confusion(truth, p.argmax(1), classes) for p in told), np.zeros((classes, classes), np.int64))
        accuracies(result, row, counts, _words(row, config), pixels.split)
    single = max(float(result[f"oa_only_{s}"]) for s in pixels.sensors)
    result["oa_only_best"] = scalar(single, "overall accuracy on test pixels, the better sensor alone with its own path")
    for sensor, head in zip(pixels.sensors, heads, strict=True):
        right = (head[0].argmax(1) == truth).mean()
        result[f"oa_at_{sensor}"] = scalar(
            right, f"overall accuracy on test pixels at the owner of {sensor}; split: {pixels.split}"
        )
    details(result, table[""][0], truth, pixels.names, "FedFusion at the first owner")
    leaks(result, pixels, config.seed)
    alone = np.stack([h.argmax(1) for h in heads[0][1:]])
    result["disagreement"] = scalar(
        (alone != alone[0]).any(0).mean(), "share of test pixels on which the heads of single sensors disagree"
    )
    result["divergence"] = scalar(
        own.divergence(), "largest difference of a shared weight between clients at the end; must be 0"
    )
    warning = _bytes(result, pixels, config, own)
    _to_reach(result, made)
    _clients(result, pixels, config, made)
    messages_of(result, pixels, config, own)
    if config.map and pixels.patches is not None:
        _maps(result, scene, pixels, own, classify.confusion(truth, table[""][0].argmax(1), classes))
    result.attrs = {k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs}
    result.attrs |= {
        "split": f"{pixels.split}: {len(train):,} pixels for training, {len(test):,} for testing",
        "split_warning": pixels.warning,
        "owners": ", ".join(pixels.sensors),
        "message_warning": warning,
    }
    return result


def _raw(pixels: Pixels, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([centre_and_mean(pixels.take(rows, s).numpy(), WINDOW // 2) for s in pixels.sensors], 1)


def _words(row: str, config: Config) -> str:
    kind, _, sensor = row.partition("_")
    if kind == "only":
        return f"{sensor} alone, with its own path"
    if row in ROWS:
        return ROWS[row]
    rival = next(r for r in config.rivals if r.replace(":", "_") == row)
    name, rank = parsed(rival, config.rank)
    return MESSAGE_WORDS[name].format(rank)


def _bytes(result: xr.Dataset, pixels: Pixels, config: Config, own: Exchange) -> str:
    """`bytes (message, traffic)` by formula, `megabytes_*` as counted in training, three ratios. Returns a warning where pixels would be
    cheaper, else ""."""
    shape, owners = (config.batch, CHANNELS, PLACES, PLACES), len(pixels.sensors)
    averaged = [o.common() for o in own.groups[0]]
    if len(own.groups) > 1:  # then encoders are averaged over the groups, too
        averaged += [o.encoder.state_dict() for o in own.groups[0]]
    every = 2 * sum(state_bytes(state) for state in averaged) / config.average_every
    named = [parsed(r, config.rank) for r in ("dense", *config.rivals)]
    kinds = list(dict.fromkeys([(own.codec.kind, own.codec.rank), *named]))
    rows = []
    for kind, rank in kinds:
        features = Codec(kind, rank).payload(shape) * owners * owners  # type: ignore[arg-type]  # up once, down to each other owner
        rows.append([features, every, INDEX * config.batch * owners])
    result["bytes"] = (
        ("message", "traffic"),
        np.array(rows, float),
        {"long_name": "payload of one batch of one group, up and down, by formula", "units": "byte"},
    )
    ranked = ("low_rank", "svd", "top_k", "random_basis", "shared_basis")
    result.coords["message"] = [f"{k} {r}" if k in ranked else k for k, r in kinds]
    result.coords["traffic"] = ["features", "weights", "indices"]
    trained = own.trained
    total = sum(trained.values())
    raw = sum(FLOAT * pixels.bands[s] * WINDOW**2 for s in pixels.sensors) * len(pixels.train)
    for name, value, text in (
        *((w, v, f"{w} sent in training, up and down") for w, v in trained.items() if v),
        ("total", total, "all that was sent in training, up and down"),
        ("test", own.traffic.of("test"), "features sent for the test pixels, up and down"),
        ("raw", raw, "raw windows of the training pixels of all owners, sent once, one way"),
    ):
        result[f"megabytes_{name}"] = scalar(value / 1e6, text, "MB")
    dense = own.dense_features
    tensor = dense / trained["features"] if trained["features"] else 0.0
    result["ratio_features"] = scalar(tensor, "bytes of exact features / bytes of the messages; 0: nothing was sent")
    result["ratio_total"] = scalar(
        (total - trained["features"] + dense) / total,
        "bytes of training with exact features / bytes of this training, all traffic",
    )
    result["ratio_raw"] = scalar(
        total / raw, "bytes of this training / raw windows sent once; above 1, sending the pixels is cheaper"
    )
    message = own.codec.payload(shape) / config.batch
    cheap = [f"{s} ({FLOAT * n * WINDOW**2:,} bytes)" for s, n in pixels.bands.items() if message > FLOAT * n * WINDOW**2]
    words = (
        f"A message has {message:,.0f} bytes a pixel; the raw window is smaller for {', '.join(cheap)}. " if cheap else ""
    )
    if total > raw:
        words += (
            f"Training sent {total / raw:.1f} times the bytes of the raw windows: sending the pixels once would be cheaper."
        )
    return words.strip()


def _to_reach(result: xr.Dataset, made: Mapping[str, Exchange | Together | Rounds]) -> None:
    """`megabytes_to_reach*`: bytes of training until a probe of test pixels first has nine tenths of the best accuracy of exact messages;
    NaN where it never had. `ratio_to_reach`: those of exact messages over those of the settings."""
    exact = made.get("dense")
    if not isinstance(exact, Exchange):
        return
    goal = REACH * max(oa for _, oa in exact.reached)
    found = {}
    for row, learner in made.items():
        if isinstance(learner, Exchange) and learner.reached:
            found[row] = next((size for size, oa in learner.reached if oa >= goal), float("nan"))
            ending = "" if row == OWN else f"_{row}"
            text = f"bytes of training until a probe has OA {goal:.3f}, {REACH:g} of the best of exact messages"
            result[f"megabytes_to_reach{ending}"] = scalar(found[row] / 1e6, text, "MB")
    result["ratio_to_reach"] = scalar(
        found["dense"] / found[OWN], f"bytes of exact messages / bytes of these, until OA {goal:.3f}"
    )


def _clients(result: xr.Dataset, pixels: Pixels, config: Config, made: Mapping[str, Exchange | Together | Rounds]) -> None:
    """`clients (client, class)`: training pixels of each client of the horizontal learners; their bytes and failures."""
    parts = shares(pixels, config)
    counts = class_counts(pixels.label[pixels.train], list(parts.values()), len(pixels.names))
    result["clients"] = (("client", "class_name"), counts, {"long_name": "training pixels", "units": "pixel"})
    result.coords["client"] = list(parts)
    result.coords["class_name"] = pixels.names
    if config.noise > 0:
        spent = epsilon(config.noise, config.rounds, config.delta)
        result["epsilon"] = scalar(
            spent,
            f"epsilon at delta {config.delta:g} of a client's data after all rounds; above 10 or so nobody is protected",
        )
    for kind, learner in made.items():
        if isinstance(learner, Rounds) and kind in ("fedavg", "fedprox", "powersgd"):
            result[f"megabytes_{kind}"] = scalar(learner.traffic.total / 1e6, f"weights sent by {kind}, up and down", "MB")
            result[f"failures_{kind}"] = scalar(learner.failures, f"times that a client of {kind} was away or failed", "")


def _maps(result: xr.Dataset, scene: xr.Dataset, pixels: Pixels, own: Exchange, counts: np.ndarray) -> None:
    """Class map at the first owner, and `differ`: pixels on which the heads of single sensors disagree."""
    patches, disagree = pixels.patches, []
    assert patches is not None

    def predict(place: np.ndarray) -> np.ndarray:
        joint, *alone = own.told({s: window_of(patches, place, s) for s in pixels.sensors}, "map")[0]
        heads = np.stack([a.argmax(1) for a in alone])
        disagree.append((place, (heads != heads[0]).any(0)))
        return joint

    class_map(result, scene, patches, predict, counts, "FedFusion at the first owner")
    differ = np.full(patches.usable.shape, np.nan, np.float32)
    for place, apart in disagree:
        differ[tuple(place.T)] = apart
    images = np.unique(patches.place[patches.test, 0])
    several = "sample" in scene["truth"].dims
    result["differ"] = (
        ("sample", "y", "x") if several else ("y", "x"),
        differ[images] if several else differ[0],
        {"long_name": "heads of single sensors disagree (1) or agree (0)", "units": "1"},
    )
