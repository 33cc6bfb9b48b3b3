"""Small classifiers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from workbench.methods.tdds.settings import Config


class Classifier(nn.Module):
    """(N, bands, h, w) -> logits (N, classes); `features` gives what the last layer, `head`, sees."""

    features: nn.Module
    head: nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class MLP(Classifier):
    """For spectra: two hidden layers of 128 and 64."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.head = nn.Linear(64, classes)


class CNN(Classifier):
    """For chips: 3 x 3 convolutions of 12, 24, 48, 96, 96... channels, halved in between down to 4 x 4; 48 hidden.

    From three convolutions on (sides above 8) each is batch-normalised, else they hardly learn. For 8 x 8 digits: 12 and 24
    channels, 48 hidden, 21,706 parameters.
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
        layers += [nn.AdaptiveAvgPool2d(min(side, 4)), nn.Flatten(), nn.Linear(bands * min(side, 4) ** 2, 48), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(48, classes)


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
        h = self.norm_2(self.second(F.relu(self.norm_1(self.first(x)))))
        return F.relu(h + self.short(x))


def classifier(config: Config, shape: Sequence[int], classes: int) -> Classifier:
    """The network of `config.network` for samples of shape (bands, h, w)."""
    bands, height, width = shape
    kind = config.network
    if kind == "auto":
        kind = "mlp" if max(height, width) < 4 else "cnn"
    if kind == "mlp":
        return MLP(bands * height * width, classes)
    return ResNet18(bands, classes) if kind == "resnet18" else CNN(bands, classes, max(height, width))
