"""What privacy costs: noise on clipped updates with an account of epsilon, and sums of updates of which the server sees only the sum.

noisy, clipped = privatised(update, begin, clip=1.0, z=1.0, random)     # a client, before it sends
epsilon(z=1.0, rounds=30, delta=1e-5)                                   # 41.3: protects nobody
noise_for(epsilon=1.0, rounds=30, delta=1e-5)                           # 26.8

shares = [masked(update, me, secrets, number) for me, update in enumerate(updates)]
unmasked_sum(shares, counts)                                            # the exact sum; needs three clients or more
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.parts.federation import State

ORDERS = (*range(2, 65), 80, 96, 128, 256, 512)  # of Renyi divergences that are tried
FRACTION = 2.0**-20  # step of the fixed-point numbers of secure sums
LIMIT = 2.0**40  # largest size of a value in a secure sum, in steps of FRACTION


# --- differential privacy ---------------------------------------------------------------------------------------------


def privatised(
    update: State, begin: State, clip: float, z: float, random: torch.Generator
) -> tuple[dict[str, Tensor], bool]:
    """(the update with its change clipped to the Euclidean norm `clip` and Gaussian noise of deviation z * clip added; whether it was cut).

    A client does this before it sends: the server learns no more than the noisy update tells. Counters of whole numbers are sent as they
    are at the begin of the round. Raises InputError for a clip that is not above 0 or a z below 0.
    """
    if not clip > 0 or z < 0:
        raise InputError(f"Noise needs a clip above 0 and z of 0 or more; these are clip {clip} and z {z}.")
    change = {n: (update[n] - v).double() for n, v in begin.items() if v.is_floating_point()}
    size = math.sqrt(sum(float(c.square().sum()) for c in change.values()))
    shrink = min(1.0, clip / size) if size > 0 else 1.0
    made = {n: v.clone() for n, v in begin.items()}
    for n, c in change.items():
        noise = torch.randn(c.shape, generator=random, dtype=torch.float64) * (z * clip)
        made[n] = (begin[n].double() + c * shrink + noise).to(begin[n].dtype)
    return made, shrink < 1


def epsilon(z: float, rounds: int, delta: float, share: float = 1.0) -> float:
    """Epsilon after `rounds` rounds, in each of which a client sends one clipped update with noise of z times the clip.

    share 1: zero-concentrated differential privacy; a round costs rho = 1 / (2 z^2), and (epsilon, delta) follows by M. Bun and T.
    Steinke, "Concentrated Differential Privacy", TCC 2016, arXiv 1605.02065, Proposition 1.3: rho + 2 sqrt(rho ln(1 / delta)).
    share below 1: a client takes part in a round with this probability, independently, and nobody learns in which: Renyi divergences of
    the sampled Gaussian mechanism at whole orders (I. Mironov, K. Talwar, L. Zhang, 2019, arXiv 1908.10530, equation for integer alpha),
    converted by Theorem 21 of Balle et al. 2020, arXiv 1905.09982. An epsilon above 10 or so protects nobody.

    The neighbours are two federations; in one of them the change of one client is replaced by zero. Two data sets of a client can lie twice
    as far apart, 2 * clip: to tell them from each other costs what half of z costs here. Raises InputError for a value out of range.
    """
    if not z > 0 or rounds < 1 or not 0 < delta < 1 or not 0 < share <= 1:
        raise InputError(
            f"epsilon needs z > 0, rounds >= 1, 0 < delta < 1, 0 < share <= 1; got {z}, {rounds}, {delta}, {share}."
        )
    if share == 1:
        rho = rounds / (2 * z**2)
        return rho + 2 * math.sqrt(rho * math.log(1 / delta))
    best = math.inf
    for a in ORDERS:
        terms = [
            math.lgamma(a + 1) - math.lgamma(k + 1) - math.lgamma(a - k + 1)
            + (a - k) * math.log1p(-share)
            + (k * math.log(share) if k else 0.0)
            + k * (k - 1) / (2 * z**2)
            for k in range(a + 1)
        ]  # fmt: skip
        top = max(terms)
        renyi = (top + math.log(sum(math.exp(t - top) for t in terms))) / (a - 1)
        best = min(best, rounds * renyi + math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1))
    return max(best, 0.0)


def noise_for(goal: float, rounds: int, delta: float, share: float = 1.0) -> float:
    """The smallest z whose epsilon is at most `goal`, to three digits."""
    low, high = 1e-3, 1.0
    while epsilon(high, rounds, delta, share) > goal:
        high *= 2
        if high > 1e6:
            raise InputError(f"No noise reaches epsilon {goal} in {rounds} rounds at delta {delta}.")
    while high / low > 1.0005:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if epsilon(middle, rounds, delta, share) <= goal else (middle, high)
    return high


# --- secure sums ------------------------------------------------------------------------------------------------------


def key_pair() -> tuple[bytes, bytes]:
    """(private, public) key of a client for one federation, 32 bytes each (X25519)."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = X25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()), public


def agreed(private: bytes, others: Mapping[str, bytes]) -> dict[str, bytes]:
    """Client -> the secret that only it and this client can compute, from the public keys of the others; the server passes them on."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    key = X25519PrivateKey.from_private_bytes(private)
    return {name: hashlib.sha256(key.exchange(X25519PublicKey.from_public_bytes(p))).digest() for name, p in others.items()}


def masked(update: State, samples: float, me: str, secrets: Mapping[str, bytes], number: int) -> dict[str, np.ndarray]:
    """What a client sends: its update times its samples in fixed point, plus masks that cancel in the sum over all clients.

    number: of the round; each has its own masks. After K. Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine
    Learning", CCS 2017, without its recovery of clients that drop out: one missing client makes the sum useless, and the round is lost.
    With two clients each can subtract itself and see the other: three or more are needed. Raises InputError for fewer, and for values
    that are too large or not finite.
    """
    if len(secrets) < 2:
        raise InputError(
            f"A secure sum needs three clients or more; {me} knows {len(secrets)} other. With two, each sees the other's update."
        )
    made = {}
    for name, value in update.items():
        steps = value.detach().cpu().double().numpy() * samples / FRACTION
        if not np.isfinite(steps).all() or np.abs(steps).max(initial=0) > LIMIT:
            raise InputError(
                f"{name} has values that are not finite, or too large for a secure sum (above {LIMIT * FRACTION:g} with samples)."
            )
        total = np.rint(steps).astype(np.int64).astype(np.uint64).reshape(-1)
        for other, secret in secrets.items():
            mask = _mask(secret, f"{number}/{name}", total.size)
            total = total + mask if me < other else total - mask
        made[name] = total.reshape(steps.shape)
    return made


def unmasked_sum(parts: Sequence[Mapping[str, np.ndarray]], samples: Sequence[float]) -> dict[str, Tensor]:
    """The mean of the updates, weighted by samples, float32; the server sees neither update nor mask.

    Raises InputError for fewer than three parts, and where masks do not cancel, as when a client is missing.
    """
    if len(parts) < 3:
        raise InputError(f"A secure sum needs three clients or more; {len(parts)} sent their part.")
    sums = {name: np.stack([p[name] for p in parts]).sum(0, dtype=np.uint64).astype(np.int64) for name in parts[0]}
    if any(np.abs(v.astype(float)).max(initial=0) > LIMIT * len(parts) for v in sums.values()):
        raise InputError(
            "The masks of this secure sum do not cancel: a client is missing, or sent its part of another round. The round is lost."
        )
    return {name: torch.tensor(v).double().mul(FRACTION / sum(samples)).float() for name, v in sums.items()}


def _mask(secret: bytes, place: str, count: int) -> np.ndarray:
    """(count,) uint64 that look random to whoever does not know the secret: the key stream of ChaCha20."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

    key = hashlib.sha256(secret + place.encode()).digest()
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(8 * count)), np.uint64)
