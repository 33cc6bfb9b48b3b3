"""Which gradient entries are important: neighbourhood statistics, scores, the k largest, and each layer's share of the budget.

    mu, sigma = neighbourhood(A, p=3)       # of every entry's p x p neighbourhood; at borders only valid cells
    S = score(A, "mix", p=3)
    chosen = largest(S, k)                  # exact, sorted
    shares = budget([900, 100], K=10, signal=[1.0, 9.0], rate=0.01)         # [7, 3]

W. Xie, Z. Wang, J. Ma, D. Li, Y. Li, "RS-DGC: Exploring Neighborhood Statistics for Dynamic Gradient Compression on
Remote Sensing Image Interpretation", IEEE TGRS 2024, arXiv 2312.17530. Only its abstract and a summary were available to us.
They say that the neighbourhood statistical indicator (NSI) uses mean and standard deviation of a p x p neighbourhood and
that layers share the budget by their changing importance. The formulas here are a *reconstruction*, not the paper's NSI.

The gradient of a convolution (O, I, kh, kw) is reshaped to the matrix A (O, I kh kw), any other to (first dim, rest).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workbench.errors import InputError, did_you_mean

Indicator = str | Callable[[Tensor, int], Tensor]

INDICATORS = {
    "mix": "|A| (|mu| + sigma): own size, weighted by how active the neighbourhood is (default; reconstruction)",
    "contrast": "|A - mu|: difference from the surroundings (reconstruction)",
    "zscore": "|A - mu| / sigma: scale-free, lets small gradients through (reconstruction)",
    "energy": "|mu| + sigma: the most literal reading of the published summary (reconstruction)",
    "tile": "energy of disjoint p x p tiles, sent whole (reconstruction)",
    "magnitude": "|A|: Top-k and DGC",
    "random": "drawn again in each step, equal on all ranks: Random-k",
}
BLOCK = 2**18  # entries scored at once; their intermediate matrices stay in the cache


def check_indicator(indicator: Indicator) -> None:
    """Raise InputError unless this is a name of INDICATORS or a function."""
    if not callable(indicator) and indicator not in INDICATORS:
        raise InputError(
            f"There is no indicator {indicator!r}; there are {', '.join(INDICATORS)}, or give a function "
            f"(matrix, p) -> score.{did_you_mean(str(indicator), INDICATORS)}"
        )


def matrix(gradient: Tensor) -> Tensor:
    """A gradient (O, ...) as a matrix (O, rest); a scalar or vector as one row."""
    return gradient.reshape(gradient.shape[0], -1) if gradient.dim() > 1 else gradient.reshape(1, -1)


# --- statistics ------------------------------------------------------------------------------------------------------


def neighbourhood(A: Tensor, p: int = 3) -> tuple[Tensor, Tensor]:
    """(mu, sigma) of the p x p neighbourhood of every entry of A (rows, columns), population form, only valid cells.

    A = [[1, 2, 3], [4, 5, 6], [7, 8, 9]], p = 3: centre 5 and 2.581989, corner (0, 0) 3 and 1.581139. p = 1: A and 0.
    """
    _odd(p)
    return _statistics(A, 0, A.shape[0], p)


def _odd(p: int) -> None:
    if p < 1 or p % 2 == 0:
        raise InputError(f"The window p must be odd (1, 3, 5, ...), got {p}.")


def _statistics(A: Tensor, top: int, end: int, p: int) -> tuple[Tensor, Tensor]:
    """(mu, sigma) of rows top..end of A."""
    if p == 1:
        return A[top:end].clone(), torch.zeros_like(A[top:end])
    h, rows = p // 2, A.shape[0]
    first, last = max(0, top - h), min(rows, end + h)
    part = A[first:last]
    centre = part.mean()  # sigma does not change, and B(X X) - mu^2 cancels less
    X = A.new_empty(end - top + 2 * h, A.shape[1])
    before, after = first - (top - h), last - (top - h)
    X[:before], X[after:] = 0, 0
    torch.sub(part, centre, out=X[before:after])
    mu = _box_mean(X, top, rows, p)
    sigma = _box_mean(X.square_(), top, rows, p).addcmul_(mu, mu, value=-1).clamp_(min=0).sqrt_()
    return mu.add_(centre), sigma


def _box_mean(X: Tensor, top: int, rows: int, p: int) -> Tensor:
    """Mean over the valid cells of the p x p window. X: rows top - h to end + h of a matrix of `rows` rows, h = p // 2,
    with zeros for rows outside the matrix; the result has rows top to end.

    Shifted sums over contiguous memory, which cross the ends of rows and make the columns near both ends wrong; those are
    then computed again. About twenty times faster on a CPU than avg_pool2d.
    """
    h = p // 2
    height, width = len(X) - 2 * h, X.shape[1]
    n = height * width
    down = X.new_empty(n + 2 * h)
    down[:h], down[n + h :] = 0, 0
    table = down[h : n + h].view(height, width)
    torch.add(X[:height], X[2 * h :], out=table)
    for s in range(1, 2 * h):
        table += X[s : s + height]
    mean = down[:n] + down[2 * h :]
    for s in range(1, 2 * h):
        mean += down[s : s + n]
    mean = mean.mul_(1 / p**2).view(height, width)
    for j in _near_ends(width, h):
        window = table[:, max(0, j - h) : j + h + 1]
        torch.div(window.sum(1), p * window.shape[1], out=mean[:, j])
    for i in _near_ends(rows, h):
        if top <= i < top + height:
            mean[i - top] *= p / (min(rows, i + h + 1) - max(0, i - h))
    return mean


def _near_ends(length: int, h: int) -> list[int]:
    """Positions with fewer than h neighbours on one side: 0, 3 of 4 for h = 1."""
    return [*range(min(h, length)), *range(max(h, length - h), length)]


# --- scores ----------------------------------------------------------------------------------------------------------


def score(A: Tensor, indicator: Indicator = "mix", p: int = 3, *, out: Tensor | None = None) -> Tensor:
    """The score of every entry of A (rows, columns); larger is sent first. For "tile": (tiles,), see `tile_entries`.

    out: a preallocated tensor like A for the result; allocating it takes a fifth of the time.

    Matrix 1..9 as above, p = 3, "mix": centre 37.909944, corner 4.581139. p = 1 gives A^2 for "mix".
    Raises InputError for an unknown indicator or a function whose result has another shape.
    """
    check_indicator(indicator)
    _odd(p)
    if callable(indicator):
        S = indicator(A, p)
        if not isinstance(S, Tensor) or S.shape != A.shape:
            raise InputError(
                f"The indicator must give one score per entry, {tuple(A.shape)}; "
                f"it gave {tuple(S.shape) if isinstance(S, Tensor) else type(S).__name__}."
            )
        return S
    if indicator == "magnitude":
        return torch.abs(A, out=torch.empty_like(A) if out is None else out)
    if p == 1 and indicator in ("contrast", "zscore"):
        raise InputError(f"A window of one entry has no surroundings to compare with: give {indicator} p = 3 or more.")
    if indicator == "tile":
        return _tile_energy(A, p)
    if indicator == "random":
        raise InputError("The indicator 'random' needs a random generator; only the compressor itself computes it.")
    S = torch.empty_like(A) if out is None else out
    rows = max(p, BLOCK // max(1, A.shape[1]))
    for top in range(0, A.shape[0], rows):
        end = min(top + rows, A.shape[0])
        mu, sigma = _statistics(A, top, end, p)
        if indicator in ("contrast", "zscore"):
            torch.sub(A[top:end], mu, out=S[top:end]).abs_()
            if indicator == "zscore":
                S[top:end].div_(sigma.add_(1e-12))
        else:
            torch.add(mu.abs_(), sigma, out=S[top:end])
            if indicator == "mix":
                S[top:end].mul_(A[top:end].abs())
    return S


def tile_grid(rows: int, columns: int, p: int) -> tuple[int, int]:
    """Number of p x p tiles that cover a matrix, down and across; the last ones may extend beyond it."""
    return -(-rows // p), -(-columns // p)


def _tile_energy(A: Tensor, p: int) -> Tensor:
    """|mean| + standard deviation of each disjoint p x p tile over its valid cells, row by row of tiles: (tiles,)."""
    down, across = tile_grid(A.shape[0], A.shape[1], p)
    pad = (0, across * p - A.shape[1], 0, down * p - A.shape[0])

    def sums(X: Tensor) -> Tensor:
        return torch.nn.functional.pad(X, pad).view(down, p, across, p).sum((1, 3))

    count = sums(torch.ones_like(A))
    mu = sums(A) / count
    sigma = (sums(A * A) / count - mu * mu).clamp_(min=0).sqrt_()
    return (mu.abs() + sigma).view(-1)


def tile_entries(chosen: Tensor, rows: int, columns: int, p: int) -> tuple[Tensor, Tensor]:
    """(flat positions (tiles, p * p), whether each is in the matrix) of the chosen tiles; 0 for positions outside."""
    across = tile_grid(rows, columns, p)[1]
    inner = torch.arange(p, device=chosen.device)
    row = (chosen // across * p)[:, None, None] + inner[:, None]
    column = (chosen % across * p)[:, None, None] + inner
    valid = (row < rows) & (column < columns)
    return (row * columns + column).where(valid, 0).flatten(1), valid.flatten(1)


# --- choosing --------------------------------------------------------------------------------------------------------


def largest(S: Tensor, k: int) -> Tensor:
    """Positions (k,) of the k largest of S (n,), increasing; always exact.

    Large inputs: a sample gives a threshold that is slightly too low, and top-k runs only on the entries above it; if these
    are fewer than k, it runs on all. On a CPU this takes a tenth of the time of a plain top-k over a million entries.
    """
    n = S.numel()
    S = S.reshape(-1)
    if n <= 2**14 or 4 * k > n or S.is_cuda:
        return torch.topk(S, k, sorted=False).indices.sort().values
    threshold = sampled_threshold(S, k, margin=1.3)
    above = (threshold <= S).nonzero().flatten()
    if len(above) < k:
        return torch.topk(S, k, sorted=False).indices.sort().values
    kept = torch.topk(S[above], k, sorted=False).indices
    return above[kept].sort().values


def sampled_threshold(S: Tensor, k: int, *, margin: float = 1.0, share: float | None = None) -> Tensor:
    """The value that about margin * k entries of S (n,) reach, estimated from every m-th entry.

    share: part of the entries sampled; None: as many as contain about 400 of the k largest.
    """
    n = len(S)
    stride = max(1, int(1 / share) if share else k // 400)
    while stride > 1 and math.gcd(stride, 9) > 1:  # no common factor with the 3 x 3 kernels
        stride -= 1
    sample = S[::stride]
    count = max(1, min(len(sample), round(margin * k * len(sample) / n)))
    return torch.topk(sample, count, sorted=False).values.min()


def sampled(S: Tensor, k: int, *, share: float = 0.01, tries: int = 10) -> Tensor:
    """k positions near the largest of S (n,), increasing, as in DGC: a threshold from a 1 % sample.

    The threshold is multiplied by 0.8 or 1.3 until between 0.8 k and 1.3 k entries reach it, at most `tries` times. Too many
    are reduced by score (the published code reduces by position); too few are filled with the first remaining positions.
    Y. Lin et al., "Deep Gradient Compression", ICLR 2018, arXiv 1712.01887.
    """
    S = S.reshape(-1)
    threshold = sampled_threshold(S, k, share=share if len(S) * share >= 100 else 1.0)
    above = (threshold <= S).nonzero().flatten()
    for _ in range(tries):
        if 0.8 * k <= len(above) <= 1.3 * k:
            break
        threshold = threshold * (0.8 if len(above) < 0.8 * k else 1.3)
        above = (threshold <= S).nonzero().flatten()
    if len(above) > k:
        return above[torch.topk(S[above], k, sorted=False).indices].sort().values
    rest = torch.ones(len(S), dtype=torch.bool, device=S.device)
    rest[above] = False
    return torch.cat([above, rest.nonzero().flatten()[: k - len(above)]]).sort().values


# --- each layer's share ----------------------------------------------------------------------------------------------


def budget(sizes: Sequence[int], K: int, signal: Sequence[float], rate: float, *, blend: float = 0.5) -> list[int]:
    """Number of entries that each layer may send; they sum to K, or to the number of layers if that is more.

    sizes: n_l. signal: I_l, how the layer's importance has changed since the start (1: not at all). rate: K / sum n_l.
    Weights (1 - blend) n_l / n + blend n_l I_l / sum n_j I_j, scaled so that K w_l, limited to at least rate n_l / 8
    and 1 and at most min(n_l, 8 rate n_l), sums to K; then whole numbers by largest remainder. Plain Python floats, so
    that every rank gets the same numbers. blend = 0 is the uniform scheme. This rule is ours, not the paper's.

    sizes (900, 100), K = 10, rate 0.01: signal (1, 1) gives [9, 1], signal (1, 9) gives weights (0.7, 0.3), so [7, 3].
    """
    n, weight = sum(sizes), sum(s * i for s, i in zip(sizes, signal, strict=True))
    if not sizes:
        return []
    K = min(max(K, len(sizes)), n)
    shares = [
        (1 - blend) * s / n + blend * (s * i / weight if weight > 0 else s / n) for s, i in zip(sizes, signal, strict=True)
    ]
    low = [min(s, max(1.0, rate * s / 8)) for s in sizes]
    high = [max(1.0, min(s, 8 * rate * s)) for s in sizes]
    if sum(low) > K:
        low = [1.0] * len(sizes)
    if sum(high) < K:
        high = [float(s) for s in sizes]

    def limited(scale: float) -> list[float]:
        return [min(max(scale * w, lo), hi) for w, lo, hi in zip(shares, low, high, strict=True)]

    below, above = 0.0, 1.0
    while sum(limited(above)) < K and above < 1e30:
        above *= 2
    for _ in range(100):
        middle = (below + above) / 2
        below, above = (middle, above) if sum(limited(middle)) < K else (below, middle)
    wanted = limited(above)
    given = [math.floor(w + 1e-9) for w in wanted]
    order = sorted(range(len(sizes)), key=lambda i: (given[i] - wanted[i], i))
    while sum(given) < K:
        for i in order:
            if sum(given) < K and given[i] < sizes[i]:
                given[i] += 1
    while sum(given) > K:
        for i in reversed(order):
            if sum(given) > K and given[i] > 1:
                given[i] -= 1
    return given
