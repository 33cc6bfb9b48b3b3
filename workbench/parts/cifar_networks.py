"""Networks that papers on pruning and quantisation compress: ResNet-20 and ResNet-56 of the CIFAR experiments, VGG-16-BN, MobileNetV2.

Parameters and multiply-accumulates (MACs) at 3 x 32 x 32 and ten classes: ResNet-56 853,018 and 125,485,696, VGG-16-BN 14,987,722 and
313,463,808. As in the paper of ResNet, a ReLU follows each sum; the code of PIC-PQ has none there.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class SmallBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; (N, i, h, w) -> (N, o, h / stride, w / stride).

    Where the shape changes, the shortcut is a 1 x 1 convolution, or without parameters: thinned out and padded with zero channels.
    """

    def __init__(self, i: int, o: int, stride: int, projection: bool) -> None:
        super().__init__()
        self.first, self.norm_1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.second, self.norm_2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.stride, self.pad = stride, (o - i) // 2
        changes = stride > 1 or i != o
        short = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if changes and projection else None
        self.short = short

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(shortcut + f(x))."""
        y = self.norm_2(self.second(F.relu(self.norm_1(self.first(x)))))
        if self.short is not None:
            x = self.short(x)
        elif self.pad or self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class CIFARResNet(nn.Sequential):
    """K. He et al., CVPR 2016, section 4.2: depth 6n + 2, stages of width, 2 width and 4 width; as published with width 16.

    stride: of the first convolution; 2 quarters the cost of all others. projection: shortcuts with a convolution where the shape changes
    (option B), so that the filters of whole stages can be pruned; without it shortcuts have no parameters (option A, as published).
    """

    def __init__(
        self, bands: int, classes: int, depth: int = 20, width: int = 16, stride: int = 1, projection: bool = False
    ) -> None:
        wides = [width, width, 2 * width, 4 * width]
        blocks = [
            SmallBlock(o if k else i, o, 2 if k == 0 and o > width else 1, projection)
            for i, o in pairwise(wides)
            for k in range((depth - 2) // 6)
        ]
        super().__init__(
            nn.Conv2d(bands, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, classes),
        )


class VGG16(nn.Sequential):
    """VGG-16 with batch normalisation as PIC-PQ compresses it: 13 convolutions and one hidden layer; as published with width 64.

    K. Simonyan, A. Zisserman, ICLR 2015. Sides of at least 32 are halved four times, smaller ones while they have 4 pixels.
    """

    def __init__(self, bands: int, classes: int, width: int = 64, side: int = 32) -> None:
        layers: list[nn.Module] = []
        channels = bands
        for stage, convolutions in enumerate((2, 2, 3, 3, 3)):
            wide = width * 2 ** min(stage, 3)
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
                channels = wide
            if stage < 4 and side >= 4:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        hidden = [nn.Linear(channels, channels), nn.BatchNorm1d(channels), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *hidden, nn.Linear(channels, classes))


class InvertedResidual(nn.Module):
    """Widen, filter each channel on its own, narrow; with a shortcut where the shape stays."""

    def __init__(self, i: int, o: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = i * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(i, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(inplace=True)]
        layers += [
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
        ]
        self.body = nn.Sequential(*layers, nn.Conv2d(wide, o, 1, bias=False), nn.BatchNorm2d(o))
        self.short = stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        """`(N, i, h, w)` -> `(N, o, h / stride, w / stride)`."""
        return x + self.body(x) if self.short else self.body(x)


class MobileNetV2(nn.Sequential):
    """M. Sandler et al., CVPR 2018: 52 convolutions; as published with width 32. The first two strides are 1, for small chips."""

    # expansion, channels at width 32, blocks, stride of the first of them
    STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, bands: int, classes: int, width: int = 32) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(bands, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(inplace=True),
        ]
        channels = width
        for expansion, published, blocks, stride in self.STAGES:
            wide = max(1, published * width // 32)
            for k in range(blocks):
                layers.append(InvertedResidual(channels, wide, stride if k == 0 else 1, expansion))
                channels = wide
        last = 1280 * width // 32
        layers += [nn.Conv2d(channels, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU6(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))
