"""The exported file of GHOST: it runs without torch, holds the trained integers, and answers as the trained network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from workbench.data.synth_ships import small
from workbench.execution import execute, export
from workbench.methods.ghost import SMOKE, exportable, load_network
from workbench.methods.ghost.training import GRIDS
from workbench.parts.quantize import EvenWeight, LearnedStep, grids


@pytest.mark.parametrize(("quantizer", "kind"), [("lsq", LearnedStep), ("published", EvenWeight)])
def test_a_network_is_built_again_with_the_quantiser_of_its_run(quantizer, kind, tmp_path):
    """The published quantiser is that of the authors' code: DoReFa's own grid, without 0."""
    changes = {"quantizer": quantizer, "rivals": [], "uniform_bits": [], "steps": 2, "student_steps": 1}
    execute("ghost", small(seed=0).compute(), {**SMOKE, **changes}, tmp_path / "run")
    network = load_network(tmp_path / "run").network
    assert any(isinstance(g, kind) for g in grids(network))
    assert set(GRIDS) == {"lsq", "published"}


@pytest.mark.long
def test_the_exported_file_is_the_mixed_bit_detector(tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    ships = small(seed=0).compute()
    execute("ghost", ships, {**SMOKE, "rivals": [], "uniform_bits": [], "steps": 30, "student_steps": 10}, tmp_path / "run")
    made = export(tmp_path / "run", tmp_path / "small.onnx")
    assert [p.name for p in made] == ["small.onnx", "small.json", "small_loader.py"]
    trained, image = load_network(tmp_path / "run"), ships["image"].values.mean(1, keepdims=True).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "small.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(["box", "score"], {"image": image})
    with torch.no_grad():
        wanted = exportable(tmp_path / "run").network(torch.from_numpy(image))
    for ours, theirs in zip(found, wanted, strict=True):  # a number on the edge of two codes goes either way
        assert np.abs(ours - theirs.numpy()).mean() <= 0.05 * np.abs(theirs.numpy()).max()
        assert np.corrcoef(ours.ravel(), theirs.numpy().ravel())[0, 1] > 0.99
    about = json.loads((tmp_path / "small.json").read_text())
    assert about["bits"] == trained.bits
    assert len(set(trained.bits.values())) > 1  # mixed
    tensors = [onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "small.onnx").graph.initializer]
    codes = sorted((t for t in tensors if t.dtype == np.int8 and t.ndim == 4), key=lambda t: t.size)
    assert len(codes) == len(trained.bits)  # every layer that has bits is a layer of integers
    assert max(int(np.abs(t.astype(int)).max()) for t in codes) <= 2 ** (max(trained.bits.values()) - 1)
