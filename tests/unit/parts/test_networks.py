"""Small classifiers: numbers of weights by hand, shapes, and initial weights that depend on the seed alone."""

from __future__ import annotations

import hashlib

import pytest
import torch

from workbench.errors import InputError
from workbench.parts.networks import CNN, KINDS, MLP, VGG, Plain, ResNet10, ResNet18, WindowMean, classifier, halves
from workbench.parts.seeding import Seeded


@pytest.mark.parametrize(("classes", "count"), [(10, 11_173_962), (100, 11_220_132)])
def test_resnet18_is_that_of_the_paper(classes, count):
    network = ResNet18(3, classes)
    assert sum(p.numel() for p in network.parameters()) == count


def test_cnn_and_the_choice_between_it_and_the_mlp():
    # two convolutions, hidden, head
    expected = (12 * 9 + 12) + (12 * 24 * 9 + 24) + (24 * 16 + 1) * 48 + 49 * 10
    assert sum(p.numel() for p in CNN(1, 10, 8).parameters()) == expected == 21_706
    names = [type(m).__name__ for m in CNN(3, 10, 32).features]
    assert names.count("Conv2d") == names.count("BatchNorm2d") == 4
    assert names.count("MaxPool2d") == 3
    for side in (4, 5, 8, 9, 32, 64):
        assert CNN(2, 3, side)(torch.zeros(2, 2, side, side)).shape == (2, 3)
    assert isinstance(classifier("auto", (144, 1, 1), 15), MLP)
    assert isinstance(classifier("auto", (3, 32, 32), 10), CNN)
    network = ResNet18(3, 10).eval()
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(network.head(network.features(x)), network(x))


def test_networks_by_width():
    """VGG-19 at width 64: 20,018,880 convolution weights of the published network with 3 bands, and 2 * 5504 of norms."""
    vgg19 = VGG(3, 12, 64, (2, 2, 4, 4, 4))
    assert sum(p.numel() for p in vgg19.parameters() if p.dim() == 4) == 20_018_880
    assert sum(p.numel() for p in Plain(1, 10, 16).parameters()) == 160 + 4640 + 41_040 + 810
    for net in (VGG(2, 5, 4, side=8), ResNet10(2, 5, 4), Plain(2, 5, 4)):
        assert net(torch.zeros(3, 2, 8, 8)).shape == (3, 5)
    assert VGG(1, 2, 2, side=4)(torch.zeros(2, 1, 4, 4)).shape == (2, 2)  # 4 -> 2, no further


@pytest.mark.parametrize(
    ("kind", "sha256"),
    [
        ("mlp", "d424b4f2f0655f2c"),
        ("cnn", "7302475cc6858f26"),
        ("resnet10", "a328967f89e738d3"),
        ("plain", "57095eee5ef31042"),
        ("vgg", "4bf2a390891da529"),
    ],
)
def test_initial_weights_stay_as_they_were(kind, sha256):
    """Names, shapes and first weights; committed results and stopped runs depend on all three."""
    with Seeded(4):
        state = classifier(kind, (3, 16, 16), 5, width=4).state_dict()
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    assert digest.hexdigest()[:16] == sha256


@pytest.mark.parametrize("kind", KINDS)
def test_the_two_halves_of_a_network_are_the_network(kind):
    network = classifier(kind, (2, 8, 8), 3).eval()
    features, head = halves(network)
    x = torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        assert torch.equal(head(features(x)), network(x))
    assert {id(p) for half in (features, head) for p in half.parameters()} == {id(p) for p in network.parameters()}
    with pytest.raises(InputError, match="last layer of ReLU"):
        halves(torch.nn.ReLU())


def test_another_kind_is_refused():
    with pytest.raises(InputError, match="Did you mean 'resnet18'"):
        classifier("resnet-18", (3, 8, 8), 2)


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (7, 8)])
def test_the_mean_of_windows_is_that_of_torch_on_a_gpu_too(size, monkeypatch):
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    expected = torch.nn.functional.adaptive_avg_pool2d(x, 4)
    pool = WindowMean(4)
    assert torch.equal(pool(x), expected)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    torch.testing.assert_close(pool(x), expected, rtol=1e-14, atol=0)
