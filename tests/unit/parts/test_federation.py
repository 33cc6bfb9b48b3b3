"""Messages and their bytes, averages of weights, partitions: by hand and by formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.errors import InputError
from workbench.parts.federation import (
    KINDS,
    Codec,
    Traffic,
    average,
    basis,
    by_site,
    by_strips,
    class_counts,
    dirichlet,
    divergence,
    fingerprint,
    gram,
    kept_energy,
    matrix,
    proximal,
    state_bytes,
)

SHAPE = (64, 64, 4, 4)


@pytest.fixture(scope="module")
def features():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).relu()


def codec(kind, rank=4, x=None):
    return Codec(kind, rank, basis(gram(x), rank) if kind == "shared_basis" else None)


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [SHAPE, (16, 64, 4, 4), (5, 3, 2, 3), (40, 7)])
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_the_payload_is_that_of_the_formula(kind, shape, rank):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    one = codec(kind, rank, x)
    message = one.encode(x)
    assert message.nbytes == one.payload(shape)
    assert one.decode(message).shape == x.shape


def test_the_published_numbers_of_bytes():
    """Of a batch of 64 with 64 channels of 4 x 4; U, s, V of rank 4 are 16,452 floats, a quarter of the dense tensor."""
    assert Codec("dense").payload(SHAPE) == 262_144
    assert [Codec("svd", k).payload(SHAPE) for k in (1, 2, 4, 8, 16)] == [16_452, 32_904, 65_808, 131_616, 263_232]
    assert Codec("dense").payload(SHAPE) / Codec("svd", 4).payload(SHAPE) == pytest.approx(3.983467, abs=1e-6)
    assert Codec("svd", 4).payload((16, 64, 4, 4)) == 4 * 4_164
    assert Codec("low_rank", 4).payload(SHAPE) == 65_792
    assert Codec("shared_basis", 4).payload(SHAPE) == 65_536
    assert Codec("int8").payload(SHAPE) == 65_544
    assert Codec("top_k", 4).payload(SHAPE) == 65_792
    assert Codec("svd", 16).payload(SHAPE) > Codec("dense").payload(SHAPE)  # no saving


def test_a_matrix_of_rank_one_by_hand():
    """diag(3, 1) keeps the 3: error sqrt(1 / 10), energy 9 / 10."""
    x = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    for kind in ("low_rank", "svd"):
        rebuilt = codec(kind, 1).decode(codec(kind, 1).encode(x))
        torch.testing.assert_close(rebuilt, torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
        assert float((x - rebuilt).norm() / x.norm()) == pytest.approx(0.316228, abs=1e-6)
    assert kept_energy(x).tolist() == pytest.approx([0.9, 1.0])
    assert kept_energy(torch.zeros(3, 2)).tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["low_rank", "svd", "random_basis", "dense"])
def test_full_rank_is_exact(features, kind):
    one = codec(kind, 16)
    assert float((one.decode(one.encode(features)) - features).norm() / features.norm()) < 1e-5


def test_no_other_basis_rebuilds_better(features):
    """Eckart and Young, against twenty random bases; and the error is that of a singular value decomposition."""
    f = matrix(features)
    one = codec("low_rank", 4)
    error = float((one.decode(one.encode(features)) - features).norm())
    for seed in range(20):
        other = codec("random_basis", 4)
        assert error <= float((other.decode(other.encode(features, seed)) - features).norm())
    singular = torch.linalg.svdvals(f)
    assert error == pytest.approx(float(singular[4:].square().sum().sqrt()), rel=1e-4)
    assert float(kept_energy(features)[3]) == pytest.approx(1 - (error / float(f.norm())) ** 2, abs=1e-5)


def test_the_same_features_give_the_same_message(features):
    one, two = (codec("low_rank").encode(features) for _ in range(2))
    assert all(torch.equal(one.parts[n], two.parts[n]) for n in one.parts)
    v = one.parts["basis"]
    assert (v.gather(0, v.abs().argmax(0, keepdim=True)) > 0).all()
    torch.testing.assert_close(v.T @ v, torch.eye(4), atol=1e-5, rtol=0)
    drawn = [codec("random_basis").encode(features, s).parts["basis"] for s in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_basis_of_several_clients(features):
    """The sum of the Gram matrices is the Gram matrix of all rows."""
    a, b = features[:20], features[20:]
    torch.testing.assert_close(basis([gram(a), gram(b)], 4), basis(gram(features), 4), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="needs the basis"):
        Codec("shared_basis").encode(a)


def test_quantised_and_sparse_messages():
    x = torch.tensor([[0.0, 10.0], [-5.0, 4.0]])
    eight = codec("int8")
    assert float((eight.decode(eight.encode(x)) - x).abs().max()) <= 15 / 255 / 2 + 1e-6
    constant = torch.full((3, 2), 7.0)
    assert torch.equal(eight.decode(eight.encode(constant)), constant)
    sparse = codec("top_k", 1)
    assert sparse.decode(sparse.encode(x)).tolist() == [[0, 10], [-5, 0]]
    assert not codec("zeros").decode(codec("zeros").encode(x)).any()


def test_what_no_message_can_hold(features):
    with pytest.raises(InputError, match="no message 'zip'; there are dense, low_rank"):
        Codec("zip")
    with pytest.raises(InputError, match="must be 1 or more"):
        Codec("low_rank", 0)
    with pytest.raises(InputError, match="NaN or infinite"):
        Codec().encode(torch.full((2, 2), float("nan")))
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        Codec().encode(torch.zeros(3))


def test_traffic_adds_up_and_continues():
    traffic = Traffic()
    traffic.add("features", up=10, down=20)
    traffic.add("weights", up=1)
    traffic.add("features", up=5)
    assert (traffic.of("features"), traffic.of("weights"), traffic.of("labels"), traffic.total) == (35, 1, 0, 36)
    other = Traffic()
    other.load(traffic.state())
    other.add("weights", down=4)
    assert (other.total, traffic.total) == (40, 36)


# --- weights ----------------------------------------------------------------------------------------------------------


def state(value, count=2):
    return {"w": torch.full((2, 3), float(value)), "n": torch.tensor(count)}


def test_the_average_is_weighted_and_leaves_no_divergence():
    made = average([state(1, 2), state(5, 4)], [3, 1])
    assert made["w"].tolist() == [[2.0] * 3] * 2
    assert made["w"].dtype == torch.float32
    assert (int(made["n"]), made["n"].dtype) == (2, torch.int64)  # 2.5 is rounded to even
    assert divergence([state(1), state(5)]) == 4
    assert divergence([made, dict(made)]) == 0
    torch.testing.assert_close(average([state(1), state(float("nan"))], [1, 0]), state(1))
    assert state_bytes(state(1)) == 2 * 3 * 4 + 8


def test_what_cannot_be_averaged_is_named():
    a, b = state(1), state(2)
    with pytest.raises(InputError, match="site B sends NaN or infinite values in w"):
        average([a, state(float("nan"))], [1, 1], ["site A", "site B"])
    with pytest.raises(
        InputError, match=r"client 1 sends w of \(2, 4\), and \(2, 3\) is expected: its data have other bands"
    ):
        average([a, {**b, "w": torch.zeros(2, 4)}], [1, 1])
    with pytest.raises(InputError, match="client 1 sends other weights than the rest: n, v"):
        average([a, {"w": b["w"], "v": b["w"]}], [1, 1])
    with pytest.raises(InputError, match="No client has samples"):
        average([a, b], [0, 0])
    with pytest.raises(InputError, match="weight of client 1 is -1"):
        average([a, b], [1, -1])
    with pytest.raises(InputError, match="one weight for each client; there are 1 for 2"):
        average([a, b], [1])


def test_a_fingerprint_knows_values_and_names():
    assert fingerprint(state(1)) == fingerprint(dict(reversed(state(1).items())))
    assert len({fingerprint(s) for s in (state(1), state(2), {"v": state(1)["w"], "n": state(1)["n"]})}) == 3


def test_the_proximal_term_by_hand():
    w = torch.ones(2, 3, requires_grad=True)
    term = proximal({"w": w}, {"w": torch.zeros(2, 3)}, 0.5)
    assert float(term.detach()) == 1.5  # 0.5 / 2 * 6
    term.backward()
    assert w.grad.tolist() == [[0.5] * 3] * 2  # mu (w - anchor)


# --- partitions -------------------------------------------------------------------------------------------------------


def test_partitions_deal_out_every_sample_once():
    label = np.repeat(np.arange(4), 100)
    place = np.stack(np.divmod(np.arange(400), 8), 1)
    for parts in (dirichlet(label, 5, 0.1), dirichlet(label, 5, 100.0), by_strips(place, 3), by_site(label % 2)):
        assert np.sort(np.concatenate(parts)).tolist() == list(range(400))
    skewed, even = (class_counts(label, dirichlet(label, 5, a, seed=1), 4) for a in (0.1, 1000.0))
    assert skewed.sum(0).tolist() == even.sum(0).tolist() == [100] * 4
    assert skewed.max() > 60
    assert np.abs(even - 20).max() < 8
    strips = by_strips(place, 3)
    assert [len(p) for p in strips] == [134, 133, 133]
    assert place[strips[0], 0].max() <= place[strips[1], 0].min()  # along the longer side, rows
    assert [p.tolist() for p in by_site(np.array(["b", "a", "b"]))] == [[1], [0, 2]]


def test_partitions_that_cannot_be():
    with pytest.raises(InputError, match="alpha above 0"):
        dirichlet(np.zeros(4, int), 2, 0.0)
    with pytest.raises(InputError, match="3 samples cannot be dealt out to 5"):
        by_strips(np.zeros((3, 2), int), 5)
