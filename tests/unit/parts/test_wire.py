"""The wire: codings by hand and round trip, messages of a size known beforehand, bytes and predictions by formula."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.parts.wire import (
    CODINGS,
    GLOO_HEADERS,
    Costs,
    Layout,
    all_gather_bytes,
    all_gather_transfers,
    all_reduce_bytes,
    all_reduce_transfers,
    broadcast_bytes,
    broadcast_transfers,
    cheapest,
    decode,
    encode,
    foretell,
    index_bytes,
    pack,
    pack_bits,
    predict,
    stops_paying,
    unpack,
    unpack_bits,
)


@st.composite
def positions(draw):
    n = draw(st.integers(1, 40_000))
    k = draw(st.integers(1, min(n, 300)))
    kind = draw(st.sampled_from(["any", "first", "last"]))
    if kind == "first":
        return n, torch.arange(k)
    if kind == "last":
        return n, torch.arange(n - k, n)
    return n, torch.tensor(sorted(draw(st.sets(st.integers(0, n - 1), min_size=k, max_size=k))), dtype=torch.int64)


@pytest.mark.parametrize("coding", CODINGS)
@given(case=positions())
def test_codings_give_back_what_they_got_in_the_bytes_they_promised(coding, case):
    n, at = case
    code = encode(at, n, coding)
    assert code.dtype == torch.uint8
    assert len(code) == index_bytes(n, len(at), coding)
    assert torch.equal(decode(code, n, len(at), coding), at)


def test_bits_by_hand():
    """1, 0, 1, lowest first, is 1 + 4 = 5; a ninth bit begins a second byte."""
    assert pack_bits(torch.tensor([1, 0, 1])).tolist() == [5]
    assert pack_bits(torch.tensor([0] * 8 + [1])).tolist() == [0, 1]
    assert unpack_bits(torch.tensor([5], dtype=torch.uint8), 3).tolist() == [1, 0, 1]


def test_varint_by_hand():
    """Positions 0, 5, 300: gaps minus one are 0, 4, 294 = 2 * 128 + 38, so 0, 4, 38 + 128, 2; then padding."""
    code = encode(torch.tensor([0, 5, 300]), 1000, "varint")
    assert code.tolist()[:4] == [0, 4, 166, 2]
    assert len(code) == 3 + min(3, 997 >> 7)  # 6: all three gaps might have needed a second byte


def test_elias_fano_by_hand():
    """n = 16, k = 2, positions 3 and 9: l = 2 low bits, 3 and 1 (11, 10 lowest first); high parts 0 and 2.

    Low: bits 1 1 1 0 = 7. High: ones at 0 + 0 and 2 + 1 of 2 + 4 + 1 = 7 bits = 1 + 8 = 9.
    """
    assert encode(torch.tensor([3, 9]), 16, "elias-fano").tolist() == [7, 9]


def test_index_bytes_by_hand():
    """n = 100, k = 10: int32 40; bitmap 13; varint 10 + (90 >> 7 = 0); Elias-Fano with l = 2: 20 + 36 bits = 3 + 5 = 8,
    with l = 3: 30 + 23 bits = 4 + 3 = 7."""
    assert [index_bytes(100, 10, c) for c in ("int32", "bitmap", "varint", "elias-fano")] == [40, 13, 10, 7]
    assert index_bytes(100, 0, "int32") == index_bytes(100, 10, "implied") == 0


def test_the_cheapest_coding_is_chosen():
    assert cheapest(1_000_000, 10_000) == "elias-fano"
    assert cheapest(1000, 900) == "bitmap"
    for n, k in [(100, 1), (100, 50), (2**31 - 1, 2), (5, 5), (10_000, 4000)]:
        assert index_bytes(n, k, cheapest(n, k)) == min(index_bytes(n, k, c) for c in CODINGS)


@pytest.mark.parametrize("values", ["f32", "f16"])
@pytest.mark.parametrize("coding", [*CODINGS, "implied"])
def test_a_message_gives_back_its_parts(values, coding):
    layout = Layout(layers=2, dense=3, sent=5, k=5, n=77, values=values, coding=coding)
    at = torch.tensor([0, 3, 4, 50, 76])
    sent = torch.tensor([1.0, -2.0, 0.5, 4.0, 8.0])
    message = pack(layout, torch.tensor(0.0), torch.tensor([1.5, 2.5]), torch.tensor([7.0, 8.0, 9.0]), sent, at)
    assert message.dtype == torch.uint8
    assert len(message) == layout.size
    assert layout.size % 4 == 0
    status, signals, dense, values_, at_ = unpack(layout, message)
    assert status == 0
    assert signals.tolist() == [1.5, 2.5]
    assert dense.tolist() == [7, 8, 9]
    assert torch.equal(values_, sent)
    assert at_.tolist() == ([] if coding == "implied" else at.tolist())


def test_layout_size_by_hand():
    """int32: 4 (1 + 2 + 3) + 4 * 5 + 4 * 5 = 64; f16: 24 + 10 + 20 = 54, rounded up to 56."""
    assert Layout(2, 3, 5, 5, 77, "f32", "int32").size == 64
    assert Layout(2, 3, 5, 5, 77, "f16", "int32").size == 56


def test_bytes_of_collectives_are_the_published_example():
    """n = 1,079,242, k = 11,909, W = 2: a ring all-reduce sends 2 * 4 n = 8,633,936 bytes, packed int32 190,544."""
    assert all_reduce_bytes(4 * 1_079_242, 2) == 8_633_936
    assert all_gather_bytes(8 * 11_909, 2) == 190_544
    assert broadcast_bytes(10, 4) == 30


def test_transfers_of_collectives_are_those_that_were_measured():
    """On a loopback where nobody else talks: bytes besides the data of two and of four ranks, messages of 1000 bytes."""
    measured = {
        all_gather_transfers: {2: 1340, 4: 8387},
        all_reduce_transfers: {2: 2569, 4: 16371},
        broadcast_transfers: {2: 336, 4: 1030},
    }
    for transfers, by_world in measured.items():
        for world, headers in by_world.items():
            assert transfers(world) * GLOO_HEADERS == pytest.approx(headers, rel=0.06)
        assert transfers(1) == 0


# --- predictions -----------------------------------------------------------------------------------------------------


def test_predicted_step_by_hand():
    """n = 10**6, 1 MB/s, W = 2, no latency: dense sends 4 MB in 4 s, fp16 2 MB; all-gather 4 + 40,000 + 10,704 bytes."""
    costs = Costs(bandwidth=1e6, latency=0.0, compute=1.0)
    dense = predict("dense", 2, 10**6, 0.01, costs)
    assert dense.bytes == 4e6
    assert dense.seconds == pytest.approx(5.0)
    assert predict("fp16", 2, 10**6, 0.01, costs).seconds == pytest.approx(3.0)
    assert predict("all-gather", 2, 10**6, 0.01, costs).bytes == 50_708
    assert predict("all-gather", 3, 10**6, 0.01, costs).bytes == 2 * 50_708


def test_a_step_foretold_from_what_was_measured():
    """As above with 1 s of computing: all-gather adds 0.2 s to compress, 0.02 s to take in 2 x 10,000 entries, 0.1 ms a message."""
    measured = {"entries": 1e6, "compute_seconds": 1.0, "encode_seconds": 0.2, "decode_seconds": 0.02, "cast_seconds": 0.03}
    seconds = {r: foretell(r, measured, 2, 1e6, 0.01) for r in ("dense", "fp16", "rsdgc", "powersgd")}
    assert seconds["dense"] == pytest.approx(1 + 4.0 + 2e-4)
    assert seconds["fp16"] == pytest.approx(1 + 2.0 + 0.03 + 2e-4)
    assert seconds["rsdgc"] == pytest.approx(1 + 0.2 + 0.02 + 1e-4 + 0.050708)
    assert seconds["powersgd"] is None


def test_predicted_extremes():
    """One rank sends nothing; many ranks of an all-reduce send twice the gradient; nodes of one rank are an all-gather."""
    costs = Costs(bandwidth=1e6)
    for scheme in ("dense", "fp16", "all-gather", "hierarchical"):
        assert predict(scheme, 1, 10**6, 0.01, costs).bytes == 0
    assert predict("dense", 1000, 10**6, 0.01, costs).bytes == pytest.approx(8e6, rel=0.01)
    alone = predict("hierarchical", 16, 10**6, 0.01, costs, group=1)
    assert alone == predict("all-gather", 16, 10**6, 0.01, costs)
    assert predict("hierarchical", 64, 10**6, 0.01, costs).bytes < predict("all-gather", 64, 10**6, 0.01, costs).bytes
    with pytest.raises(ValueError, match="scheme is one of"):
        predict("gossip", 2, 10, 0.1, costs)


def test_all_gather_stops_paying_where_its_bytes_reach_those_of_dense():
    """Without latency and compute: (W - 1) 50,708 >= 2 (W - 1) / W 4,000,000 when W >= 8,000,000 / 50,708 = 157.8."""
    costs = Costs(bandwidth=1e6, latency=0.0)
    assert stops_paying("all-gather", 10**6, 0.01, costs) == 158
    assert stops_paying("dense", 10**6, 0.01, costs, against="all-gather", worlds=[2, 4, 8]) == 2
    assert stops_paying("all-gather", 10**6, 0.0001, costs, worlds=[2, 1024]) is None
