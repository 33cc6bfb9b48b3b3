"""What a federation needs, without any engine that sends it: codecs of messages and their bytes, averages of weights, partitions.

    codec = Codec("low_rank", rank=4)
    message = codec.encode(features)                  # (64, 64, 4, 4) -> two small matrices
    message.nbytes == codec.payload(features.shape)   # 65,792; dense: 262,144
    rebuilt = codec.decode(message)

    shared = average([state_a, state_b], [600, 400])  # weighted by samples
    divergence([state_a, state_b])                    # 0 after an average

Bytes are *payload*: the bytes of all tensors of a message, with indices, scales and singular values. Headers and the network's own
protocol come on top; `workbench.engines` counts those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from workbench.errors import InputError

Kind = Literal["dense", "low_rank", "svd", "shared_basis", "int8", "top_k", "random_basis", "zeros"]
KINDS: tuple[Kind, ...] = get_args(Kind)
State = Mapping[str, Tensor]
FLOAT, INDEX = 4, 4  # bytes of float32 and int32


# --- messages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Message:
    """What travels: named tensors on the CPU, and the shape of what they stand for."""

    parts: Mapping[str, Tensor]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Payload in bytes."""
        return sum(p.numel() * p.element_size() for p in self.parts.values())


def matrix(x: Tensor) -> Tensor:
    """A feature map (n, channels, y, x) as a matrix (n * channels, y * x); a matrix stays as it is.

    Raises InputError for a tensor of another form.
    """
    if x.ndim == 2:
        return x
    if x.ndim != 4:
        raise InputError(
            f"A message holds a matrix or a feature map (n, channels, y, x); this has the shape {tuple(x.shape)}."
        )
    return x.reshape(x.shape[0] * x.shape[1], -1)


def gram(x: Tensor) -> Tensor:
    """F^T F of `matrix(x)`, (columns, columns) float64: what a client sends to estimate a common basis."""
    f = matrix(x).double()
    return f.T @ f


def basis(grams: Tensor | Iterable[Tensor], rank: int) -> Tensor:
    """(columns, rank) float32: the leading eigenvectors of a Gram matrix, or of the sum of several; their signs are fixed.

    By Eckart and Young (1936) no other basis of that rank rebuilds the matrix with a smaller error. Much faster than a singular value
    decomposition of the tall matrix, and the same numbers each time.
    """
    total = grams if isinstance(grams, Tensor) else sum(grams, torch.zeros(()))
    vectors = torch.linalg.eigh(total.double())[1].flip(1)[:, :rank]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return (vectors * torch.where(largest < 0, -1.0, 1.0)).float()


def kept_energy(x: Tensor) -> Tensor:
    """(columns,) share of the squared sum that ranks 1, 2, ... keep; 1 for a tensor of zeros."""
    values = torch.linalg.eigvalsh(gram(x)).flip(0).clamp(min=0)
    total = values.sum()
    return values.cumsum(0) / total if total > 0 else torch.ones_like(values)


@dataclass(frozen=True)
class Codec:
    """How a feature map becomes a message, and back. N: rows of its matrix, P: columns, k: `rank`, at most P.

    kind           sends                                                       payload in bytes
    dense          all values                                                  4 N P
    low_rank       F V and V, the k leading right singular vectors             4 k (N + P)
    svd            U, s, V, as the published code of FedFusion                 4 k (N + P + 1)
    shared_basis   F V; both sides know V, see `basis`                         4 k N
    int8           one byte a value, smallest value and step                   N P + 8
    top_k          the largest values and their positions, as many as fit in the bytes of low_rank
    random_basis   F Q and Q, orthonormal columns drawn anew for each message  4 k (N + P)
    zeros          nothing: the receiver takes zeros                           0

    Raises InputError for another kind, and for a rank below 1.
    """

    kind: Kind = "low_rank"
    rank: int = 4
    known: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"There is no message {self.kind!r}; there are {', '.join(KINDS)}.")
        if self.rank < 1:
            raise InputError(f"The rank of a message is {self.rank}; it must be 1 or more.")

    def payload(self, shape: Sequence[int]) -> int:
        """Bytes of the message of a tensor of that shape, by formula."""
        rows, columns = _matrix_shape(shape)
        k = min(self.rank, columns)
        factors = FLOAT * k * (rows + columns)
        return {
            "dense": FLOAT * rows * columns,
            "low_rank": factors,
            "svd": factors + FLOAT * k,
            "shared_basis": FLOAT * k * rows,
            "int8": rows * columns + 2 * FLOAT,
            "top_k": min(factors // (FLOAT + INDEX), rows * columns) * (FLOAT + INDEX),
            "random_basis": factors,
            "zeros": 0,
        }[self.kind]

    def encode(self, x: Tensor, seed: int = 0) -> Message:
        """The message of a feature map (n, channels, y, x), or of a matrix, float32. seed: of `random_basis`.

        Raises InputError for values that are not finite, and for `shared_basis` without `known` (P, k).
        """
        x = x.detach().float().cpu()
        if not torch.isfinite(x).all():
            raise InputError(
                "The features hold NaN or infinite values: the sender's training has diverged. Lower its learning rate."
            )
        f, k = matrix(x), min(self.rank, matrix(x).shape[1])
        return Message(self._parts(f, k, seed), tuple(x.shape))

    def _parts(self, f: Tensor, k: int, seed: int) -> dict[str, Tensor]:
        if self.kind == "zeros":
            return {}
        if self.kind == "dense":
            return {"values": f}
        if self.kind == "int8":
            low = f.min()
            step = (f.max() - low) / 255
            code = ((f - low) / step if step > 0 else torch.zeros_like(f)).round().to(torch.uint8)
            return {"code": code, "low": low.reshape(1), "step": step.reshape(1)}
        if self.kind == "top_k":
            flat = f.reshape(-1)
            count = min(FLOAT * k * sum(f.shape) // (FLOAT + INDEX), len(flat))
            places = flat.abs().topk(count).indices.sort().values
            return {"values": flat[places], "places": places.to(torch.int32)}
        if self.kind == "shared_basis":
            if self.known is None:
                raise InputError(
                    "A message in a shared basis needs the basis: Codec('shared_basis', rank, known=basis(grams, rank))."
                )
            return {"scores": f @ self.known}
        if self.kind == "random_basis":
            drawn = torch.randn(f.shape[1], k, generator=torch.Generator().manual_seed(seed))
            v = torch.linalg.qr(drawn)[0]
        else:
            v = basis(gram(f), k)
        scores = f @ v
        if self.kind == "svd":
            s = scores.norm(dim=0)
            return {"u": scores / s.clamp(min=torch.finfo(torch.float32).tiny), "s": s, "v": v}
        return {"scores": scores, "basis": v}

    def decode(self, message: Message) -> Tensor:
        """The feature map, float32, in the shape that was encoded; exact for `dense`, and for factors of full rank."""
        p, shape = message.parts, message.shape
        if self.kind == "zeros":
            return torch.zeros(shape)
        if self.kind == "dense":
            f = p["values"]
        elif self.kind == "int8":
            f = p["low"] + p["step"] * p["code"].float()
        elif self.kind == "top_k":
            f = torch.zeros(int(np.prod(shape))).scatter(0, p["places"].long(), p["values"])
        elif self.kind == "shared_basis":
            assert self.known is not None
            f = p["scores"] @ self.known.T
        elif self.kind == "svd":
            f = (p["u"] * p["s"]) @ p["v"].T
        else:
            f = p["scores"] @ p["basis"].T
        return f.reshape(shape)


def _matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    if len(shape) == 2:
        return int(shape[0]), int(shape[1])
    return int(shape[0] * shape[1]), int(np.prod(shape[2:]))


# --- traffic ----------------------------------------------------------------------------------------------------------


class Traffic:
    """Payload bytes by class (features, weights, labels, ...), up from clients to the server and down again.

    Two clients that talk directly send only what stands under `up`.
    """

    def __init__(self) -> None:
        self.up: dict[str, int] = {}
        self.down: dict[str, int] = {}

    def add(self, what: str, up: int = 0, down: int = 0) -> None:
        """Count bytes of one class."""
        self.up[what] = self.up.get(what, 0) + int(up)
        self.down[what] = self.down.get(what, 0) + int(down)

    def of(self, what: str) -> int:
        """Bytes of one class, both directions."""
        return self.up.get(what, 0) + self.down.get(what, 0)

    @property
    def total(self) -> int:
        """All bytes, both directions."""
        return sum(self.up.values()) + sum(self.down.values())

    def state(self) -> dict[str, dict[str, int]]:
        """For a checkpoint."""
        return {"up": dict(self.up), "down": dict(self.down)}

    def load(self, state: Mapping[str, Mapping[str, int]]) -> None:
        """Go on from a `state`."""
        self.up, self.down = dict(state["up"]), dict(state["down"])


def state_bytes(state: State) -> int:
    """Payload of a state dict: the bytes of all its tensors."""
    return sum(v.numel() * v.element_size() for v in state.values())


# --- weights ----------------------------------------------------------------------------------------------------------


def average(states: Sequence[State], weights: Sequence[float], who: Sequence[str] | None = None) -> dict[str, Tensor]:
    """The mean of state dicts, weighted by, say, the samples of each client; summed in float64, in the given order.

    Tensors of whole numbers, such as counters of batches, get the rounded mean. A client of weight 0 takes no part. who: names of the
    clients in messages. Raises InputError for no client with a weight, for a weight below 0 or not finite, for states with other
    names or shapes, and for values that are not finite; the client is named.
    """
    names = [*who] if who is not None else [f"client {i}" for i in range(len(states))]
    if len(states) != len(weights) or not states:
        raise InputError(f"An average needs one weight for each client; there are {len(weights)} for {len(states)} clients.")
    for name, weight in zip(names, weights, strict=True):
        if not np.isfinite(weight) or weight < 0:
            raise InputError(f"The weight of {name} is {weight}; it must be 0 or more, such as its number of samples.")
    total = float(sum(weights))
    if total == 0:
        raise InputError(f"No client has samples: the weights of {', '.join(names)} are all 0. Nothing can be averaged.")
    used = [(s, w / total, n) for s, w, n in zip(states, weights, names, strict=True) if w > 0]
    first = used[0][0]
    for state, _, name in used:
        check_state(state, first, name)
    made = {}
    for key, like in first.items():
        mean = sum(
            (s[key].double() * w for s, w, _ in used), torch.zeros(like.shape, dtype=torch.float64, device=like.device)
        )
        made[key] = mean.to(like.dtype) if like.is_floating_point() else mean.round().to(like.dtype)
    return made


def check_state(state: State, like: State, name: str) -> None:
    """Raise InputError unless a client's weights fit those of the others (names, shapes) and are finite. name: of the client."""
    strange = sorted({*state} ^ {*like})
    if strange:
        raise InputError(
            f"{name} sends other weights than the rest: {', '.join(strange[:3])}. All clients need the same network."
        )
    for key, value in state.items():
        if value.shape != like[key].shape:
            raise InputError(
                f"{name} sends {key} of {tuple(value.shape)}, and {tuple(like[key].shape)} is expected: its data have other bands or "
                "classes, or its settings differ."
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(
                f"{name} sends NaN or infinite values in {key}: its training has diverged. Its update is left out."
            )


def divergence(states: Sequence[State]) -> float:
    """The largest difference of any weight between any two clients; 0 right after an average."""
    worst = 0.0
    for key in states[0]:
        stack = torch.stack([s[key].double() for s in states])
        worst = max(worst, float((stack.amax(0) - stack.amin(0)).max()) if stack.numel() else 0.0)
    return worst


def fingerprint(state: State) -> str:
    """SHA-256 of names, types, shapes and values, in the order of names: equal for equal weights."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def proximal(parameters: Mapping[str, Tensor], anchor: State, mu: float) -> Tensor:
    """mu / 2 times the squared distance of the parameters from `anchor`, the weights that the round began with.

    T. Li et al., "Federated Optimization in Heterogeneous Networks" (FedProx), MLSys 2020, arXiv 1812.06127.
    """
    return mu / 2 * sum(((p - anchor[n]).square().sum() for n, p in parameters.items()), torch.zeros(()))


# --- partitions -------------------------------------------------------------------------------------------------------


def by_site(site: np.ndarray) -> list[np.ndarray]:
    """Positions of the samples of each client: one client for each value in `site` (N,), in sorted order."""
    return [np.flatnonzero(site == s) for s in np.unique(site)]


def dirichlet(label: np.ndarray, clients: int, alpha: float, seed: int = 0) -> list[np.ndarray]:
    """Positions of the samples of each client: the samples of each class are dealt out in shares drawn from a Dirichlet distribution.

    alpha: large, all clients have the same mixture of classes; small, each has few classes. A client may get nothing. T.-M. H. Hsu
    et al., "Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification", 2019, arXiv 1909.06335.

    Raises InputError for fewer than one client, or an alpha that is not above 0.
    """
    if clients < 1 or not alpha > 0:
        raise InputError(
            f"A partition needs one client or more and an alpha above 0; it has {clients} clients and alpha {alpha}."
        )
    random = np.random.default_rng(seed)
    mine: list[list[np.ndarray]] = [[] for _ in range(clients)]
    for c in np.unique(label):
        rows = random.permutation(np.flatnonzero(label == c))
        share = random.dirichlet(np.full(clients, alpha))
        for client, part in enumerate(np.split(rows, (share.cumsum()[:-1] * len(rows)).round().astype(int))):
            mine[client].append(part)
    return [np.sort(np.concatenate(parts)) for parts in mine]


def by_strips(place: np.ndarray, clients: int) -> list[np.ndarray]:
    """Positions of the samples of each client: neighbouring strips with equally many samples, along the longer side of the area.

    place (N, 2): row and column. Raises InputError for more clients than samples.
    """
    if not 1 <= clients <= len(place):
        raise InputError(f"{len(place)} samples cannot be dealt out to {clients} clients; take between 1 and {len(place)}.")
    span = place.max(0) - place.min(0)
    axis = int(span.argmax())
    order = np.lexsort((place[:, 1 - axis], place[:, axis]))
    return [np.sort(part) for part in np.array_split(order, clients)]


def class_counts(label: np.ndarray, parts: Sequence[np.ndarray], classes: int) -> np.ndarray:
    """(clients, classes) how many samples of each class each client has."""
    return np.stack([np.bincount(label[p], minlength=classes) for p in parts])
