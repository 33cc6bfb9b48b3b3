"""Networks of integers: the same numbers as the trained network, layer by layer, in torch and in the file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from workbench.errors import InputError
from workbench.execution import calibrated
from workbench.parts.export import Exportable, write
from workbench.parts.export_quantized import Integers, for_file, integer_weights, integers, packed_bytes
from workbench.parts.networks import classifier
from workbench.parts.quantize import fit, in_float, layers, quantize


def trained(kind="resnet20", bits=4, quantizer="lsq", side=8):
    """A quantised network with norms that are not those of the start, some with negative factors."""
    torch.manual_seed(0)
    network, x = classifier(kind, (3, side, side), 4, width=4), torch.randn(48, 3, side, side)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -0.4, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    names = list(layers(network))
    ends = 8 if quantizer == "lsq" else 32
    quantize(network.eval(), {n: ends if n in (names[0], names[-1]) else bits for n in names}, quantizer)
    fit(network, x)
    return network, x


@pytest.mark.parametrize(
    ("kind", "bits", "quantizer"),
    [("resnet20", 4, "lsq"), ("resnet20", 2, "lsq"), ("vgg", 3, "lsq"), ("vgg", 4, "published"), ("vgg", 4, "dorefa")],
)
def test_integers_compute_what_the_trained_network_computes(kind, bits, quantizer):
    network, x = trained(kind, bits, quantizer)
    whole = integers(network, x)
    norms = [m for m in whole.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == (0 if quantizer == "lsq" else 1)  # the first layer of the published one is in float
    codes = [m.codes for m in whole.modules() if isinstance(m, Integers)]
    assert all(c.dtype == torch.int8 for c in codes)
    most = 2**bits - 1 if quantizer == "dorefa" else 2 ** (bits - 1)
    assert all(int(c.abs().max()) <= most for c in codes[1:-1])
    with torch.no_grad():
        torch.testing.assert_close(whole(x), network(x), rtol=1e-4, atol=1e-4)


def test_the_codes_of_each_layer_agree_on_the_same_inputs():
    """At least 99 % of the codes of every layer's input, and all of the first layer's, when both are given the trained one's inputs."""
    network, x = trained()
    whole = integers(network, x)
    outputs, readers = {}, dict(layers(network))
    own = {n: m for n, m in whole.named_modules() if isinstance(m, Integers)}
    given = {}
    for name, layer in readers.items():
        layer.register_forward_hook(lambda module, args, out, name=name: outputs.update({name: out}))
        layer.register_forward_pre_hook(lambda module, args, name=name: given.update({name: args[0]}), prepend=True)
    with torch.no_grad():
        network(x)
        for number, (name, module) in enumerate(own.items()):
            ours, theirs = module.input_codes(given[name]), readers[name].input_quantizer.codes(given[name])
            equal = float((ours == theirs).float().mean())
            assert equal == 1 if number == 0 else equal >= 0.99


def test_bytes_are_counted_by_hand():
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    quantize(network, {"0": 4, "3": 3})
    fit(network, torch.rand(4, 2, 8, 8))
    whole = integers(network, torch.rand(2, 2, 8, 8))
    assert integer_weights(whole) == 72 + 4 + 432 + 3
    assert packed_bytes(whole) == 72 * 4 / 8 + 432 * 3 / 8 + 4 * (4 + 4 + 1 + 3 + 3 + 1)


def test_codes_that_do_not_fit_into_8_bits_are_refused():
    network, x = nn.Sequential(nn.Conv2d(3, 4, 3)), torch.rand(2, 3, 8, 8)
    assert int(integers(quantize(network, {"0": 7}, "dorefa"), x)[0].codes.abs().max()) == 127
    with pytest.raises(InputError, match="codes from -255 to 255"):
        integers(quantize(nn.Sequential(nn.Conv2d(3, 4, 3)), {"0": 8}, "dorefa"), x)


def test_a_network_in_float_and_a_half_quantised_layer_are_refused():
    network, x = classifier("vgg", (3, 8, 8), 4, width=4), torch.rand(2, 3, 8, 8)
    with pytest.raises(InputError, match="no quantised layer; quantise it first"):
        integers(network, x)
    name = next(iter(layers(network)))
    quantize(network, {name: 32}, activation_bits={name: 8})
    with pytest.raises(InputError, match=f"Layer {name!r} has a quantised input and weights in float"):
        integers(network, x)


def test_a_normalisation_that_is_not_alone_cannot_be_folded():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            nn.init.constant_(self.norm.weight, 3.0)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    network, x = Forked().eval(), torch.randn(8, 3, 8, 8)
    fit(quantize(network, {"conv": 8}), x)
    with pytest.raises(InputError, match="other numbers after its batch normalisation was folded"):
        integers(network, x)


@pytest.mark.long
def test_the_file_answers_as_the_trained_network(tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    network, x = trained("vgg", 4)
    whole = integers(network, x)
    paths = write(Exportable(whole, {"image": x}, ("logits",), {"task": "classes"}, rounding=True), tmp_path / "net.onnx")
    assert [p.name for p in paths] == ["net.onnx", "net.json", "net_loader.py"]
    session = onnxruntime.InferenceSession(str(paths[0]), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": x.numpy()})[0]
    with torch.no_grad():
        wanted, in_floats = network(x).numpy(), None
        with in_float(network):
            in_floats = network(x).numpy()
    assert (found.argmax(1) == wanted.argmax(1)).mean() >= 0.95
    assert (
        np.abs(found - wanted).mean() < 0.2 * np.abs(in_floats - wanted).mean()
    )  # the file is the quantised network, not the float one
    model = onnx.load(str(paths[0]))
    kept = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    codes = [m.codes.numpy() for m in whole.modules() if isinstance(m, Integers)]
    stored = [a for a in kept.values() if a.dtype == np.int8 and a.ndim > 1]
    assert all(any(a.shape == c.shape and np.array_equal(a, c) for a in stored) for c in codes)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {n.op_type for n in model.graph.node}
    assert "BatchNormalization" not in {n.op_type for n in model.graph.node}
    with for_file(whole), torch.no_grad():
        pass
    with torch.no_grad():
        torch.testing.assert_close(whole(x), network(x), rtol=1e-4, atol=1e-4)  # the export leaves the network as it was


@pytest.mark.long
def test_inputs_of_few_bits_give_the_same_answers_however_the_file_is_optimised(tmp_path):
    """onnxruntime rounds the bias of an integer convolution; with inputs of few bits that moved the outputs."""
    onnxruntime = pytest.importorskip("onnxruntime")
    network, x = trained("cnn", 2)
    whole = integers(network, x)
    path = write(Exportable(whole, {"image": x}, ("logits",), rounding=True), tmp_path / "net.onnx")[0]
    with torch.no_grad():
        wanted = whole(x).numpy()
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        found = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(
            None, {"image": x.numpy()}
        )[0]
        assert np.abs(found - wanted).mean() < 1e-5 * np.abs(wanted).max(), level


@pytest.mark.long
def test_int8_of_a_float_network_iscalibrated_and_checked(tmp_path):
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network, x = classifier("vgg", (3, 8, 8), 4, width=4).eval(), torch.rand(32, 3, 8, 8)
    made = Exportable(network, {"image": x[:8]}, ("logits",))
    small = write(made, tmp_path / "int8.onnx", int8=calibrated(made, saved(tmp_path / "x.npy", x.numpy())))
    about = json.loads(small[1].read_text())
    assert about["file"] == "int8.onnx"
    assert 0 < about["difference_to_torch"] < 0.05
    made = Exportable(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), {"image": x[:8]}, ("logits",))
    with pytest.raises(InputError, match=r"differs from torch by .* on average.*Calibrate with more inputs"):
        write(made, tmp_path / "bad.onnx", int8=calibrated(made, saved(tmp_path / "y.npy", 1e-3 * x.numpy())))
    assert not list(tmp_path.glob("bad*"))


def saved(path, array):
    np.save(path, array)
    return path


def test_calibration_needs_inputs_of_the_network(tmp_path):
    x = torch.rand(2, 3, 8, 8)
    made = Exportable(nn.Flatten(), {"image": x}, ("out",))
    for array in (np.zeros((4, 3, 9, 8), np.float32), np.full((4, 3, 8, 8), np.nan, np.float32)):
        with pytest.raises(InputError, match=r"finite inputs \(N, 3, 8, 8\)"):
            calibrated(made, saved(tmp_path / "x.npy", array))
    with pytest.raises(InputError, match=r"needs a .npy file"):
        calibrated(made, tmp_path / "none.npy")
    with pytest.raises(InputError, match="trained bits, as integers; leave out --int8"):
        calibrated(Exportable(nn.Flatten(), {"image": x}, ("out",), rounding=True), tmp_path / "x.npy")
    with pytest.raises(InputError, match="one input; this one has a, b"):
        calibrated(Exportable(nn.Flatten(), {"a": x, "b": x}, ("out",)), tmp_path / "x.npy")


class Odd(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        return self.how(x)


@pytest.mark.long
@pytest.mark.parametrize(
    ("how", "told"),
    [
        (lambda x: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 255), "fake_quantize"),
        (lambda x: x * 2 if x.sum() > 0 else x, "[Dd]ata.dependent"),
    ],
)
def test_operators_that_onnx_does_not_have_are_named_and_nothing_is_written(tmp_path, how, told):
    made = Exportable(Odd(how), {"image": torch.rand(2, 3)}, ("out",))
    with pytest.raises(InputError, match=rf"cannot export this network as ONNX: .*{told}.*Nothing was written"):
        write(made, tmp_path / "odd.onnx")
    assert not list(tmp_path.iterdir())
