"""The machine and the latency of a file."""

from __future__ import annotations

from workbench.parts.deployed import machine


def test_the_machine_is_named():
    found = machine()
    assert found["cpu"]
    assert set(found["instructions"]) <= {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
