"""FedFusion: sizes and losses by hand, exact messages against pooled data, bytes, partitions, resuming, and input that cannot be used."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest
import torch
import xarray as xr

from tests.driving import played
from workbench.config import override
from workbench.data.synth_sensors import simulate
from workbench.errors import InputError
from workbench.methods.fedfusion import SMOKE, Config, run
from workbench.methods.fedfusion.horizontal import Rounds, sites
from workbench.methods.fedfusion.pixels import by_order, pixels_of, shares, window_of
from workbench.methods.fedfusion.settings import parsed
from workbench.parts.cross_fusion import Encoder, Shared, SharedNorm, loss_of
from workbench.parts.feature_exchange import Exchange, Together
from workbench.parts.federation import Codec, fingerprint, state_bytes
from workbench.parts.rounds import Update, combine, rounds

QUICK = override(Config(), {**SMOKE, "split": "class", "rivals": [], "horizontal": []})


@pytest.fixture(scope="module")
def scene() -> xr.Dataset:
    return simulate("sim-two-sensors", 32, bands=6, seed=3)


@pytest.fixture(scope="module")
def pixels(scene):
    return pixels_of(scene, QUICK)


def trained(pixels, config=QUICK, kind="dense", rank=4, sensors=("hsi", "lidar")):
    learner = Exchange(pixels, config, sensors, kind, rank)
    for _ in range(config.steps):
        learner.step()
    return learner


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bands", "classes", "total"),
    [((144, 21), 15, 121_983), ((63, 1), 6, 106_854), ((64, 2), 11, 107_467), ((180, 1), 7, 123_767)],
)
def test_the_numbers_of_weights_are_those_of_the_published_network(bands, classes, total):
    parts = [*(Encoder(b) for b in bands), Shared(2, classes)]
    assert sum(p.numel() for part in parts for p in part.parameters()) == total


def test_seven_pixels_become_four_and_then_three():
    features = Encoder(3)(torch.randn(5, 3, 7, 7))
    assert features.shape == (5, 64, 4, 4)
    assert float(features.detach().min()) >= 0
    shared = Shared(2, 6)
    assert shared.crossed(features, 0, 0).shape == (5, 128, 3, 3)
    assert [o.shape for o in shared([features, features])] == [(5, 6)] * 3
    assert [o.shape for o in Shared(1, 6)([features])] == [(5, 6)]
    assert len(Shared(3, 6)([features] * 3)) == 4
    assert len(Shared(2, 6, fusion="concatenated")([features] * 2)) == 3


def test_the_loss_by_hand():
    """Cross entropy ln(1 + e^-2), and 0.5 for each sensor alone."""
    logits = [torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 1.0]])]
    assert float(loss_of(logits, torch.tensor([0]))) == pytest.approx(math.log(1 + math.exp(-2)) + 1, abs=1e-6)
    assert float(loss_of([torch.zeros(3, 15)] * 3, torch.tensor([1, 2, 3]))) == pytest.approx(math.log(15), abs=1e-6)


def test_each_sensor_has_its_own_running_statistics():
    norm = SharedNorm(2, 2)
    for _ in range(200):
        norm(torch.full((4, 2, 3, 3), 5.0) + torch.randn(4, 2, 3, 3), 0)
        norm(torch.randn(4, 2, 3, 3) - 5, 1)
    assert float(norm.statistics[0].running_mean.mean()) == pytest.approx(5, abs=0.2)
    assert float(norm.statistics[1].running_mean.mean()) == pytest.approx(-5, abs=0.2)
    assert len(SharedNorm(2, 2, own=False).statistics) == 1


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_a_window_has_bands_rows_and_columns_in_this_order():
    """Values 100 band + 10 row + column: the published code mixes them up for cubes."""
    y, x = np.mgrid[:20, :20]
    cube = np.stack([100 * b + 10 * y + x for b in range(3)]).astype("float32")
    truth = np.where((x // 2 + y // 2) % 2, 1, 2).astype("int16")
    scene = xr.Dataset(
        {"hsi": (("band", "y", "x"), cube), "lidar": (("lidar_band", "y", "x"), cube[:1]), "truth": (("y", "x"), truth)}
    )
    found = pixels_of(scene, override(QUICK, {"sensors": ["hsi", "lidar"]}))
    row = next(i for i, (_, r, c) in enumerate(found.place) if (r, c) == (8, 9))
    window = found.take(np.array([row]), "hsi")[0]
    values = found.patches.scalers["hsi"]
    want = (
        2
        * (cube[:, 5:12, 6:13] - values.mean.reshape(3, 1, 1) - values.low.reshape(3, 1, 1))
        / (values.high - values.low).reshape(3, 1, 1)
        - 1
    )
    np.testing.assert_allclose(window.numpy(), np.clip(want, -3, 3), atol=1e-4)
    np.testing.assert_array_equal(window_of(found.patches, found.place[[row]], "hsi")[0], window)
    assert found.stacked(np.array([row]), centre=True)[0, :, 0, 0].tolist() == pytest.approx(
        [*window[:, 3, 3].tolist(), float(found.take(np.array([row]), "lidar")[0, 0, 3, 3])]
    )


@pytest.mark.long
def test_chips_of_two_sensors_split_by_the_order_of_the_file():
    random = np.random.default_rng(0)
    label = np.repeat(np.arange(3), 20)
    chips = xr.Dataset(
        {
            "hsi": (
                ("sample", "band", "y", "x"),
                (label[:, None, None, None] + random.random((60, 5, 1, 1))).astype("float32"),
            ),
            "lidar": (("sample", "lidar_band", "y2", "x2"), random.random((60, 2, 7, 7)).astype("float32")),
            "label": ("sample", label, {"names": ["a", "b", "c"]}),
        }
    )
    first, second = (pixels_of(chips, override(QUICK, {"split": "halves", "seed": s, "per_class": 6})) for s in (2, 3))
    assert (np.bincount(label[first.train]) == 6).all()
    assert set(first.test) == {*range(10, 20), *range(30, 40), *range(50, 60)}
    assert set(second.test) == set(range(60)) - set(first.test) >= set(first.train)
    assert first.take(first.train, "hsi").shape == (18, 5, 7, 7)
    assert torch.equal(first.take(first.train, "hsi")[:, :, 0, 0], first.take(first.train, "hsi")[:, :, 3, 6])
    assert [p.tolist() for p in by_order(np.array([0, 0, 1, 1]), True)] == [[1, 3], [0, 2]]
    _, outcome = played(run(chips, override(QUICK, {"split": "halves", "steps": 2})))
    assert "labels" not in outcome.result
    assert outcome.result.attrs["split"].startswith("halves of each class in the order of the file")
    with pytest.raises(InputError, match="needs a map"):
        pixels_of(chips, override(QUICK, {"split": "block"}))
    part = np.where(np.arange(60) % 4 == 1, "test", "train")
    own = chips.assign_coords(split=("sample", part), sample=[f"s{i}" for i in range(60)])
    for changes, test, words in (
        ({"split": "own"}, np.flatnonzero(part == "test"), "the split of the scene"),
        ({"split": "own", "test": ["s3", "s25"]}, [3, 25], "a list of test samples"),
        ({"split": "halves", "test": ["s3", "s25"]}, [3, 25], "a list of test samples"),
    ):
        found = pixels_of(own, override(QUICK, changes))
        assert (sorted(found.test), found.split, found.warning) == (list(test), words, "")
    drawn = pixels_of(own, override(QUICK, {"split": "class"}))
    assert set(drawn.test) != set(np.flatnonzero(part == "test"))
    assert (drawn.split, drawn.warning[:14]) == ("random samples", "RANDOM SAMPLES")


# --- the exchange -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"average_every": 1}, {"average_every": 3}, {"label_owner": "lidar", "fusion": "concatenated"}]
)
def test_exact_messages_are_training_on_pooled_data(pixels, changes):
    """Weights of encoders and shared layers, and answers, to the last bit."""
    config = override(QUICK, {"steps": 6, **changes})
    federated, pooled = trained(pixels, config), Together(pixels, config)
    for _ in range(6):
        pooled.step()
    for owner, sensor in zip(federated.groups[0], ("hsi", "lidar"), strict=True):
        assert fingerprint(owner.encoder.state_dict()) == fingerprint(pooled.encoders[sensor].state_dict())
        assert fingerprint(owner.shared.state_dict()) == fingerprint(pooled.shared.state_dict())
    windows = {s: pixels.take(pixels.test, s) for s in pixels.sensors}
    for told in federated.probabilities(windows):
        np.testing.assert_allclose(told, pooled.probabilities(windows)[0], atol=1e-6)


def test_shared_weights_are_apart_before_an_average_and_equal_after(pixels):
    config = override(QUICK, {"steps": 4, "average_every": 4})
    learner = Exchange(pixels, config, pixels.sensors, "low_rank", 1)
    for _ in range(3):
        assert "apart/before" not in learner.step()
    assert learner.divergence() > 0
    numbers = learner.step()
    assert numbers["apart/before"] > 0
    assert (numbers["apart/after"], learner.divergence()) == (0, 0)
    encoders = [fingerprint(o.encoder.state_dict()) for o in learner.owners]
    assert encoders[0] != encoders[1]


def test_groups_average_encoders_within_a_sensor(pixels):
    learner = trained(pixels, override(QUICK, {"groups": 2, "average_every": 4, "batch": 8}), "low_rank")
    assert len(learner.owners) == 4
    (a, b), (c, d) = learner.groups
    assert torch.equal(a.encoder[0].weight, c.encoder[0].weight)
    assert torch.equal(b.encoder[0].weight, d.encoder[0].weight)
    assert learner.divergence() == 0
    assert not set(learner.parts[0].tolist()) & set(learner.parts[1].tolist())
    with pytest.raises(InputError, match="fewer than two training pixels"):
        Exchange(pixels, override(QUICK, {"groups": 64}), pixels.sensors)


@pytest.mark.parametrize("kind", ["dense", "low_rank", "svd", "int8", "top_k", "random_basis", "zeros"])
def test_bytes_are_counted_as_the_formulas_say(pixels, kind):
    """Two owners through a server: features once up and once down, shared weights of both up and down, indices of four bytes."""
    config = override(QUICK, {"steps": 4, "average_every": 2, "batch": 16})
    learner = trained(pixels, config, kind, 2)
    assert learner.traffic.of("features") == 4 * 2 * 2 * Codec(kind, 2).payload((16, 64, 4, 4))
    assert learner.traffic.of("weights") == 2 * 2 * 2 * state_bytes(learner.owners[0].common())
    assert state_bytes(learner.owners[0].common()) == 4 * sum(p.numel() for p in learner.owners[0].shared.parameters())
    assert learner.traffic.of("indices") == 4 * 2 * 16 * 4
    assert learner.dense_features == 4 * 2 * 2 * Codec("dense").payload((16, 64, 4, 4))


def test_a_shared_basis_is_sent_once_a_round(pixels):
    config = override(QUICK, {"steps": 4, "average_every": 2, "batch": 16, "subspace": "shared"})
    learner = trained(pixels, config, "low_rank", 3)
    assert learner.traffic.of("features") == 4 * 2 * 2 * 4 * 3 * 16 * 64
    assert learner.traffic.of("basis") == 2 * 2 * (4 * 16 * 16 + 4 * 16 * 3)


def test_one_owner_of_labels_sends_gradients_and_changes_no_number(pixels):
    one, every = trained(pixels, override(QUICK, {"label_owner": "hsi"})), trained(pixels)
    assert fingerprint(one.owners[1].encoder.state_dict()) == fingerprint(every.owners[1].encoder.state_dict())
    rows = min(QUICK.batch, len(pixels.train))
    assert one.traffic.of("logits") == 4 * 4 * 3 * rows * len(pixels.names) * 4  # 4 steps, twice up and twice down, 3 heads
    assert every.traffic.of("logits") == 0


def test_without_messages_the_other_sensor_is_not_known(pixels):
    learner = trained(pixels, QUICK, "zeros")
    other = pixels.take(pixels.test, "lidar")
    windows = {"hsi": pixels.take(pixels.test, "hsi"), "lidar": other}
    changed = {**windows, "lidar": other + 1}
    assert (learner.probabilities(windows)[0] == learner.probabilities(changed)[0]).all()
    dense = trained(pixels, QUICK, "dense")
    assert (dense.probabilities(windows)[0] != dense.probabilities(changed)[0]).any()


# --- FedAvg -----------------------------------------------------------------------------------------------------------


def test_one_step_of_fedavg_by_hand():
    """Weights 1 and 5, 30 and 10 samples: 2. A NaN is left out and told."""
    made = combine(
        3,
        {"w": torch.zeros(2)},
        {
            "b": Update({"w": torch.full((2,), 5.0)}, 10),
            "a": Update({"w": torch.full((2,), 1.0)}, 30),
            "c": Update({"w": torch.tensor([float("nan"), 0])}, 99),
            "d": Update({"w": torch.zeros(3)}, 99),
            "e": Update({"w": torch.zeros(2)}, 0),
        },
        {"f": "gone"},
    )
    assert made.state["w"].tolist() == [2, 2]
    assert {n: r.split(":")[0][:28] for n, r in made.failures.items()} == {
        "c": "c sends NaN or infinite valu",
        "d": "d sends w of (3,), and (2,) ",
        "e": "e has no samples for trainin",
        "f": "gone",
    }
    assert (made.up, made.down) == (5 * 8 + 4, 6 * 8)
    with pytest.raises(InputError, match="Round 1: no client sent weights that can be averaged. f: gone"):
        combine(1, {"w": torch.zeros(2)}, {}, {"f": "gone"})


def test_fedavg_of_one_client_is_that_client_and_clients_have_no_memory(pixels):
    config = override(QUICK, {"clients": 1, "rounds": 3, "local_steps": 2})
    (client,) = sites(pixels, config)
    begin = {n: v.clone() for n, v in client.network.state_dict().items()}
    by_loop = [r.state for r in rounds([client], begin, 2)][-1]
    (again,) = sites(pixels, config)
    one = again.train(begin, 1).state
    assert fingerprint(again.train(one, 2).state) == fingerprint(by_loop)
    assert fingerprint(again.train(begin, 1).state) == fingerprint(one)


def test_clients_miss_rounds_and_make_fewer_steps(pixels):
    config = override(QUICK, {"clients": 4, "rounds": 5, "local_steps": 4, "away": 0.5, "uneven": True, "network": "cnn"})
    learner = Rounds(pixels, config, "fedavg")
    made = [learner.step() for _ in range(5)]
    assert 0 < learner.failures == sum(m["failed"] for m in made) < 20
    steps = {r.scalars[c]["steps"] for r in rounds(learner.clients, learner.state_now[0], 3) for c in r.scalars}
    assert steps <= {1, 2, 3, 4}
    assert len(steps) > 1


def test_fedprox_stays_nearer_to_the_common_weights(pixels):
    moved = {}
    for kind, mu in (("fedavg", 0.1), ("fedprox", 3.0)):
        config = override(QUICK, {"clients": 2, "rounds": 3, "local_steps": 10, "mu": mu})
        client = sites(pixels, config, kind)[0]
        begin = {n: v.clone() for n, v in client.network.state_dict().items()}
        after = client.train(begin, 1).state
        moved[kind] = sum(float((after[n] - begin[n]).square().sum()) for n in begin)
    assert moved["fedprox"] < 0.5 * moved["fedavg"]


@pytest.mark.long
def test_noise_is_added_to_clipped_updates_and_accounted(few, pixels):
    config = override(
        QUICK, {"clients": 2, "rounds": 2, "local_steps": 2, "noise": 1.0, "clip": 1e-3, "horizontal": ["fedavg"]}
    )
    client = sites(pixels, config)[0]
    begin = {n: v.clone() for n, v in client.network.state_dict().items()}
    moved = torch.cat([(client.train(begin, 1).state[n] - begin[n]).flatten() for n in begin])
    assert float(moved.double().std()) == pytest.approx(1e-3, rel=0.05)
    result = played(run(few, override(config, {"steps": 1, "map": False})))[1].result
    assert float(result["epsilon"]) == pytest.approx(1 + 2 * math.sqrt(math.log(1e5)), rel=1e-6)  # rho = 2 / 2
    assert "epsilon" not in played(run(few, override(QUICK, {"steps": 1, "map": False})))[1].result


def test_a_client_without_pixels_is_a_failure_that_ends_no_round(pixels):
    config = override(QUICK, {"partition": "dirichlet", "alpha": 0.001, "clients": 12, "rounds": 2})
    parts = shares(pixels, config)
    assert min(len(p) for p in parts.values()) == 0
    learner = Rounds(pixels, config, "fedavg")
    assert learner.step()["failed"] >= 1
    (done,) = rounds(learner.clients, learner.state_now[0], 1)
    assert any("0 training pixels and needs two" in reason for reason in done.failures.values())
    with pytest.raises(InputError, match="partition by site needs"):
        shares(pixels, override(QUICK, {"partition": "site"}))


def test_a_client_with_other_bands_is_named(pixels):
    config = override(QUICK, {"clients": 2})
    one, other = sites(pixels, config)
    other.x = torch.cat([other.x, other.x], 1)
    wide = type(other)("wide", 2, other.x, other.label, len(pixels.names), config)
    (done,) = rounds([one, wide], one.network.state_dict(), 1)
    assert list(done.failures) == ["wide"]
    assert "do not fit the data of wide: it has 16 bands" in done.failures["wide"]


# --- runs -------------------------------------------------------------------------------------------------------------


RIVALLED = override(
    QUICK,
    {
        "rivals": ["random_basis:1"],
        "horizontal": ["fedavg", "local"],
        "steps": 3,
        "rounds": 2,
        "map": False,
        "subspace": "shared",
    },
)


@pytest.fixture(scope="module")
def few() -> xr.Dataset:
    """Fewer pixels to be judged than `scene` has."""
    return simulate("sim-two-sensors", 20, bands=6, seed=3)


@pytest.fixture(scope="module")
def unbroken(few):
    return played(run(few, RIVALLED))


@pytest.mark.long
@pytest.mark.parametrize("after", [2, 5, 17])
def test_a_stopped_run_continues_to_the_same_numbers(few, unbroken, after):
    """Stopped in the own exchange, in that of a rival, and in FedAvg."""
    whole, expected = unbroken
    trace = run(few, RIVALLED)
    state = list(islice(trace, after))[-1].state()
    trace.close()
    rest, outcome = played(run(few, RIVALLED, state))
    assert [e.step for e in rest] == [e.step for e in whole[after:]]
    assert [e.scalars for e in rest] == [e.scalars for e in whole[after:]]
    xr.testing.assert_identical(outcome.result, expected.result)
    with pytest.raises(InputError, match="belongs to another scene or other settings"):
        next(run(few, override(RIVALLED, {"lr": 0.1}), state))


@pytest.mark.long
def test_every_row_the_map_and_the_warning(few):
    config = override(
        QUICK, {"rivals": ["dense", "low_rank:1", "low_rank"], "horizontal": ["fedavg", "fedprox", "local", "pooled"]}
    )
    result = played(run(few, override(config, {"rounds": 1, "steps": 2})))[1].result
    rows = {n[2:] for n in result.data_vars if n.startswith("oa") and result[n].ndim == 0}
    assert rows >= {
        "",
        "_dense",
        "_low_rank_1",
        "_only_hsi",
        "_only_lidar",
        "_centralised",
        "_fedavg",
        "_fedprox",
        "_local",
        "_svm",
        "_forest",
    }
    assert "_low_rank" not in rows  # that is the method itself
    assert all("random pixels" in result[f"oa{r}"].attrs["long_name"] for r in rows - {"_only_best"})
    assert float(result["divergence"]) == 0
    assert float(result["ratio_features"]) == pytest.approx(
        Codec("dense").payload((32, 64, 4, 4)) / Codec("low_rank").payload((32, 64, 4, 4))
    )
    assert result["labels"].shape == result["differ"].shape == (20, 20)
    assert "the raw window is smaller for lidar (392 bytes)" in result.attrs["message_warning"]
    assert int(result["clients"].sum()) == len(pixels_of(few, config).train)
    mean = (float(result["oa_at_hsi"]) + float(result["oa_at_lidar"])) / 2
    assert float(result["oa"]) == pytest.approx(mean)
    assert result["bytes"].sel(message="dense", traffic="features") == 2 * 2 * 4 * 32 * 64 * 16
    np.testing.assert_array_equal(
        result["clients"].sum("class_name"), [len(c.label) for c in sites(pixels_of(few, config), config)]
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_the_table_of_bytes_is_what_is_counted(few, groups):
    """With several groups encoders are averaged, too."""
    config = override(QUICK, {"steps": 2, "average_every": 2, "batch": 8, "groups": groups, "map": False})
    result = played(run(few, config))[1].result
    for traffic in ("features", "weights", "indices"):
        table = float(result["bytes"].sel(message="low_rank 4", traffic=traffic))
        assert 2 * groups * table == pytest.approx(1e6 * float(result[f"megabytes_{traffic}"]), rel=1e-12)


def test_wrong_input_is_refused_with_its_name(scene):
    with pytest.raises(InputError, match="needs two; this scene has hsi. Give the other one with --beside"):
        pixels_of(scene.drop_vars("lidar"), QUICK)
    with pytest.raises(InputError, match="label_owner is 'radar'; it must be one of the sensors hsi, lidar"):
        pixels_of(scene, override(QUICK, {"label_owner": "radar"}))
    with pytest.raises(InputError, match="'low_rank:17' is no message"):
        override(QUICK, {"rivals": ["low_rank:17"]})
    assert parsed("svd:2", 4) == ("svd", 2)
