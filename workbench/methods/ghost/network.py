"""The detectors: a small one without anchors and with ReLU everywhere, and SAR-Net's.

The maps of the small one are never below 0, so its activations need no sign. The paper's detector is SuperYOLO without its Focus layer, 7.1
million parameters for images of 512 pixels; this one has the same kinds of block, and the head of our other detectors
(`workbench.parts.detect`), so that a CPU can train it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from workbench.parts.quantize import layers
from workbench.parts.sarnet_network import SARNet

STRIDES = (8, 16, 32)
IMAGE = 8  # bits of the image where it enters
BLOCKS = ("stem", "stage 1", "stage 2", "stage 3", "stage 4", "P3", "P4", "P5")  # names of the features
PRIOR = -4.0  # class logit at the start: most places are empty


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    layers = (nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """x + two convolutions of x; (B, n, h, w) -> same. Both terms are at least 0, and so is the sum."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.first, self.second = conv(n, n), conv(n, n)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x + self.second(self.first(x))


class Output(NamedTuple):
    """levels: (B, 4 + classes, h, w) at strides 8, 16, 32. features: the maps of all blocks, in the order of computing."""

    levels: list[Tensor]
    features: list[Tensor]


class Detector(nn.Module):
    """Stem, four stages, a top-down neck, one head a scale. The last convolution of each head is never quantised, as in the paper.

    blocks, channels: names and channels of the features. first: layer -> bits of its input, where the image enters.
    """

    blocks: ClassVar[tuple[str, ...]] = BLOCKS
    first: ClassVar[dict[str, int]] = {"stem.0": IMAGE}

    def __init__(self, inputs: int, classes: int, width: int) -> None:
        super().__init__()
        self.inputs, self.classes = inputs, classes
        stem, n = max(2, width // 2), 4 * width
        widths = [stem, width, 2 * width, 4 * width, 8 * width]
        self.stem = conv(inputs, stem, stride=2)
        self.stages = nn.ModuleList(nn.Sequential(conv(a, b, stride=2), Residual(b)) for a, b in pairwise(widths))
        self.lateral = nn.ModuleList(conv(c, n, 1) for c in widths[2:])
        self.mix = nn.ModuleList(conv(n, n) for _ in range(2))
        self.head = nn.ModuleList(nn.Sequential(conv(n, n), nn.Conv2d(n, 4 + classes, 1)) for _ in STRIDES)
        self.channels = [*widths, n, n, n]  # of the features
        for head in self.head:
            bias = head[1].bias  # type: ignore[index]
            nn.init.zeros_(bias)
            nn.init.constant_(bias[4:], PRIOR)

    @property
    def kept(self) -> list[str]:
        """Layers that stay in float."""
        return [f"head.{n}.1" for n in range(len(STRIDES))]

    def forward(self, x: Tensor) -> Output:
        """x: (B, inputs, H, W), H and W multiples of 32."""
        features = [self.stem(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        p3, p4, p5 = (f(m) for f, m in zip(self.lateral, features[2:], strict=True))
        p4 = self.mix[0](p4 + F.interpolate(p5, scale_factor=2.0, mode="nearest"))
        p3 = self.mix[1](p3 + F.interpolate(p4, scale_factor=2.0, mode="nearest"))
        maps = [p3, p4, p5]
        return Output([head(m) for head, m in zip(self.head, maps, strict=True)], [*features, *maps])


class SARNetDetector(Detector):
    """SAR-Net's detector, whose convolutions are quantised; its linear layers and the last convolution of each head stay in float.

    Its maps have signs, because it has SiLU in place of ReLU.
    """

    blocks: ClassVar[tuple[str, ...]] = ("C2", "C3", "C4", "C5", "P3", "N4", "N5")
    first: ClassVar[dict[str, int]] = {"net.backbone.stem.0": IMAGE}

    def __init__(self, inputs: int, classes: int, width: int) -> None:
        nn.Module.__init__(self)
        self.inputs, self.classes = inputs, classes
        self.net = SARNet(classes, width, inputs=inputs)
        self.channels = [*self.net.backbone.widths, *(4 * width for _ in STRIDES)]

    @property
    def kept(self) -> list[str]:
        """Layers that stay in float."""
        linear = [name for name, layer in layers(self).items() if isinstance(layer, nn.Linear)]
        return [*linear, *(f"net.head.{n}.1" for n in range(len(STRIDES)))]

    def forward(self, x: Tensor) -> Output:
        """As of `Detector`."""
        out = self.net(x)
        return Output(out.levels, list(out.maps))


def detector(network: str, inputs: int, classes: int, width: int) -> Detector:
    """A detector by its name in the settings, with first weights from torch's random state."""
    return (SARNetDetector if network == "sarnet" else Detector)(inputs, classes, width)
