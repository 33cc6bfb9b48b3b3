"""Bit operations against sums by hand and the published lists of channels and bits of PIC-PQ."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from workbench.errors import InputError
from workbench.parts.bops import bill, count_bops
from workbench.parts.networks import classifier
from workbench.parts.pruning import sizes

CHIP = torch.zeros(1, 3, 32, 32)
RESNET56 = (16, 2, *[16] * 11, 2, 16, 2, 16, 16, 16, *[4, 32] * 9, *[64] * 6, 7, 64, 7, 64, 64, 64, 7, 64, 7, 64, 7, 64)
VGG16 = (64, 64, 13, 128, 256, 26, 256, 512, 52, 512, 512, 52, 52)


def published(kind, width, channels, caps):
    """(network, bits, layers to bill) of a list of channels; bits by the share of filters kept, penalty 1/6, as the code prints them."""
    network = classifier(kind, (3, 32, 32), 10, width)
    modules, found, bits, layers, before = dict(network.named_modules()), sizes(network, CHIP), {}, [], 3
    convolutions = [n for n in found if isinstance(modules[n], nn.Conv2d)]
    for name, left, cap in zip(convolutions, channels, caps, strict=True):
        share = left / found[name].outs
        bits[name] = cap if share == 1 else max(2, cap - math.ceil(1 / 6 / share))
        layers.append((name, found[name].unit * before * left, 9 * before, False))
        before = left
    for name in list(found)[len(convolutions) :]:
        ins = before if kind == "vgg16" and modules[name].out_features > 10 else found[name].ins
        layers.append((name, ins * found[name].outs, ins, True))
    return network, bits, layers


def test_the_worked_numbers():
    """3 -> 16 channels, 3 x 3, 32 x 32: 442,368 MACs."""
    conv = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1))
    whole = count_bops(conv, CHIP)
    assert (whole.macs, whole.bops) == (442_368, 452_984_832)
    assert count_bops(conv, CHIP, {"0": 4}, input_bits={"0": 8}).bops == 14_155_776
    assert count_bops(conv, CHIP, {"0": 4}, "own-act").bops == 442_368 * 16
    assert count_bops(conv, CHIP, {"0": 4}, "list-order").bops == 442_368 * 4 * 32
    assert count_bops(conv, CHIP, {"0": 4}, "uniq").bops == pytest.approx(442_368 * (16 + 8 + math.log2(27)))
    assert str(whole) == "0.453 GBOPs (input-act)"


@pytest.mark.parametrize(
    ("kind", "width", "parameters", "macs", "convolutions"),
    [
        ("resnet56", 16, 853_018, 125_485_696, 55),
        ("vgg16", 64, 14_987_722, 313_463_808, 13),
        ("resnet20", 16, 272_474, 40_813_184, 21),
    ],
)
def test_networks_of_the_paper_have_its_numbers(kind, width, parameters, macs, convolutions):
    network = classifier(kind, (3, 32, 32), 10, width)
    assert sum(p.numel() for p in network.parameters()) == parameters
    count = count_bops(network, CHIP)
    assert count.macs == macs
    assert count.bops == macs * 1024
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == convolutions


def test_mobilenet_has_its_52_convolutions():
    network = classifier("mobilenetv2", (3, 32, 32), 100, 32)
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == 52
    by_hand = sum(p.numel() for p in network.parameters())
    assert by_hand == 2_351_972  # 2,223,872 of the published features, and 1280 x 100 + 100


def test_resnet56_of_the_paper_recounted():
    """Its published channels and bits give 45.9, not 54.96; caps alone 24.2; 18.6 with the streams that stay in float
    (first convolutions of all blocks but the first, which reads the first convolution's ReLU; 18.5 with that one too)."""
    caps = [32] + [8] * 18 + [6] * 18 + [4] * 18
    network, bits, layers = published("resnet56", 16, RESNET56, caps)
    whole = count_bops(network, CHIP).bops
    assert whole == pytest.approx(128.497e9, rel=1e-5)
    assert whole / bill(layers, bits, "own-act").bops == pytest.approx(45.9, abs=0.05)
    assert whole / bill(layers, {}, "own-act").bops == pytest.approx(2.24, abs=0.005)
    convolutions = [name for name, *_, linear in layers if not linear]
    uncut = dict(zip(convolutions, caps, strict=True))
    assert whole / count_bops(network, CHIP, uncut, "own-act").bops == pytest.approx(24.2, abs=0.05)
    streams = {name: 32 if n % 2 and n > 1 else bits[name] for n, name in enumerate(convolutions)}
    assert whole / bill(layers, bits, "input-act", streams).bops == pytest.approx(18.646, abs=0.001)


def test_vgg_of_the_paper_recounted():
    network, bits, layers = published("vgg16", 64, VGG16, [32] + [8] * 3 + [6] * 3 + [4] * 6)
    assert list(bits.values()) == [32, 8, 6, 8, 6, 4, 6, 4, 2, 4, 4, 2, 2]  # the list printed in the code, exactly
    assert count_bops(network, CHIP).bops / bill(layers, bits, "own-act").bops == pytest.approx(53.6, abs=0.05)


def test_a_shared_layer_is_billed_for_each_of_its_runs():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.conv(self.conv(x))

    assert count_bops(Shared(), torch.zeros(1, 3, 4, 4)).macs == 2 * 9 * 16


def test_an_unknown_convention_is_refused():
    with pytest.raises(InputError, match="Did you mean 'uniq'"):
        count_bops(nn.Sequential(nn.Conv2d(3, 4, 1)), CHIP, convention="unique")
