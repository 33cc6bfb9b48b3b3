"""Small classifiers: (N, bands, y, x) -> (N, classes).

    network = classifier("auto", (144, 1, 1), 15)

Weights are drawn from torch's random state; call it inside a `Seeded` block for reproducible weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args, overload

from torch import Tensor, nn
from torch.nn import functional as F

from workbench.errors import InputError, did_you_mean
from workbench.parts.cifar_networks import VGG16, CIFARResNet, MobileNetV2

Featured = Literal["auto", "mlp", "cnn", "resnet18"]
ByWidth = Literal["vgg", "vgg19", "resnet10", "plain", "resnet20", "resnet56", "vgg16", "mobilenetv2"]
KINDS: tuple[str, ...] = (*get_args(Featured), *get_args(ByWidth))


@overload
def classifier(kind: Featured, shape: Sequence[int], classes: int) -> Classifier: ...


@overload
def classifier(kind: ByWidth, shape: Sequence[int], classes: int, width: int = 16) -> nn.Module: ...


@overload
def classifier(kind: str, shape: Sequence[int], classes: int, width: int = 16) -> nn.Module: ...


def classifier(kind: str, shape: Sequence[int], classes: int, width: int = 16) -> nn.Module:
    """A network of the given kind for samples of shape (bands, h, w).

    auto       mlp if no side has 4 pixels, else cnn
    mlp        `MLP`; for spectra
    cnn        `CNN`
    resnet18   `ResNet18`
    vgg        `VGG` of eight layers; this and the kinds below have `width` channels in the first stage
    vgg19      `VGG` with the depth of VGG-19; as published with width 64
    resnet10   `ResNet10`
    plain      `Plain`; without normalisation
    resnet20   `CIFARResNet` of depth 20, shortcuts with a convolution; resnet56: depth 56, shortcuts without; as published with width 16
    vgg16      `VGG16`; as published with width 64
    mobilenetv2  `MobileNetV2`; as published with width 32

    Raises InputError for another kind.
    """
    if kind not in KINDS:
        raise InputError(f"There is no network {kind!r}; there are {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
    bands, height, across = shape
    if kind == "auto":
        kind = "mlp" if max(height, across) < 4 else "cnn"
    if kind == "mlp":
        return MLP(bands * height * across, classes)
    if kind == "resnet18":
        return ResNet18(bands, classes)
    if kind == "resnet10":
        return ResNet10(bands, classes, width)
    if kind == "plain":
        return Plain(bands, classes, width)
    if kind == "resnet20":
        return CIFARResNet(bands, classes, 20, width, projection=True)
    if kind == "resnet56":
        return CIFARResNet(bands, classes, 56, width)
    if kind == "vgg16":
        return VGG16(bands, classes, width, min(height, across))
    if kind == "mobilenetv2":
        return MobileNetV2(bands, classes, width)
    if kind == "cnn":
        return CNN(bands, classes, max(height, across))
    depth = (2, 2, 4, 4, 4) if kind == "vgg19" else (1, 2, 2, 2)
    return VGG(bands, classes, width, depth, min(height, across))


def halves(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A network of `classifier` as two that share its weights: up to the input of the last layer, and the last layer.

    They follow `train()` and `eval()` of the network. Raises InputError for a network of another form.
    """
    if isinstance(network, Classifier):
        return network.features, network.head
    if isinstance(network, nn.Sequential) and isinstance(network[-1], nn.Linear):
        return nn.Sequential(*list(network)[:-1]), network[-1]
    raise InputError(f"The last layer of {type(network).__name__} is not known; use a network of classifier().")


# --- with `features` before the last layer ----------------------------------------------------------------------------


class Classifier(nn.Module):
    """(N, bands, h, w) -> logits (N, classes); `features` gives the input of the last layer, `head`."""

    features: nn.Module
    head: nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        """`(N, bands, h, w)` -> logits `(N, classes)`."""
        return self.head(self.features(x))


class MLP(Classifier):
    """For spectra: two hidden layers of 128 and 64."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.head = nn.Linear(64, classes)


class CNN(Classifier):
    """For chips: 3 x 3 convolutions of 12, 24, 48, 96, 96... channels, halved in between down to 4 x 4; 48 hidden units.

    With three or more convolutions (sides above 8) each is batch-normalised; without it they hardly learn. For 8 x 8 digits:
    12 and 24 channels, 48 hidden units, 21,706 parameters.
    """

    def __init__(self, bands: int, classes: int, side: int) -> None:
        super().__init__()
        halvings = max(0, math.ceil(math.log2(side / 4)))
        widths = [min(12 * 2**i, 96) for i in range(max(halvings + 1, 2))]
        deep = len(widths) > 2
        layers: list[nn.Module] = []
        for i, width in enumerate(widths):
            layers.append(nn.Conv2d(bands, width, 3, padding=1, bias=not deep))
            layers += [nn.BatchNorm2d(width), nn.ReLU()] if deep else [nn.ReLU()]
            if i < halvings:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            bands = width
        layers += [WindowMean(min(side, 4)), nn.Flatten(), nn.Linear(bands * min(side, 4) ** 2, 48), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(48, classes)


class WindowMean(nn.AdaptiveAvgPool2d):
    """Mean over `output_size` x `output_size` windows. On a GPU with equal windows, the gradient is the same in each call.

    The gradient of torch's own module adds there in any order, so a run would not repeat.
    """

    output_size: int

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, y, x) -> (N, channels, output_size, output_size)."""
        side = self.output_size
        rows, columns = x.shape[-2:]
        if not x.is_cuda or rows % side or columns % side:
            return super().forward(x)
        return x.unflatten(-1, (side, columns // side)).unflatten(-3, (side, rows // side)).mean((-3, -1))


class ResNet18(Classifier):
    """The ResNet-18 of the CIFAR experiments: no first pooling, stages of 64, 128, 256, 512; K. He et al., CVPR 2016.

    11,173,962 parameters with 3 bands and 10 classes.
    """

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(bands, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        for i, o, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
            layers += [Residual(i, o, stride), Residual(o, o, 1)]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(512, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, and a shortcut."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.first, self.norm_1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.second, self.norm_2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        short = (nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))
        self.short = nn.Identity() if i == o and stride == 1 else nn.Sequential(*short)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, i, h, w)` -> `(N, o, h / stride, w / stride)`."""
        h = self.norm_2(self.second(F.relu(self.norm_1(self.first(x)))))
        return F.relu(h + self.short(x))


# --- with `width` channels in the first stage ----------------------------------------------------------------------------


class VGG(nn.Sequential):
    """Stages of 3 x 3 convolutions with batch norm, width doubling up to 8 times, halved in between while at least 4 pixels wide.

    (N, bands, y, x) -> (N, classes). depth (2, 2, 4, 4, 4), width 64 are the convolutions of VGG-19: 20 million weights.
    """

    def __init__(
        self, bands: int, classes: int, width: int = 16, depth: Sequence[int] = (1, 2, 2, 2), side: int = 64
    ) -> None:
        layers: list[nn.Module] = []
        channels = bands
        for stage, convolutions in enumerate(depth):
            wide = width * 2 ** min(stage, 3)
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
                channels = wide
            if side >= 4 and stage < len(depth) - 1:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class BareResidual(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, and a shortcut without it.

    Its layers keep the names used in saved weights, which differ from those of `Residual`.
    """

    def __init__(self, channels: int, wide: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, wide, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(wide)
        self.second = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(wide)
        same = stride == 1 and channels == wide
        self.short = nn.Identity() if same else nn.Conv2d(channels, wide, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, h, w)` -> `(N, wide, h / stride, w / stride)`."""
        y = self.norm2(self.second(F.relu(self.norm(self.first(x)))))
        return F.relu(y + self.short(x))


class ResNet10(nn.Sequential):
    """A stem and four residual blocks, each twice as wide and half as large as the one before."""

    def __init__(self, bands: int, classes: int, width: int = 16) -> None:
        wides = [width * 2**i for i in range(4)]
        blocks = [
            BareResidual(c, w, 1 if i == 0 else 2) for i, (c, w) in enumerate(zip([width, *wides], wides, strict=False))
        ]
        super().__init__(
            nn.Conv2d(bands, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(wides[-1], classes),
        )


class Plain(nn.Sequential):
    """Two convolutions and two linear layers, no normalisation: small, and more sensitive to a wrong gradient than the others."""

    def __init__(self, bands: int, classes: int, width: int = 16) -> None:
        super().__init__(
            nn.Conv2d(bands, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveMaxPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * width, 5 * width),
            nn.ReLU(inplace=True),
            nn.Linear(5 * width, classes),
        )
