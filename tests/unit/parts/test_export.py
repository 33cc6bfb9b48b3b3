"""Export of a network: it agrees with torch, its manifest names it, and its loader needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from typer.testing import CliRunner

from workbench.cli import app
from workbench.config import override
from workbench.data.synth_ships import small
from workbench.errors import InputError
from workbench.execution import execute, export
from workbench.methods.sarnet import SMOKE, Config, Trained, detect
from workbench.methods.sarnet.deploy import decoded
from workbench.parts import export as exporting
from workbench.parts import onnx_loader
from workbench.parts.export import Exportable, folded, write
from workbench.parts.sarnet_network import SARNet

CONFIG = override(Config(), {"width": 4, "crop": 64, "margin": 24, "threshold": 0.012})


def trained(seed: int = 3) -> Trained:
    """A network with random weights and running statistics that are not those of the start, and scores that spread."""
    torch.manual_seed(seed)
    network = SARNet(2, CONFIG.width)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    for head in network.head:
        nn.init.normal_(head[1].weight, std=0.3)
        nn.init.constant_(head[1].bias, -1.0)
    return Trained(network.eval(), CONFIG, ["ship", "boat"], 0.05)


def test_folding_keeps_the_function_and_leaves_no_normalisation_after_a_convolution():
    network = trained().network
    x = torch.rand(2, 1, 64, 64)
    once = folded(network)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in once.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in network.modules())  # the network itself is as it was
    with torch.inference_mode():
        for a, b in zip(network(x).levels, once(x).levels, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_only_onnx_is_written_and_missing_packages_are_named(tmp_path, monkeypatch):
    made = Exportable(nn.Conv2d(1, 1, 1), {"image": torch.rand(2, 1, 4, 4)}, ("out",))
    with pytest.raises(InputError, match="exported as .onnx; got 'net.pt'"):
        write(made, tmp_path / "net.pt")
    monkeypatch.setattr(exporting, "_installed", lambda name: name != "onnxscript")
    with pytest.raises(InputError, match=r"needs onnxscript: pip install \"workbench\[deploy\]\""):
        write(made, tmp_path / "net.onnx")


@pytest.mark.long
def test_a_file_that_disagrees_is_not_written(tmp_path, monkeypatch):
    made = Exportable(nn.Conv2d(1, 1, 1), {"image": torch.rand(2, 1, 4, 4)}, ("out",))
    monkeypatch.setattr(exporting, "disagreement", lambda *_, mean: 0.5)
    with pytest.raises(InputError, match=r"differs from torch by 0.5"):
        write(made, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> tuple[Trained, Path]:
    """A detector with random weights, and where it was exported to."""
    ours = trained()
    facts = {"task": "boxes", "classes": ours.names, "side": 64, "strides": [8, 16, 32], "margin": 24}
    facts |= {"overlap": CONFIG.overlap, "threshold": ours.operating, "most": 50}
    made = Exportable(decoded(ours).eval(), {"image": torch.rand(2, 1, 64, 64)}, ("box", "score"), facts)
    return ours, write(made, tmp_path_factory.mktemp("made") / "ships.onnx", {"method": "sarnet"})[0]


@pytest.mark.long
@pytest.mark.parametrize("size", [(64, 64), (150, 130), (40, 200), (20, 20)])
def test_the_loader_finds_what_torch_finds_in_an_image_of_any_size(detector, size):
    ours, path = detector
    image = np.random.default_rng(size[0]).random(size, np.float32) ** 3
    wanted = detect(ours, xr.DataArray(image[None], dims=("band", "y", "x")), threshold=0.05, most=50)
    box, score, label = onnx_loader.detect(onnx_loader.Model(path), image)
    assert len(box) == wanted.sizes["object"] > 3
    assert (np.diff(score) <= 0).all()
    # rounding exchanges neighbours of equal score, so both are ordered by place
    ours, theirs = (np.argsort(np.round(b[:, 0]) + 1000 * np.round(b[:, 1])) for b in (box, wanted["box"].values))
    np.testing.assert_allclose(score[ours], wanted["box_score"][theirs], atol=1e-5)
    np.testing.assert_allclose(box[ours], wanted["box"][theirs], atol=2e-3)
    np.testing.assert_array_equal(label[ours], wanted["box_label"][theirs])


@pytest.mark.long
def test_a_batch_of_any_size_and_the_manifest(detector):
    ours, path = detector
    model = onnx_loader.Model(path)
    x = torch.rand(5, 1, 64, 64)
    with torch.inference_mode():
        box, score = decoded(ours)(x)
    found = model.run(image=x.numpy())
    np.testing.assert_allclose(found["box"], box, atol=2e-3)
    np.testing.assert_allclose(found["score"], score, atol=1e-5)
    assert model.about["inputs"]["image"]["shape"] == ["batch", 1, 64, 64]
    assert model.about["outputs"]["box"]["shape"] == ["batch", 84, 4]
    assert model.about["classes"] == ["ship", "boat"]
    assert 0 <= model.about["difference_to_torch"] < 1e-4
    assert model.about["parameters"] == sum(p.numel() for p in ours.network.parameters())


@pytest.mark.long
def test_a_changed_byte_is_refused(detector, tmp_path):
    _, path = detector
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "ships.onnx").write_bytes(data)
    (tmp_path / "ships.json").write_text(path.with_suffix(".json").read_text())
    with pytest.raises(ValueError, match="its manifest says"):
        onnx_loader.Model(tmp_path / "ships.onnx")


@pytest.mark.process
def test_the_loader_runs_without_torch_and_without_the_workbench(detector, tmp_path):
    _, path = detector
    np.save(tmp_path / "image.npy", np.random.default_rng(1).random((70, 64), np.float32) ** 3)
    lines = [
        "import sys, runpy",
        "sys.modules['torch'] = sys.modules['workbench'] = None",  # importing either would fail
        f"sys.argv = ['loader', {str(path)!r}, {str(tmp_path / 'image.npy')!r}]",
        f"runpy.run_path({str(path.with_name('ships_loader.py'))!r}, run_name='__main__')",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) > 3
    assert all(len(row) == 6 and row[0] in "01" for row in rows)


@pytest.mark.long
def test_a_run_is_exported_with_its_facts_and_other_methods_say_what_can_be(tmp_path):
    ships = small(seed=0).compute()
    execute("sarnet", ships, {**SMOKE, "rivals": [], "seed": 7}, tmp_path / "run")
    done = CliRunner().invoke(app, ["export", str(tmp_path / "run"), str(tmp_path / "made" / "ships.onnx")])
    assert done.exit_code == 0, done.output
    path, about, loader = map(Path, done.stdout.split())
    facts = json.loads(about.read_text())
    assert (facts["classes"], facts["side"], facts["run"]["seed"]) == (["ship"], 64, 7)
    assert facts["run"]["settings"]["width"] == 2
    assert "logarithm is taken inside" in facts["scaling"]
    assert loader.name == "ships_loader.py"
    assert onnx_loader.Model(path).about == facts
    (tmp_path / "run" / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="has not finished"):
        export(tmp_path / "run", tmp_path / "again.onnx")
    execute("rx", "sim-coast-town", {}, tmp_path / "rx")
    with pytest.raises(InputError, match="rx offers no network to export; these methods do: sarnet"):
        export(tmp_path / "rx", tmp_path / "rx.onnx")
