"""The machine and the latency of a file."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

from workbench.parts.deployed import latencies, machine


def test_the_machine_is_named():
    found = machine()
    assert found["cpu"]
    assert set(found["instructions"]) <= {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


def test_latencies_of_files_are_variables_that_say_where_they_were_measured(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    form = onnx.TensorProto.FLOAT, ["batch", 1, 64, 64]
    ends = [onnx.helper.make_tensor_value_info(name, *form) for name in ("image", "out")]
    paths = {}
    for name, times in (("short", 1), ("long", 60)):
        values = ["image", *(f"v{n}" for n in range(times - 1)), "out"]
        nodes = [onnx.helper.make_node("Sin", [a], [b]) for a, b in pairwise(values)]
        graph = onnx.helper.make_graph(nodes, name, ends[:1], ends[1:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
        paths[name] = tmp_path / f"{name}.onnx"
        onnx.save(model, paths[name])
    result = xr.Dataset().assign(latencies(paths, np.zeros((4, 1, 64, 64), np.float32), turns=8))
    latency = result["latency"]
    assert latency.dims == ("file", "batch", "statistic")
    assert latency["batch"].values.tolist() == ["one image", "4 images"]
    assert (latency.values > 0).all()
    assert (latency.sel(statistic="median") <= latency.sel(statistic="p95")).all()
    assert (latency.sel(file="long", statistic="median") > latency.sel(file="short", statistic="median")).all()
    assert latency.attrs["cpu"] == machine()["cpu"]
    assert (latency.attrs["threads"], latency.attrs["units"]) == (1, "ms")
