"""Rivals in change detection: three methods without training, and three small networks.

Without training, `(before, after) -> Dataset` with `score (y, x)` (higher = more changed) and `change (y, x)`, 0 or 1:

    cva_otsu        length of the spectral difference, split by Otsu's threshold
    pca_kmeans      differences of blocks, their leading components, two clusters (Celik 2009)
    log_ratio_otsu  |log after - log before| for SAR, split by Otsu's threshold

As networks, `network(before, after)`, (B, C, H, W) twice -> logits (B, 1, H, W), for any number of bands and any size:

    FCEF, FCSiamConc, FCSiamDiff    R. C. Daudt, B. Le Saux, A. Boulch, "Fully convolutional siamese networks for change
                                    detection", IEEE ICIP 2018, doi 10.1109/ICIP.2018.8451652

None of them gives an uncertainty. A pixel that is NaN in the input is NaN in the output. Measured results:
docs/methods/change_rivals.md.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

LEVELS = 256  # of Otsu's histogram

# --- without training -------------------------------------------------------------------------------------------------


def cva(before: xr.DataArray, after: xr.DataArray) -> xr.DataArray:
    """Change vector analysis: the length of the difference of the two spectra, `(y, x)`, NaN where a band is missing.

    Every band of each date is first scaled to mean 0 and standard deviation 1 over the pixels valid on both dates, which
    removes a uniform difference in illumination; the score is in these standard deviations.

    W. A. Malila, "Change vector analysis: an approach for detecting forest changes with Landsat", LARS Symposia, 1980.
    """
    a, b, known = _dates(before, after)
    score = np.sqrt(((_standard(b, known) - _standard(a, known)) ** 2).sum(0))
    return _map(before, score, known, "length of the change vector (standard deviations)")


def cva_otsu(before: xr.DataArray, after: xr.DataArray) -> xr.Dataset:
    """CVA, changed where above Otsu's threshold: `score`, `change`, and the threshold in `attrs`."""
    return _thresholded(cva(before, after))


def log_ratio(before: xr.DataArray, after: xr.DataArray) -> xr.DataArray:
    """|log(after / before)| of SAR intensities, `(y, x)`, the mean over polarisations.

    Speckle is multiplicative, so its logarithm has the same spread in bright and dark areas. The quantisation step of the
    values is added first (`attrs["step"]`, 1/255 for 8-bit images; without it a thousandth of the median), because zero has
    no logarithm. Raises InputError for negative values: those are decibels.

    R. J. Dekker, "Speckle filtering in satellite SAR change detection imagery", Int. J. Remote Sens. 19(6), 1998.
    """
    a, b, known = _dates(before, after)
    low = min(float(a[:, known].min()), float(b[:, known].min()))
    if low < 0:
        raise InputError(
            f"log_ratio needs intensities from 0; this pair has {low:.4g}. Decibels: take 10 ** (dB / 10) first."
        )
    floor = float(before.attrs.get("step") or 1e-3 * np.median(a[:, known])) or 1e-12
    score = np.abs(np.log(b + floor) - np.log(a + floor)).mean(0)
    return _map(before, score, known, "absolute log-ratio")


def log_ratio_otsu(before: xr.DataArray, after: xr.DataArray) -> xr.Dataset:
    """Log-ratio, averaged over 3 x 3 pixels to reduce speckle, changed where above Otsu's threshold."""
    from scipy.ndimage import uniform_filter

    score = log_ratio(before, after)
    known = np.isfinite(score.values)
    weight = uniform_filter(known.astype(float), 3, mode="constant")
    smooth = uniform_filter(np.where(known, score.values, 0.0), 3, mode="constant") / np.maximum(weight, 1e-12)
    return _thresholded(score.copy(data=np.where(known, smooth, np.nan)))


def pca_kmeans(before: xr.DataArray, after: xr.DataArray, block: int = 4, components: int = 3, seed: int = 0) -> xr.Dataset:
    """Principal components of difference blocks and two clusters: `score`, `change`.

    block: side of the blocks, h. The principal components are those of the absolute difference, cut into blocks that do not
    overlap; then the block around every pixel is projected on the leading `components`, and 2-means splits the pixels. The
    cluster with the larger mean difference is the changed one; the score is the distance to the unchanged cluster minus
    that to the changed one. With `attrs["kind"] = "sar"` the difference is the log-ratio.

    T. Celik, "Unsupervised change detection in satellite images using principal component analysis and k-means clustering",
    IEEE Geosci. Remote Sens. Lett. 6(4), 2009, doi 10.1109/LGRS.2009.2025059. The difference here is that of `cva` (or
    `log_ratio`), so that any number of bands and any illumination can be used.

    Raises InputError when the image has fewer blocks than components, or the sizes are out of range.
    """
    from sklearn.cluster import KMeans

    if block < 1 or not 1 <= components <= block * block:
        raise InputError(
            f"pca_kmeans needs block >= 1 and 1 <= components <= block²; got block={block}, components={components}."
        )
    difference = log_ratio(before, after) if before.attrs.get("kind") == "sar" else cva(before, after)
    known = np.isfinite(difference.values)
    filled = np.where(known, difference.values, 0.0)
    height, width = filled.shape
    rows, columns = height // block, width // block
    if rows * columns <= components:
        raise InputError(
            f"pca_kmeans needs more blocks than its {components} components; this image of {height} x {width} pixels has "
            f"{rows * columns} blocks of {block} x {block}. Use a smaller block."
        )
    cut = filled[: rows * block, : columns * block].reshape(rows, block, columns, block)
    tiles = cut.transpose(0, 2, 1, 3).reshape(rows * columns, block * block)
    mean = tiles.mean(0)
    axes = np.linalg.svd(tiles - mean, full_matrices=False)[2][:components]
    lead = (block - 1) // 2
    padded = np.pad(filled, (lead, block - 1 - lead), mode="reflect" if min(height, width) > block else "edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (block, block)).reshape(height, width, -1)
    features = (around - mean) @ axes.T
    clusters = KMeans(2, n_init=4, random_state=seed).fit(features[known])
    labels = clusters.predict(features[known])
    means = [filled[known][labels == k].mean() if (labels == k).any() else -np.inf for k in (0, 1)]
    changed = int(np.argmax(means))
    apart = np.linalg.norm(features[:, :, None] - clusters.cluster_centers_, axis=-1)
    score = apart[..., 1 - changed] - apart[..., changed]
    result = _map(before, score, known, "distance to the unchanged cluster minus that to the changed one")
    return _decided(result, 0.0)


def otsu(score: np.ndarray | xr.DataArray) -> float:
    """The threshold with the largest between-class variance of the finite values, from a histogram of 256 levels.

    N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. Syst. Man Cybern. 9(1), 1979.

    >>> 1.0 < otsu(np.array([1.0, 1.0, 1.0, 3.0])) < 3.0
    True

    Raises InputError when there is no finite value; returns the value itself when all are the same.
    """
    values = np.asarray(score)
    values = values[np.isfinite(values)]
    if not values.size:
        raise InputError("Otsu's threshold needs finite values; this score map has none.")
    count, edges = np.histogram(values, LEVELS)
    centre = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(count)[:-1]
    above = values.size - below
    sums = np.cumsum(count * centre)
    gap = sums[:-1] / np.maximum(below, 1) - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * gap**2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))  # several when levels between are empty: take the middle
    return float((edges[best[0] + 1] + edges[best[-1] + 1]) / 2) if values.max() > values.min() else float(values[0])


Rival = Callable[["xr.DataArray", "xr.DataArray"], "xr.Dataset"]

RIVALS: dict[str, Rival] = {"cva": cva_otsu, "pca_kmeans": pca_kmeans, "log_ratio": log_ratio_otsu}


def detect(name: str, scene: xr.Dataset) -> xr.Dataset:
    """The rival `name` of `RIVALS` on one pair, or on each pair of a set separately: `score`, `change ([sample,] y, x)`."""
    import xarray as xr

    if name not in RIVALS:
        raise InputError(f"There is no rival {name!r}; there are {', '.join(RIVALS)}.{did_you_mean(name, RIVALS)}")
    before, after = scene["before"], scene["after"]
    if "sample" not in before.dims:
        return RIVALS[name](before, after)
    each = [RIVALS[name](before[i], after[i]).assign_attrs({}) for i in range(before.sizes["sample"])]
    return xr.concat(each, "sample", coords="minimal", compat="override").assign_coords(sample=scene["sample"])


def _dates(before: xr.DataArray, after: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both dates (band, y, x) float64 with 0 for missing, and which pixels are valid on both."""
    a, b = (np.asarray(date.values, np.float64) for date in (before, after))
    if a.ndim != 3 or a.shape != b.shape:
        raise InputError(f"A rival takes two images (band, y, x) of one size; got {a.shape} and {b.shape}.")
    known = np.asarray(np.isfinite(a).all(0) & np.isfinite(b).all(0))
    if not known.any():
        raise InputError("No pixel of this pair is valid on both dates; check that they overlap, and their nodata values.")
    return np.where(known, a, 0.0), np.where(known, b, 0.0), known


def _standard(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    values = image[:, known]
    spread = values.std(1)
    return (image - values.mean(1)[:, None, None]) / np.where(spread > 0, spread, 1.0)[:, None, None]


def _map(before: xr.DataArray, score: np.ndarray, known: np.ndarray, long_name: str) -> xr.DataArray:
    import xarray as xr

    coords = {n: c for n, c in before.coords.items() if "band" not in c.dims and "sample" not in c.dims and n != "sample"}
    return xr.DataArray(
        np.where(known, score, np.nan), dims=("y", "x"), coords=coords, name="score", attrs={"long_name": long_name}
    )


def _thresholded(score: xr.DataArray) -> xr.Dataset:
    return _decided(score, otsu(score))


def _decided(score: xr.DataArray, threshold: float) -> xr.Dataset:
    change = (score > threshold).where(np.isfinite(score)).astype(np.float32)
    change.attrs = {"long_name": "change", "units": "1"}
    return score.to_dataset(name="score").assign(change=change).assign_attrs(threshold=threshold)


# --- networks ---------------------------------------------------------------------------------------------------------

DROPOUT = 0.2  # of whole feature maps, after every convolution but the last, as in the authors' code


class _Encoder(nn.Module):
    """Four levels of two or three 3 x 3 convolutions of width, 2, 4 and 8 times width channels; max pooling halves each."""

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        sizes = [width, 2 * width, 4 * width, 8 * width]
        self.levels = nn.ModuleList()
        for size, depth in zip(sizes, (2, 2, 3, 3), strict=True):
            self.levels.append(nn.Sequential(*[_block(bands if i == 0 else size, size) for i in range(depth)]))
            bands = size

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features of the four levels before pooling, and the output of the last pooling."""
        features = []
        for level in self.levels:
            image = level(image)  # (B, width 2^k, H / 2^k, W / 2^k)
            features.append(image)
            image = F.max_pool2d(image, 2)
        return [*features, image]


class _Decoder(nn.Module):
    """Four levels of upsampling; each gets the encoder's features of its level, from `skips` encoders."""

    def __init__(self, width: int, skips: int) -> None:
        super().__init__()
        sizes = [8 * width, 4 * width, 2 * width, width]
        self.ups, self.levels = nn.ModuleList(), nn.ModuleList()
        below = 8 * width
        for size, depth in zip(sizes, (3, 3, 2, 2), strict=True):
            self.ups.append(nn.ConvTranspose2d(below, below, 3, stride=2, padding=1, output_padding=1))
            taken = below + skips * size
            below = size // 2 if size > width else size
            counts = [taken, *[size] * (depth - 1), below]
            last = size == width
            layers: list[nn.Module] = [_block(a, b) for a, b in pairwise(counts)]
            if last:
                layers[-1] = nn.Conv2d(size, 1, 3, padding=1)
            self.levels.append(nn.Sequential(*layers))

    def forward(self, deepest: Tensor, features: list[Tensor]) -> Tensor:
        for up, level, skip in zip(self.ups, self.levels, reversed(features), strict=True):
            deepest = up(deepest)
            missing = (skip.shape[-1] - deepest.shape[-1], skip.shape[-2] - deepest.shape[-2])
            deepest = F.pad(deepest, (0, missing[0], 0, missing[1]), mode="replicate")  # when a side was odd
            deepest = level(torch.cat([deepest, skip], 1))
        return deepest


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.Dropout2d(DROPOUT))


class FCEF(nn.Module):
    """Early fusion: a small U-Net on the two dates stacked, (B, C, H, W) twice -> logits (B, 1, H, W)."""

    def __init__(self, bands: int, width: int = 16) -> None:
        super().__init__()
        self.encoder, self.decoder = _Encoder(2 * bands, width), _Decoder(width, skips=1)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Both dates `(B, C, H, W)` -> logits `(B, 1, H, W)`."""
        *features, deepest = self.encoder(torch.cat([before, after], 1))
        return self.decoder(deepest, features)


class FCSiamConc(nn.Module):
    """One encoder for both dates; the features of both go to the decoder: (B, C, H, W) twice -> logits (B, 1, H, W)."""

    def __init__(self, bands: int, width: int = 16) -> None:
        super().__init__()
        self.encoder, self.decoder = _Encoder(bands, width), _Decoder(width, skips=2)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Both dates `(B, C, H, W)` -> logits `(B, 1, H, W)`."""
        *first, _ = self.encoder(before)
        *second, deepest = self.encoder(after)
        return self.decoder(deepest, [torch.cat(pair, 1) for pair in zip(first, second, strict=True)])


class FCSiamDiff(nn.Module):
    """One encoder for both dates; the decoder gets |a - b| of their features: (B, C, H, W) twice -> logits (B, 1, H, W)."""

    def __init__(self, bands: int, width: int = 16) -> None:
        super().__init__()
        self.encoder, self.decoder = _Encoder(bands, width), _Decoder(width, skips=1)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Both dates `(B, C, H, W)` -> logits `(B, 1, H, W)`."""
        *first, _ = self.encoder(before)
        *second, deepest = self.encoder(after)
        return self.decoder(deepest, [(a - b).abs() for a, b in zip(first, second, strict=True)])


NETWORKS: dict[str, Callable[..., nn.Module]] = {"fc_ef": FCEF, "fc_siam_conc": FCSiamConc, "fc_siam_diff": FCSiamDiff}
