"""The result: accuracies of all rows on the test pixels, the class map of each owner, bytes, and what a message gives away."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from workbench.baselines.bank_rows import noise_levels, pooled, raw_values
from workbench.baselines.fusion import fit
from workbench.data.sensor_patches import Patches
from workbench.methods.feddiff.banks import Banks, Kind, kind_of
from workbench.methods.feddiff.messages import bytes_of, ranks_of
from workbench.methods.feddiff.quality import quality
from workbench.methods.feddiff.rival import windows_of
from workbench.methods.feddiff.rounds import Answers, Federation
from workbench.methods.feddiff.settings import Config
from workbench.metrics import classify
from workbench.metrics.class_maps import accuracies, attributes, class_map, details, leaks, scalar
from workbench.metrics.inversion import recovered
from workbench.parts.bank_training import Classifier
from workbench.parts.feature_exchange import Exchange
from workbench.parts.features import checkpoint_hash
from workbench.parts.federation import class_counts, divergence

OWN = "feddiff"
ROWS = {  # row -> what it is; the accuracies of a row end with its name
    "": "FedDiff at the first owner",
    "partner": "FedDiff at the second owner",
    "both_head": "FedDiff at the first owner, the head with links in both directions alone",
    "shuffled": "FedDiff with messages about other pixels",
    "late": "mean of what the owners say alone, trained alone",
    "dense": "exact messages",
    "int8": "messages of one byte a value",
    "top_k": "messages of the largest values, as many bytes",
    "random_basis": "messages in a random basis, as many bytes",
    "untrained": "untrained diffusion networks",
    "fedfusion": "FedFusion at the first owner",
    "no_diffusion": "without diffusion networks",
    "centralised": "the same network on pooled data",
    "raw_patches": "the same network without banks on pooled patches",
    "mdfl": "MDFL on pooled data, one joint diffusion network",
    "bank": "logistic regression on both trained banks",
    "untrained_bank": "logistic regression on both untrained banks",
    "raw": "logistic regression on raw values of both sensors",
    "svm": "SVM on raw values of both sensors",
    "forest": "random forest on raw values of both sensors",
}


def result_of(
    scene: xr.Dataset,
    patches: Patches,
    config: Config,
    banks: Banks,
    made: Mapping[str, Federation | Classifier | Exchange],
    hashes: Mapping[str, str],
) -> xr.Dataset:
    """made: row -> its trained networks. hashes: of the diffusion networks before the first round."""
    train, test = patches.train, patches.test
    place, y, truth = patches.place[np.concatenate([train, test])], patches.label[train], patches.label[test]
    cut, classes, owners = len(train), len(patches.names), list(banks.owners)
    kinds: set[Kind] = {"trained", "untrained", *(kind_of(row) for row in made)}
    known = {kind: banks.at(kind, place) for kind in kinds}
    tested = {kind: None if bank is None else {n: b[cut:] for n, b in bank.items()} for kind, bank in known.items()}
    table: dict[str, np.ndarray] = {}
    own = made[OWN]
    assert isinstance(own, Federation)
    answers = own.answers(patches, place[cut:], tested["trained"])
    table[""], table["partner"] = answers.fused
    table["both_head"] = answers.heads[0][0]
    table |= {f"alone_{name}": p for name, p in zip(owners, answers.alone, strict=True)}
    order = np.random.default_rng(config.seed).permutation(len(test))
    table["shuffled"] = own.answers(patches, place[cut:], tested["trained"], order).fused[0]
    for row, learner in made.items():
        bank = tested[kind_of(row)]
        if row == OWN:
            continue
        if isinstance(learner, Exchange):
            table[row] = learner.probabilities(windows_of(patches, place[cut:]))[0]
        elif isinstance(learner, Federation):
            table[row] = learner.answers(patches, place[cut:], bank).fused[0]
        else:
            table[row] = learner.probability(patches, place[cut:], bank)
    table["late"] = (table[f"only_{owners[0]}"] + table[f"only_{owners[1]}"]) / 2
    raw = np.concatenate(list(raw_values(patches, place).values()), 1)
    features = {"bank": pooled(known["trained"] or {}), "untrained_bank": pooled(known["untrained"] or {})}
    for row, x, model in (
        *((name, values, "logistic") for name, values in features.items()),
        ("raw", raw, "logistic"),
        ("svm", raw, "svm"),
        ("forest", raw, "forest"),
    ):
        table[row] = fit(model, x[:cut], y, classes, config.seed, config.trees)(x[cut:])

    result = xr.Dataset()
    counts = {row: classify.confusion(truth, p.argmax(1), classes) for row, p in table.items()}
    for row in table:
        accuracies(result, row, counts[row], _words(row), patches.split)
    single = max(float(result[f"oa_only_{name}"]) for name in owners)
    result["oa_only_best"] = scalar(single, "overall accuracy on test pixels, the better single owner")
    details(result, table[""], truth, patches.names, "FedDiff")
    leaks(result, patches, config.seed)
    _levels(result, banks, known, y, truth, config)
    warning = bytes_of(result, patches, config, own, answers.sent)
    ranks_of(result, patches, config, own, tested["trained"], place[cut:])
    both = [np.arange(cut)] * len(owners)
    result["clients"] = (
        ("client", "class_name"),
        class_counts(y, both, classes),
        {"long_name": "training pixels; all owners have the same", "units": "pixel"},
    )
    result.coords["client"], result.coords["class_name"] = owners, patches.names
    for row, learner in made.items():
        if isinstance(learner, Exchange):
            text = "sent in training by FedFusion, features, weights and indices, up and down"
            result[f"megabytes_{row}"] = scalar(sum(learner.trained.values()) / 1e6, text, "MB")
    _given_away(result, patches, banks, own, answers, place, cut, known)
    quality(result, patches, config, banks)
    changed = sum(checkpoint_hash(banks.made[name].networks[name]) != before for name, before in hashes.items())
    result["networks_changed"] = scalar(changed, "diffusion networks whose weights the rounds changed; must be 0", "")
    result["apart"] = scalar(
        divergence(own.shared()), "largest difference of the two copies of the shared weights at the end; must be 0"
    )
    result["missed"] = scalar(own.missed, "messages of features in training that did not come", "")
    for name in owners:
        result[f"loss_final_{name}"] = scalar(
            banks.made[name].recent, f"diffusion loss of {name}, mean of the last 20 steps"
        )
    if config.map:
        _maps(result, scene, patches, banks, own, counts[""])
    result.attrs = attributes(scene, patches) | {
        "owners": "; ".join(f"{name}: {', '.join(sensors)}" for name, sensors in banks.owners.items()),
        "message_warning": warning,
    }
    return result


def _words(row: str) -> str:
    kind, _, owner = row.partition("_")
    if kind == "only":
        return f"{owner} alone, trained alone (no exchange)"
    return f"what {owner} has in FedDiff when the other is away" if kind == "alone" else ROWS[row]


def _levels(result: xr.Dataset, banks: Banks, known: Mapping, y: np.ndarray, truth: np.ndarray, config: Config) -> None:
    """`oa_by_time (bank, time)`: logistic regression on each owner's bank of one noise level, trained and untrained."""
    rows = {f"{name} {kind}": {name: known[kind][name]} for name in banks.owners for kind in ("trained", "untrained")}
    result["oa_by_time"] = levels = noise_levels(rows, y, truth, config.times, config.seed)
    for name in banks.owners:
        trained, untrained = (levels.sel(bank=f"{name} {kind}").values for kind in ("trained", "untrained"))
        result[f"gain_by_time_{name}"] = scalar(
            (trained - untrained).mean(), f"bank of {name}: overall accuracy trained - untrained, mean of noise levels"
        )


def _given_away(
    result: xr.Dataset,
    patches: Patches,
    banks: Banks,
    own: Federation,
    answers: Answers,
    place: np.ndarray,
    cut: int,
    known: Mapping,
) -> None:
    """`recovered_OWNER`: share of the variance of an owner's pixels that a ridge regression reads from its messages, beside what
    the other's own pixels tell already."""
    before = own.answers(patches, place[:cut], {n: b[:cut] for n, b in known["trained"].items()}).arrived
    values = raw_values(patches, place)
    for i, (name, sensors) in enumerate(banks.owners.items()):
        pixel = np.concatenate([values[s][:, : values[s].shape[1] // 2] for s in sensors], 1)
        others = np.concatenate([v for s, v in values.items() if s not in sensors], 1)
        read = recovered(before[i].numpy(), pixel[:cut], answers.arrived[i].numpy(), pixel[cut:])
        guessed = recovered(others[:cut], pixel[:cut], others[cut:], pixel[cut:])
        who = f"share of the variance of {name}'s pixels that the other owner can"
        result[f"recovered_{name}"] = scalar(read, f"{who} compute from its messages (ridge regression on known pairs)")
        result[f"guessed_{name}"] = scalar(guessed, f"{who} guess from its own pixels")


def _maps(
    result: xr.Dataset, scene: xr.Dataset, patches: Patches, banks: Banks, own: Federation, counts: np.ndarray
) -> None:
    """The class map at the first owner; where that of the second has another class, and where its own heads have."""
    differ = {name: np.full(patches.usable.shape, np.nan, np.float32) for name in ("differ", "heads_differ")}

    def predict(place: np.ndarray) -> np.ndarray:
        answers = own.answers(patches, place, banks.at("trained", place))
        first, second = answers.fused
        heads = answers.heads[0].argmax(2)
        differ["differ"][tuple(place.T)] = first.argmax(1) != second.argmax(1)
        differ["heads_differ"][tuple(place.T)] = (heads[0] != heads[1]).astype(float) + (heads[0] != heads[2])
        return first

    class_map(result, scene, patches, predict, counts, "FedDiff")
    images = np.unique(patches.place[patches.test, 0])
    for name, text in (
        ("differ", "1 where the owners' maps have different classes"),
        ("heads_differ", "how many of the two heads of one sensor have another class than the head of both"),
    ):
        values = differ[name][images] if result["labels"].ndim == 3 else differ[name][0]
        result[name] = (result["labels"].dims, values, {"long_name": text})
    share = np.nanmean(result["differ"].values)
    result["differ_share"] = scalar(share, "share of pixels where the owners' maps have different classes")
