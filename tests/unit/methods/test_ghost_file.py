"""The exported file of GHOST: it runs without torch, holds the trained integers, and answers as the trained network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr

from workbench.config import override
from workbench.data.synth_ships import small
from workbench.errors import InputError
from workbench.event import drain
from workbench.execution import calibrated, execute, export
from workbench.methods import load
from workbench.methods.ghost import SMOKE, Config, Detector, exportable, load_network
from workbench.methods.ghost.deploy import decoded
from workbench.methods.ghost.training import GRIDS
from workbench.parts import onnx_loader
from workbench.parts.export import Exportable, write
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
@pytest.mark.parametrize("network", ["small", "sarnet"])
def test_files_are_measured_beside_int8_without_training(network):
    pytest.importorskip("onnxruntime")
    changes = {"rivals": [], "uniform_bits": [], "files": True, "steps": 60, "student_steps": 20, "width": 4, "crop": 64}
    changes |= {"network": network} | ({"steps": 20, "student_steps": 8} if network == "sarnet" else {})
    r = drain(load("ghost").run(small(seed=0).compute(), override(Config(), {**SMOKE, **changes}))).result
    assert float(r["ap50_file_teacher"]) == pytest.approx(float(r["ap50_teacher"]), abs=1e-3)  # the same network
    assert float(r["ap50_file"]) == pytest.approx(float(r["ap50"]), abs=0.1)
    assert np.isfinite(float(r["ap50_ptq8"]))
    assert r["latency"].dims == ("file", "batch", "statistic")
    assert (r["latency"].values > 0).all()
    assert (r["latency"].sel(statistic="median") <= r["latency"].sel(statistic="p95")).all()
    assert float(r["milliseconds_file"]) == float(r["latency"].sel(file="ghost", batch="one image", statistic="median"))
    assert {"threads", "cpu", "instructions"} <= set(r["latency"].attrs)
    assert float(r["kilobytes_file"]) > float(r["kilobytes"])  # one byte for each code, and the graph


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"crop": 32}, "images of 32 x 32 pixels.*has 64 x 64"),
        ({"quantizer": "published"}, "cannot measure a copy with quantizer=published.*leave files away"),
    ],
)
def test_files_that_cannot_be_measured_are_refused_before_training(changes, says):
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match=says):
        next(load("ghost").run(small(seed=0).compute(), override(Config(), {**SMOKE, "files": True, **changes})))


@pytest.mark.long
def test_the_exported_file_is_the_mixed_bit_detector(tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    ships = small(seed=0).compute()
    execute("ghost", ships, {**SMOKE, "rivals": [], "uniform_bits": [], "steps": 30, "student_steps": 10}, tmp_path / "run")
    made = export(tmp_path / "run", tmp_path / "small.onnx")
    assert [p.name for p in made] == ["small.onnx", "small.json", "small_loader.py"]
    trained, image = load_network(tmp_path / "run"), ships["image"].values.mean(1, keepdims=True).astype(np.float32)
    with torch.no_grad():
        wanted = [w.numpy() for w in exportable(tmp_path / "run").network(torch.from_numpy(image))]
    plain, levels = onnxruntime.SessionOptions(), onnxruntime.GraphOptimizationLevel
    plain.graph_optimization_level = levels.ORT_DISABLE_ALL
    for options, most in (
        (plain, 1e-3),
        (None, 0.05),
    ):  # fused integer convolutions round a number on the edge of two codes either way
        session = onnxruntime.InferenceSession(str(tmp_path / "small.onnx"), options, providers=["CPUExecutionProvider"])
        for ours, theirs in zip(session.run(["box", "score"], {"image": image}), wanted, strict=True):
            assert np.abs(ours - theirs).mean() <= most * np.abs(theirs).max()
    about = json.loads((tmp_path / "small.json").read_text())
    assert about["bits"] == trained.bits
    assert len(set(trained.bits.values())) > 1  # mixed
    tensors = [onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "small.onnx").graph.initializer]
    codes = sorted((t for t in tensors if t.dtype == np.int8 and t.ndim == 4), key=lambda t: t.size)
    assert len(codes) == len(trained.bits)  # every layer that has bits is a layer of integers
    assert max(int(np.abs(t.astype(int)).max()) for t in codes) <= 2 ** (max(trained.bits.values()) - 1)


@pytest.mark.long
def test_the_file_of_colour_and_infrared_answers_as_the_network(tmp_path):
    """Four bands, three of them noise: the mixed-bit file gives the boxes of the trained network, and knows the order of its bands."""
    onnxruntime = pytest.importorskip("onnxruntime")
    ships = small(seed=0).compute()
    noise = np.random.default_rng(0).random((18, 3, 64, 64), np.float32)
    values = np.concatenate([noise, ships["image"].values.mean(1, keepdims=True)], 1)
    bands = xr.DataArray(values, dims=("sample", "band", "y", "x"), coords={"band": ["red", "green", "blue", "infrared"]})
    scene = ships.drop_vars(["image", "band"], errors="ignore").assign(image=bands)
    changes = {"bands": "all", "rivals": [], "uniform_bits": [], "steps": 30, "student_steps": 10, "width": 4}
    execute("ghost", scene, {**SMOKE, **changes}, tmp_path / "run")
    path, *_ = export(tmp_path / "run", tmp_path / "four.onnx")
    trained = load_network(tmp_path / "run")
    assert len(set(trained.bits.values())) > 1  # mixed
    with torch.no_grad():
        wanted = [w.numpy() for w in decoded(trained.network, trained.config)(torch.from_numpy(values))]
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for options, most in ((plain, 1e-3), (None, 0.05)):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for ours, theirs in zip(session.run(["box", "score"], {"image": values}), wanted, strict=True):
            assert np.abs(ours - theirs).mean() <= most * np.abs(theirs).max()
    model = onnx_loader.Model(path)
    assert model.about["bands"] == 4
    box, score, _ = onnx_loader.detect(model, values[3], threshold=0.0)
    assert (box >= 0).all()
    assert box.max() <= 64
    other = onnx_loader.detect(model, values[3, ::-1], threshold=0.0)[1]
    assert not np.allclose(score[:5], other[:5], rtol=1e-3)
    larger = np.concatenate([values[3], values[4, :, :, :30]], 2)  # tiles
    assert onnx_loader.detect(model, larger, threshold=0.0)[0].max() > 64


@pytest.mark.long
def test_int8_of_a_float_detector_runs(tmp_path):
    """Scaling and decoding have scalars, which onnxruntime quantised too, and could not run then."""
    onnxruntime = pytest.importorskip("onnxruntime")
    config = override(Config(), SMOKE)
    torch.manual_seed(0)
    network, x = Detector(1, 1, 2).eval(), torch.rand(8, 1, config.crop, config.crop)
    made = Exportable(decoded(network, config), {"image": x[:2]}, ("box", "score"))
    np.save(tmp_path / "x.npy", x.numpy())
    (path, *_) = write(made, tmp_path / "int8.onnx", int8=calibrated(made, tmp_path / "x.npy"))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    box, score = session.run(["box", "score"], {"image": x.numpy()})
    assert box.shape[:2] == score.shape[:2] == (8, sum((config.crop // s) ** 2 for s in (8, 16, 32)))
    with torch.no_grad():
        wanted = made.network(x)[0].numpy()
    assert np.abs(box - wanted).mean() < 0.05 * np.abs(wanted).max()
