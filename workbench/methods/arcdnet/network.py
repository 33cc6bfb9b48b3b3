"""The network of AR-CDNet, in the order of its forward pass.

Steps and symbols are the paper's and its authors' code's: p_k the pyramid at stride 2^k, d_k the temporal difference, b the
features of the uncertainty branch, m_k the side masks (logits), P the change map, U the uncertainty.

Two geometries. `context="global"` is the published one: average pools over the whole image and corners aligned when
resizing, so that every output depends on every input pixel and on the image's size. `context="window"` pools over fixed
windows and resizes by whole factors: an output depends only on pixels within `reach(config)`, so an image of any size can be
computed tile by tile to the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.methods.arcdnet.settings import Config

PPM = (1, 2, 3, 5)  # sides of the global pools at the coarsest level
WINDOWS = (3, 5)  # sides, in cells of the coarsest level, of the pools that replace them


@dataclass(frozen=True)
class Shape:
    """Widths of a network: those of stem, stages and pyramid, and residual blocks per stage."""

    stem: tuple[int, int]
    stages: tuple[int, ...]
    depth: int
    width: int
    squeeze: int  # hidden width of the channel attention

    @property
    def levels(self) -> int:
        """Levels of the pyramid, at strides 4, 8, ..."""
        return len(self.stages)

    @property
    def stride(self) -> int:
        """Pixels between two cells of the coarsest level: 32 in the full network, 16 in the small one."""
        return 2 ** (1 + self.levels)


def shape_of(config: Config) -> Shape:
    """Full: ResNet-18-D and 64 channels, as published. Small: three stages of one block, 16 channels."""
    if config.network == "full":
        width = config.width or 64
        return Shape((32, 64), (64, 128, 256, 512), 2, width, max(width // 8, 1))
    width = config.width or 16
    return Shape((max(width // 2, 1), width), (width, 3 * width // 2, 2 * width), 1, width, max(width // 4, 1))


@dataclass(frozen=True)
class Output:
    """Logits (B, 1, H, W) of one forward pass, and the intermediate results for the inspector.

    sides: m_2 .. m_k at full size; uncertainty: None without the branch; masks: m_2 .. m_k at stride 4; difference: d_2,
    the input of the branch.
    """

    change: Tensor
    sides: list[Tensor]
    uncertainty: Tensor | None
    masks: list[Tensor]
    difference: Tensor


class ARCDNet(nn.Module):
    """Change and its uncertainty from two dates: (B, bands, H, W) twice -> Output; H and W multiples of the stride.

    The input has the scene's values; mean and spread of each band are part of the state. 14,342,446
    parameters with 3 bands in the full network. `config.compat` follows the authors' code: both branches of the
    difference get the same order, the dates are exchanged, and each date is encoded separately.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, bands: int, config: Config) -> None:
        super().__init__()
        shape = shape_of(config)
        self.bands, self.shape, self.compat, self.krm_on = bands, shape, config.compat, config.krm
        self.whole_image = config.geometry == "global"
        swap = config.swap_second and not config.compat
        w = shape.width
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("std", torch.ones(bands))
        self.backbone = ResNetD(bands, shape)
        self.pyramid = Pyramid(shape, self.whole_image)
        differ = TDE if config.difference == "tde" else AbsoluteDifference
        self.difference = nn.ModuleList(differ(w, swap) for _ in range(shape.levels))
        self.branch = Uncertainty(bands, w, swap, self.whole_image) if config.oue else None
        self.sides = nn.ModuleList(head(w) for _ in range(shape.levels))
        reviews = shape.levels - 1 if config.krm else 0
        self.review = nn.ModuleList(Review(w, shape, self.whole_image) for _ in range(reviews))
        self.fuse = nn.Sequential(*conv((shape.levels + config.oue) * w, w, 1))
        self.dropout = nn.Dropout2d(config.dropout)
        self.head = head(w)

    def forward(self, before: Tensor, after: Tensor) -> Output:
        """Both dates `(B, bands, H, W)` -> `Output`, with logits `(B, 1, H, W)`."""
        x1, x2 = self.standardised(before), self.standardised(after)
        if self.compat:
            x1, x2 = x2, x1  # the authors' loader reverses all six channels, and so exchanges the dates
        p1, p2 = self.encoded(x1, x2)
        d = [difference(a, b) for difference, a, b in zip(self.difference, p1, p2, strict=True)]
        d2 = d[0]  # (B, w, H/4, W/4)
        features = [d2, *(self.resize(dk, d2) for dk in d[1:])]
        masks = [side(dk) for side, dk in zip(self.sides, features, strict=True)]
        reviewed = [d2]
        for k, dk in enumerate(features[1:]):
            reviewed.append(self.review[k](d2, dk, masks[0], masks[k + 1]) if self.krm_on else dk)
        uncertainty = None
        if self.branch is not None:
            b, u = self.branch(x1, x2, d2)
            reviewed.append(b)
            uncertainty = self.enlarged(u)
        change = self.head(self.dropout(self.fuse(torch.cat(reviewed, 1))))
        return Output(self.enlarged(change), [self.enlarged(m) for m in masks], uncertainty, masks, d2)

    def standardised(self, x: Tensor) -> Tensor:
        """Mean 0 and spread 1 in every band; missing values become 0."""
        x = (x - self.mean[:, None, None]) / self.std[:, None, None]
        return torch.where(torch.isfinite(x), x, 0.0)

    def encoded(self, x1: Tensor, x2: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Both pyramids. In one batch; the code encodes one date after the other: other batch statistics, twice the calls."""
        if self.compat:
            return self.pyramid(self.backbone(x1)), self.pyramid(self.backbone(x2))
        both = [p.chunk(2) for p in self.pyramid(self.backbone(torch.cat([x1, x2])))]
        return [p[0] for p in both], [p[1] for p in both]

    def resize(self, x: Tensor, like: Tensor) -> Tensor:
        """`x` resized to the height and width of `like`."""
        return resize(x, like.shape[-2:], self.whole_image)

    def enlarged(self, x: Tensor) -> Tensor:
        """`(B, C, H/4, W/4)` -> `(B, C, H, W)`."""
        return resize(x, (4 * x.shape[-2], 4 * x.shape[-1]), self.whole_image)


def resize(x: Tensor, size: Any, whole_image: bool) -> Tensor:
    """Bilinear; corners aligned in the published geometry, which makes the grid depend on the image's size."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=whole_image)


def conv(i: int, o: int, side: int = 3, stride: int = 1) -> list[nn.Module]:
    """Convolution with bias, batch normalisation, ReLU; the published network has this bias although it has no effect."""
    return [nn.Conv2d(i, o, side, stride, side // 2), nn.BatchNorm2d(o), nn.ReLU()]


def head(width: int) -> nn.Sequential:
    """Logits (B, 1, h, w) of features (B, width, h, w)."""
    return nn.Sequential(*conv(width, width), nn.Conv2d(width, 1, 1))


# --- step 1: the shared encoder ---------------------------------------------------------------------------------------


class ResNetD(nn.Module):
    """Residual network with a deep stem and averaged shortcuts (T. He et al., CVPR 2019), names as timm's `resnet18d`.

    (B, bands, H, W) -> one map for each stage, at strides 4, 8, 16 and, full, 32.
    """

    def __init__(self, bands: int, shape: Shape) -> None:
        super().__init__()
        s, o = shape.stem
        self.conv1 = nn.Sequential(
            nn.Conv2d(bands, s, 3, 2, 1, bias=False),
            nn.BatchNorm2d(s),
            nn.ReLU(),
            nn.Conv2d(s, s, 3, 1, 1, bias=False),
            nn.BatchNorm2d(s),
            nn.ReLU(),
            nn.Conv2d(s, o, 3, 1, 1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(o)
        self.levels = shape.levels
        i = o
        for n, width in enumerate(shape.stages, start=1):
            blocks = [BasicBlock(i if b == 0 else width, width, 2 if n > 1 and b == 0 else 1) for b in range(shape.depth)]
            setattr(self, f"layer{n}", nn.Sequential(*blocks))
            i = width

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images `(B, bands, H, W)` -> one map per stage, `(B, stage width, H / stride, W / stride)`."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        maps = []
        for n in range(1, self.levels + 1):
            x = getattr(self, f"layer{n}")(x)
            maps.append(x)
        return maps


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation and a shortcut: (B, i, h, w) -> (B, o, h / stride, w / stride)."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.downsample: nn.Module = nn.Identity()
        if i != o or stride > 1:
            pool = nn.Identity() if stride == 1 else nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Sequential(pool, nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, i, h, w)` -> `(B, o, h / stride, w / stride)`."""
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + self.downsample(x))


class Pyramid(nn.Module):
    """Maps of the stages -> as many maps of `width` channels, each combined with the coarser ones."""

    def __init__(self, shape: Shape, whole_image: bool) -> None:
        super().__init__()
        w = shape.width
        self.context = Context(shape.stages[-1], w, whole_image)
        self.lateral = nn.ModuleList(nn.Sequential(*conv(i, w, 1)) for i in shape.stages[:-1])
        self.down = nn.ModuleList(Aggregation(w, whole_image) for _ in shape.stages[:-1])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of the stages, finest first -> as many maps `(B, width, h, w)` of the same sizes."""
        p = [self.context(maps[-1])]
        for lateral, down, c in zip(reversed(self.lateral), reversed(self.down), reversed(maps[:-1]), strict=True):
            p.insert(0, down(p[0], lateral(c)))
        return p


class Context(nn.Module):
    """Pyramid pooling at the coarsest level: averages over the whole image, or over windows of fixed size around each cell."""

    def __init__(self, i: int, w: int, whole_image: bool) -> None:
        super().__init__()
        self.whole_image, self.sides = whole_image, PPM if whole_image else WINDOWS
        self.squeeze = nn.ModuleList(nn.Sequential(*conv(i, w, 1)) for _ in self.sides)
        self.out = nn.Sequential(*conv(i + len(self.sides) * w, w))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, i, h, w)` -> `(B, w, h, w)` with the averages of the surroundings mixed in."""
        pooled = [x]
        for side, squeeze in zip(self.sides, self.squeeze, strict=True):
            if self.whole_image:
                pooled.append(resize(squeeze(F.adaptive_avg_pool2d(x, side)), x.shape[-2:], True))
            else:
                pooled.append(squeeze(windowed_mean(x, side)))
        return self.out(torch.cat(pooled, 1))


def windowed_mean(x: Tensor, side: int) -> Tensor:
    """Mean over a window of `side` cells around every cell; at the border over the part inside."""
    return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)


class Aggregation(nn.Module):
    """FAM: the coarse features give the attention for the fine ones; there is no ReLU after `low`, as in the code."""

    def __init__(self, w: int, whole_image: bool) -> None:
        super().__init__()
        self.whole_image = whole_image
        self.attention = nn.Sequential(*conv(w, w)[:2])
        self.low = nn.Sequential(*conv(w, w)[:2])
        self.out = nn.Sequential(*conv(2 * w, w))

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Coarse `high (B, w, h, w')` and fine `low (B, w, 2h, 2w')` -> `(B, w, 2h, 2w')`."""
        high = resize(high, low.shape[-2:], self.whole_image)
        a = torch.sigmoid(self.attention(high))
        return self.out(torch.cat([high, self.low(low * a + low)], 1))


# --- step 2: the temporal difference ----------------------------------------------------------------------------------


class TDE(nn.Module):
    """Learnt difference of two dates, in both orders: (B, w, h, w') twice -> same.

    Published as a 3-D convolution with kernel (2, 3, 3) over the two dates stacked in depth, without padding there. That is
    a 2-D convolution of their 2w channels (`from_conv3d`), which is what we compute. The authors' code gives both
    branches the same order; with `swap` the second gets the reverse order, as the names in the code suggest.
    """

    def __init__(self, w: int, swap: bool) -> None:
        super().__init__()
        self.swap = swap
        self.forth, self.back = nn.Sequential(*conv(2 * w, w)), nn.Sequential(*conv(2 * w, w))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Features of both dates `(B, w, h, w')` -> their difference, same shape."""
        second = torch.cat([b, a] if self.swap else [a, b], 1)
        return self.forth(torch.cat([a, b], 1)) + self.back(second)


def from_conv3d(weight: Tensor) -> Tensor:
    """The 2-D weights (o, 2i, 3, 3) equivalent to 3-D weights (o, i, 2, 3, 3) on two dates."""
    return weight.transpose(1, 2).flatten(1, 2)


class AbsoluteDifference(nn.Module):
    """|a - b|, which replaces TDE in the second version of the paper; the ablation `difference="abs"`."""

    def __init__(self, w: int, swap: bool) -> None:
        super().__init__()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Features of both dates -> `|a - b|`, same shape."""
        return (a - b).abs()


# --- step 3: the uncertainty branch -----------------------------------------------------------------------------------


class Uncertainty(nn.Module):
    """OUE: textures of both dates, their difference, and d_2 -> features b (B, w, H/4, W/4) and logits of U (B, 1, H/4, W/4)."""

    def __init__(self, bands: int, w: int, swap: bool, whole_image: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(bands, w // 2, 3, 2), *conv(w // 2, w, 3, 2))
        self.difference, self.merge, self.head = TDE(w, swap), Aggregation(w, whole_image), head(w)

    def forward(self, x1: Tensor, x2: Tensor, d2: Tensor) -> tuple[Tensor, Tensor]:
        """Both dates `(B, bands, H, W)` and d_2 `(B, w, H/4, W/4)` -> features b and logits of U, both at stride 4."""
        b = self.merge(d2, self.difference(self.stem(x1), self.stem(x2)))
        return b, self.head(b)


# --- step 5: knowledge review -----------------------------------------------------------------------------------------


def reverse_attention(mk: Tensor) -> Tensor:
    """A_r = 1 - s(m_k): high where the side mask has no change. Logits in; of s = .9, .5, .1: .1, .5, .9."""
    return torch.sigmoid(-mk)


def disagreement(m2: Tensor, mk: Tensor) -> Tensor:
    """A_u: the probability that two independent draws, one of each mask, differ. s(m_2) = .9, s(m_k) = .9, .5, .1: .18, .5, .82."""
    s2, sk = torch.sigmoid(m2), torch.sigmoid(mk)
    return (1 - sk) * s2 + sk * (1 - s2)


class Review(nn.Module):
    """KRM: d_2 and d_k with three attentions: none, where m_k has no change, and where m_2 and m_k disagree -> (B, w, h, w').

    The masks are not detached, and m_2 enters the last convolution as a logit, both as in the code.
    """

    def __init__(self, w: int, shape: Shape, whole_image: bool) -> None:
        super().__init__()
        self.plain, self.reverse, self.doubt = (Enhancement(2 * w, w, shape, whole_image) for _ in range(3))
        self.out = nn.Sequential(*conv(w + 1, w))

    def forward(self, d2: Tensor, dk: Tensor, m2: Tensor, mk: Tensor) -> Tensor:
        """d_2, d_k `(B, w, h, w')` and their masks `(B, 1, h, w')` -> reviewed features `(B, w, h, w')`."""
        f = torch.cat([d2, dk], 1)
        r = self.plain(f) + self.reverse(f, reverse_attention(mk)) + self.doubt(f, disagreement(m2, mk))
        return self.out(torch.cat([r, m2], 1))


class Enhancement(nn.Module):
    """FEU: features amplified by `attention`, with channel weights from the surroundings."""

    def __init__(self, i: int, o: int, shape: Shape, whole_image: bool) -> None:
        super().__init__()
        self.whole_image, self.coarse = whole_image, shape.stride // 4
        hidden = shape.squeeze
        self.mix = nn.Sequential(*conv(i, i, 1))
        self.weigh = nn.Sequential(nn.Conv2d(i, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, i, 1), nn.Sigmoid())
        self.out = nn.Sequential(*conv(i, o))

    def forward(self, f: Tensor, attention: Tensor | None = None) -> Tensor:
        """`f (B, i, h, w)` and an optional attention map `(B, 1, h, w)` -> `(B, o, h, w)`."""
        g = self.mix(f)
        if attention is not None:
            g = g * attention + g
        if self.whole_image:
            return self.out(g * self.weigh(F.adaptive_avg_pool2d(g, 1)))
        around = windowed_mean(F.avg_pool2d(g, self.coarse), WINDOWS[0])  # cells of the coarsest level, and their neighbours
        return self.out(g * F.interpolate(self.weigh(around), scale_factor=float(self.coarse), mode="nearest"))


# --- reach of an output -----------------------------------------------------------------------------------------------


def reach(config: Config) -> int | None:
    """Largest distance in pixels that an output depends on, rounded up to whole strides; None: the whole image.

    The sum along the longest path through the network with `context="window"`; tests/unit/methods/test_arcdnet.py checks
    that farther pixels have no effect.
    """
    if config.geometry == "global":
        return None
    shape = shape_of(config)
    step, pixels = 4, 1 + 2 + 2 + 2  # three convolutions of the stem, maximum pooling
    for n in range(shape.levels):
        for b in range(shape.depth):
            pixels += step
            step *= 2 if n > 0 and b == 0 else 1
            pixels += step
    pixels += (WINDOWS[-1] // 2 + 1) * step  # context: the widest window, a convolution
    for coarse in (8 * 2**n for n in reversed(range(shape.levels - 1))):
        pixels += 3 * coarse // 4 + 3 * coarse // 2  # aggregation: enlarging by two, three convolutions in a row
    pixels += 4 + 4  # the difference, a side head
    pixels += (WINDOWS[0] // 2 + 1) * step - 4  # channel weights: the coarse cell around it, and its neighbours
    pixels += 4 + 4 + 4 + 6  # two convolutions of the review, one of the head, enlarging by four
    return -(-pixels // shape.stride) * shape.stride


# --- pretrained weights -----------------------------------------------------------------------------------------------


def load_encoder(network: ARCDNet, path: str | Path) -> list[str]:
    """Fill the backbone with weights named as in timm's `resnet18d`; returns the names in the file that were not used.

    path: .safetensors, or a state dict written by torch.save, read with `weights_only=True`. A first layer for another
    number of bands is averaged over its bands and scaled, so that equal bands give the same output as before.

    Raises InputError for another kind of file, and for weights that do not fit.
    """
    path = Path(path).expanduser()
    state = dict(read_state(path))
    wanted = network.backbone.state_dict()
    first = state.get("conv1.0.weight")
    if first is not None and first.ndim == 4 and first.shape[1] != network.bands:
        state["conv1.0.weight"] = first.mean(1, keepdim=True).repeat(1, network.bands, 1, 1) * (
            first.shape[1] / network.bands
        )
    wrong = [
        f"{n} {tuple(state[n].shape)}, not {tuple(v.shape)}"
        for n, v in wanted.items()
        if n in state and state[n].shape != v.shape
    ]
    missing = [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")]
    if wrong or missing:
        problem = (
            f"{len(wrong)} of another shape ({', '.join(wrong[:2])})"
            if wrong
            else f"{len(missing)} missing ({', '.join(missing[:3])})"
        )
        raise InputError(
            f"The weights in {path} do not fit the encoder: {problem}. It needs weights of timm's resnet18d, and network='full'."
        )
    network.backbone.load_state_dict({n: state[n] for n in wanted if n in state}, strict=False)
    return [n for n in state if n not in wanted]


def read_state(path: Path) -> dict[str, Tensor]:
    """Name -> tensor from a .safetensors file or a state dict; nothing else is unpickled."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; give weights as .safetensors or as a state dict of torch.") from None
    except Exception as error:
        raise InputError(f"{path} is neither a .safetensors file nor a plain state dict ({type(error).__name__}).") from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path} has no state dict: a mapping of names to tensors is needed.")
    return state
