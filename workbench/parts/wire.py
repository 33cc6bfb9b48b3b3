"""How a gradient is transmitted: index codings, the packed message of a bucket, and exact byte counts.

    coding = cheapest(1_000_000, 10_000)         # "elias-fano": 10 703 bytes; int32 takes 40 000
    code = encode(positions, 1_000_000, coding)  # uint8; its length depends on (n, k) only
    decode(code, 1_000_000, 10_000, coding)      # the positions again

Every rank of a collective must send equally many bytes, and a size exchange would be a second collective. So the length
of each coding depends on n (entries) and k (sent) only, never on which positions were chosen.

    int32       4 k bytes
    varint      gaps between positions, 7 bits a byte; padded to the largest size of k gaps below n
    bitmap      n bits
    elias-fano  k (l + 1) + n / 2**l bits: the low l bits in binary, the high bits in unary

The last is P. Elias, "Efficient Storage and Retrieval by Content and Address of Static Files", J. ACM 21(2), 1974, and
R. Fano, MIT Project MAC memorandum 61, 1971.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CODINGS = ("elias-fano", "bitmap", "varint", "int32")
VALUES = {"f32": torch.float32, "f16": torch.float16}


# --- bits ------------------------------------------------------------------------------------------------------------


def pack_bits(bits: Tensor) -> Tensor:
    """Bits (m,) of 0 and 1 -> bytes (ceil(m / 8),), lowest bit first: 1, 0, 1 gives 5."""
    padded = torch.nn.functional.pad(bits.to(torch.uint8), (0, -len(bits) % 8)).view(-1, 8)
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
    return (padded << shifts).sum(1, dtype=torch.uint8)


def unpack_bits(code: Tensor, m: int) -> Tensor:
    """The first `m` bits of a result of `pack_bits`, uint8."""
    shifts = torch.arange(8, dtype=torch.uint8, device=code.device)
    return ((code[:, None] >> shifts) & 1).view(-1)[:m]


# --- index codings ---------------------------------------------------------------------------------------------------


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def _low_bits(n: int, k: int) -> int:
    """l of Elias-Fano: the one with the shortest code."""
    return min(range(32), key=lambda low: _bytes(k * low) + _bytes(k + (n >> low) + 1))


def index_bytes(n: int, k: int, coding: str) -> int:
    """Bytes of k encoded positions below n. For n = 100, k = 10: int32 40, varint 10, bitmap 13, elias-fano 7."""
    if k == 0 or coding == "implied":
        return 0
    if coding == "int32":
        return 4 * k
    if coding == "bitmap":
        return _bytes(n)
    if coding == "varint":  # gaps sum to at most n - k, which limits how many need a second, third, ... byte
        return k + sum(min(k, (n - k) >> (7 * j)) for j in range(1, 5))
    low = _low_bits(n, k)
    return _bytes(k * low) + _bytes(k + (n >> low) + 1)


def cheapest(n: int, k: int) -> str:
    """The coding with the fewest bytes; equal on every rank, because it depends on n and k only."""
    return min(CODINGS, key=lambda coding: index_bytes(n, k, coding))


def encode(positions: Tensor, n: int, coding: str) -> Tensor:
    """Strictly increasing positions (k,) below n -> uint8 of exactly `index_bytes(n, k, coding)`."""
    k, device = len(positions), positions.device
    size = index_bytes(n, k, coding)
    if size == 0:
        return torch.empty(0, dtype=torch.uint8, device=device)
    if coding == "int32":
        return positions.to(torch.int32).view(torch.uint8)
    if coding == "bitmap":
        bits = torch.zeros(n, dtype=torch.uint8, device=device)
        bits[positions] = 1
        return pack_bits(bits)
    if coding == "varint":
        return _varint(positions, size)
    low = _low_bits(n, k)
    high = torch.zeros(k + (n >> low) + 1, dtype=torch.uint8, device=device)
    high[(positions >> low) + torch.arange(k, device=device)] = 1
    lows = (positions[:, None] >> torch.arange(low, device=device)) & 1
    return torch.cat([pack_bits(lows.reshape(-1)), pack_bits(high)])


def decode(code: Tensor, n: int, k: int, coding: str) -> Tensor:
    """The positions (k,) int64 from a code of `encode`."""
    device = code.device
    if k == 0:
        return torch.empty(0, dtype=torch.int64, device=device)
    if coding == "int32":
        return code.clone().view(torch.int32).long()  # clone: a slice of a message may not be aligned to four bytes
    if coding == "bitmap":
        return unpack_bits(code, n).nonzero().flatten()
    if coding == "varint":
        return _unvarint(code, k)
    low = _low_bits(n, k)
    split = _bytes(k * low)
    high = unpack_bits(code[split:], k + (n >> low) + 1).nonzero().flatten()[:k] - torch.arange(k, device=device)
    if low == 0:
        return high
    weights = 1 << torch.arange(low, device=device)
    return (high << low) + (unpack_bits(code[:split], k * low).view(k, low) * weights).sum(1)


def _varint(positions: Tensor, size: int) -> Tensor:
    """Gaps minus one, seven bits a byte, lowest first, the top bit set if more follow; zeros up to `size`."""
    gaps = torch.diff(positions, prepend=positions.new_full((1,), -1)) - 1
    lengths = torch.ones_like(gaps)
    for j in range(1, 5):
        lengths += gaps >> (7 * j) > 0
    starts = torch.cumsum(lengths, 0) - lengths
    code = torch.zeros(size, dtype=torch.uint8, device=positions.device)
    for j in range(5):
        has = lengths > j
        more = (lengths[has] > j + 1).long() << 7
        code[starts[has] + j] = (((gaps[has] >> (7 * j)) & 127) | more).to(torch.uint8)
    return code


def _unvarint(code: Tensor, k: int) -> Tensor:
    last = code < 128
    ends = last.nonzero().flatten()[:k]
    used = code[: int(ends[-1]) + 1].long()
    group = torch.cumsum(last[: len(used)], 0) - last[: len(used)].long()
    starts = torch.cat([ends.new_zeros(1), ends[:-1] + 1])
    place = torch.arange(len(used), device=code.device) - starts[group]
    gaps = torch.zeros(k, dtype=torch.int64, device=code.device).index_add_(0, group, (used & 127) << (7 * place))
    return torch.cumsum(gaps + 1, 0) - 1


# --- the message of a bucket -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """The parts of a message, in order: status, layer signals, dense values (f32 each), sent values, positions.

    layers: number of layer signals. dense: number of values sent whole. sent: number of values at positions. k, n: number of
    positions and their upper bound; a position may mean several values (tiles). float32 parts come first for alignment.
    """

    layers: int
    dense: int
    sent: int
    k: int
    n: int
    values: str = "f32"
    coding: str = "elias-fano"

    @property
    def size(self) -> int:
        """Bytes of one rank's message: 4 (1 + layers + dense) + 4 or 2 per value + positions, rounded up to 4."""
        body = VALUES[self.values].itemsize * self.sent + index_bytes(self.n, self.k, self.coding)
        return 4 * (1 + self.layers + self.dense) + -(-body // 4) * 4


def pack(layout: Layout, status: Tensor, signals: Tensor, dense: Tensor, values: Tensor, positions: Tensor) -> Tensor:
    """One uint8 message of `layout.size` bytes."""
    head = torch.cat([status.view(1), signals, dense]).to(torch.float32)
    parts = [
        head.view(torch.uint8),
        values.to(VALUES[layout.values]).view(torch.uint8),
        encode(positions, layout.n, layout.coding),
    ]
    padding = layout.size - sum(len(p) for p in parts)
    return torch.cat([*parts, torch.zeros(padding, dtype=torch.uint8, device=head.device)])


def unpack(layout: Layout, message: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(status (), signals (layers,), dense (dense,), values (sent,) float32, positions (k,)) of one message."""
    head = 4 * (1 + layout.layers + layout.dense)
    numbers = message[:head].view(torch.float32)
    middle = head + VALUES[layout.values].itemsize * layout.sent
    values = message[head:middle].view(VALUES[layout.values]).to(torch.float32)
    end = middle + index_bytes(layout.n, layout.k, layout.coding)
    if layout.coding == "implied":
        positions = torch.empty(0, dtype=torch.int64, device=message.device)
    else:
        positions = decode(message[middle:end], layout.n, layout.k, layout.coding)
    return numbers[0], numbers[1 : 1 + layout.layers], numbers[1 + layout.layers :], values, positions


# --- bytes of collectives, all ranks together ------------------------------------------------------------------------


def all_reduce_bytes(size: int, world: int) -> int:
    """Bytes sent by all ranks in a ring all-reduce of `size` bytes: 2 (W - 1) size."""
    return 2 * (world - 1) * size


def all_gather_bytes(size: int, world: int) -> int:
    """Bytes sent by all ranks in an all-gather of `size` bytes each: W (W - 1) size."""
    return world * (world - 1) * size


def broadcast_bytes(size: int, world: int) -> int:
    """Bytes sent by all ranks in a broadcast of `size` bytes: (W - 1) size."""
    return (world - 1) * size


# gloo cuts every message of a ring into two segments; each is a transfer: the receiver says that it is ready, the data follow
GLOO_HEADERS = (
    338  # bytes of a transfer besides its data: two gloo headers of 48, and 3.7 packets of 66 (Ethernet, IP, TCP); measured
)


def all_reduce_transfers(world: int) -> int:
    """Transfers of gloo in a ring all-reduce, all ranks together: 2 (W - 1) rounds of W ranks and two segments."""
    return 4 * world * (world - 1)


def all_gather_transfers(world: int) -> int:
    """Transfers of gloo in an all-gather, all ranks together: W - 1 rounds of W ranks and two segments."""
    return 2 * world * (world - 1)


def broadcast_transfers(world: int) -> int:
    """Transfers of gloo in a broadcast: one for every other rank."""
    return world - 1


# --- predicted bytes and step time of more ranks ----------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """Measured constants of a training step. Rates are per rank, in both directions at once.

    bandwidth: bytes per second of the slow link. latency: seconds per message. local: bytes per second inside a node.
    compute: seconds of forward, backward and optimiser. encode: seconds of compression. decode: seconds per received
    entry. cast: seconds to convert the gradient to float16 and back.
    """

    bandwidth: float
    latency: float = 1e-4
    local: float = 1e10
    compute: float = 0.0
    encode: float = 0.0
    decode: float = 0.0
    cast: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """Bytes one rank sends over the slow link in a step (the busiest rank's), and the seconds of the step."""

    bytes: float
    seconds: float


SCHEMES = ("dense", "fp16", "all-gather", "hierarchical")


def predict(
    scheme: str, world: int, n: int, density: float, costs: Costs, *, group: int = 8, values: str = "f32"
) -> Prediction:
    """Predicted cost of a step of `scheme` with `world` ranks, without overlap with the backward pass.

    dense, fp16: ring all-reduce. all-gather: every rank receives every other rank's message. hierarchical: the `group` ranks
    of a node exchange their messages, then one of them sends the union (as if chosen independently: n (1 - (1 -
    density)**group) entries, never more than dense) to the other nodes.

    n = 10**6, density 0.01, W = 2, 10**6 bytes a second: dense sends 4 000 000 bytes in 4.0 s, all-gather 50 707 bytes.
    """
    compress = costs.encode
    if scheme in ("dense", "fp16"):
        size = n * (4 if scheme == "dense" else 2)
        sent = 2 * (world - 1) / world * size
        extra = costs.cast if scheme == "fp16" else 0.0
        return Prediction(sent, costs.compute + extra + 2 * (world - 1) * costs.latency + sent / costs.bandwidth)
    if scheme not in SCHEMES:
        raise ValueError(f"scheme is one of {', '.join(SCHEMES)}, not {scheme!r}")
    k = max(1, round(density * n))
    message = _message(n, k, values)
    inside = min(group, world) if scheme == "hierarchical" else 1
    nodes = -(-world // inside)
    union = min(n, round(n * (1 - (1 - density) ** inside))) if inside > 1 else k
    outside = min(_message(n, union, values), 4 * n)
    sent = (nodes - 1) * outside
    seconds = (nodes - 1) * costs.latency + sent / costs.bandwidth
    if nodes > 1:
        seconds += nodes * union * costs.decode
    if inside > 1:
        # exchange inside the node, then distribute the messages of other nodes
        local = (inside - 1) * message + (nodes - 1) * outside
        seconds += local / costs.local + inside * k * costs.decode
    return Prediction(sent, costs.compute + compress + seconds)


# compressor -> the scheme that sends its messages
SCHEME_OF = {"dense": "dense", "fp16": "fp16", "rsdgc": "all-gather", "topk": "all-gather", "dgc": "all-gather"}


def foretell(rival: str, measured: Mapping[str, float], world: int, bandwidth: float, density: float) -> float | None:
    """Predicted seconds per step of a compressor over a link of `bandwidth` bytes per second, from the times that one rank
    measured without the link.

    measured: `entries` of the gradient, and the seconds of a step `compute_seconds`, `encode_seconds`, `decode_seconds` (of
    all `world` messages), `cast_seconds`. None for a compressor that no scheme of `predict` describes.
    """
    if rival not in SCHEME_OF:
        return None
    n = int(measured["entries"])
    decode = measured["decode_seconds"] / (world * max(1, round(density * n)))
    costs = Costs(
        bandwidth,
        compute=measured["compute_seconds"],
        encode=measured["encode_seconds"],
        decode=decode,
        cast=measured["cast_seconds"],
    )
    return predict(SCHEME_OF[rival], world, n, density, costs).seconds


def _message(n: int, k: int, values: str) -> int:
    return Layout(0, 0, k, k, n, values, cheapest(n, k)).size


def stops_paying(
    scheme: str, n: int, density: float, costs: Costs, *, against: str = "dense", worlds: Sequence[int] = (), group: int = 8
) -> int | None:
    """The smallest number of ranks at which `scheme` is not faster than `against`; None if none of `worlds` is."""
    for world in worlds or range(2, 4097):
        seconds = predict(scheme, world, n, density, costs, group=group).seconds
        if seconds >= predict(against, world, n, density, costs, group=group).seconds:
            return world
    return None
