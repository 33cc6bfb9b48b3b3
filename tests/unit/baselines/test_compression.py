"""Every rival with two real gloo ranks: the same parameters everywhere, bytes by formula, checkpoints, steps not finite.

The network: a convolution 1 -> 16 (144 weights, 16 biases), batch norm (2 x 16; buffers 2 x 16 floats and one int64), a
linear layer 1024 -> 10 (10,240 weights, 10 biases): 10,442 parameters.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from workbench.baselines.compression import ABLATIONS, RIVALS, wrap
from workbench.engines.processes import ranks
from workbench.errors import InputError
from workbench.event import drain
from workbench.parts.wire import Layout

sys.path.insert(0, str(Path(__file__).parent))
import crew_compression as crew

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]  # two real gloo processes a test


@pytest.fixture(scope="module")
def run():
    return drain(ranks(crew.rivals, world=2))


@pytest.mark.parametrize("name", RIVALS)
def test_all_ranks_have_the_same_parameters(run, name):
    assert run[name]["same"]


@pytest.mark.parametrize("name", RIVALS)
def test_a_checkpoint_continues_the_same_numbers(run, name):
    assert run[name]["resumed"]
    assert run[name]["resumed counted"] == run[name]["counted"]


@pytest.mark.parametrize("name", RIVALS)
def test_a_step_that_is_not_finite_is_skipped_and_training_goes_on(run, name):
    assert run[name]["skipped"] == [False] * 4 + [True] + [False] * 2
    assert run[name]["finite"]


def test_momentum_is_in_one_place(run):
    inside = {name for name in RIVALS if run[name]["momentum"] == 0}
    assert inside == {"rsdgc", "rsdgc-uniform", "magnitude-dynamic", "magnitude-uniform", "dgc"}


def test_ablations_differ_from_rsdgc_in_indicator_and_budget_alone(run):
    """So that a difference of two rows has one cause."""
    made = {name: run[name]["settings"] for name in ("rsdgc", "rsdgc-uniform", "magnitude-dynamic", "magnitude-uniform")}
    indicator, dynamic = {n: s.pop("indicator") for n, s in made.items()}, {n: s.pop("dynamic") for n, s in made.items()}
    assert indicator == {"rsdgc": "mix", "rsdgc-uniform": "mix"} | dict.fromkeys(
        ("magnitude-dynamic", "magnitude-uniform"), "magnitude"
    )
    assert dynamic == {"rsdgc": 0.5, "rsdgc-uniform": 0.0, "magnitude-dynamic": 0.5, "magnitude-uniform": 0.0}
    assert all(settings == made["rsdgc"] for settings in made.values())


def test_bytes_by_formula(run):
    """Six steps, all ranks: dense 2 (W - 1) 4 n, fp16 half; PowerSGD (rank 2) three steps of dense, then its factors.

    PowerSGD: convolution (16 + 9) 2 * 2 = 100 < 144: 50; linear (10 + 1024) 2 * 2 < 10,240: 2068; vectors 58.
    Top-k and others: k = 0.05 * 10,384 = 519, 58 whole, 2 signals.
    """
    n = 10_442
    assert run["dense"]["counted"] == 6 * 2 * 4 * n
    assert run["fp16"]["counted"] == 6 * 2 * 2 * n
    assert run["powersgd"]["counted"] == 3 * 2 * 4 * n + 3 * 2 * 4 * (50 + 2068 + 58)
    layout = Layout(layers=2, dense=58, sent=519, k=519, n=10_384)
    for name in (*ABLATIONS, "topk", "dgc", "no-feedback"):
        assert run[name]["sent"] == 6 * layout.size
        assert run[name]["counted"] == 6 * 2 * layout.size
    assert run["randomk"]["sent"] == 6 * (4 * (1 + 2 + 58) + 4 * 519)


def test_buffers_are_counted(run):
    """Batch norm's mean and variance of 16 channels and one int64 counter, from rank 0 to rank 1."""
    assert run["dense"]["buffers"] == 2 * 16 * 4 + 8


def test_an_unknown_rival():
    with pytest.raises(InputError, match="Did you mean 'topk'"):
        wrap("top-k", nn.Linear(2, 2))


def test_measured_bytes_are_the_counted_ones_within_5_percent():
    """The loopback counter of the kernel, in a network namespace where nobody else talks; else of this machine."""
    script = [sys.executable, str(Path(crew.__file__))]
    alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("needs unshare and ip, to count bytes where nobody else talks")
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        alone = ["unshare", "--user", "--map-root-user", *alone[1:]]
        if subprocess.run([*alone, "true"], capture_output=True).returncode:
            pytest.skip("network namespaces are not allowed here, and the machine's own counter counts everybody")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*alone, *script], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, networks in json.loads(done.stdout.splitlines()[-1]).items():
        for network, found in networks.items():
            if found["measured"] is None:
                pytest.skip("no /proc/net/dev here")
            assert 0.95 <= found["measured"] / found["counted"] <= 1.05, (name, network, found)
        if name in ("topk", "rsdgc"):  # the messages alone of a small network are not within 5 percent
            assert networks["small"]["measured"] > 1.05 * networks["small"]["messages"]
