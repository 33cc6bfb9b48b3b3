"""Recording and scoring training dynamics: time as a share of the epoch, memory against the straightforward log.

    python benchmarks/bench_tdds.py [--network cnn] [--samples 50000] [--classes 100] [--window 10] [--threads 1] [--json]

Time: a CIFAR ResNet-18 (3 x 32 x 32, 100 classes, batch 100; or the room's small CNN) trains on random images. What the
recorder adds to a batch comes from timing its calls alone on the same tensors, many times over, because the difference of
two long noisy times would hide it. `end_epoch`, the scoring itself, is timed whole at
full size. The share is (added to all batches + end_epoch) / (all batches of the bare loop). Gate: 3 %.

Memory: the peak of what scoring allocates over three epochs at full size, read from the operating system in a process of its
own, above the level before the recorder was made. Against it the size of the T x N x C float32 log the authors' scorer loads
(T = 90). Gate: 60 MB (10^6 bytes).

Ends with exit code 1 when a gate is missed. On a GPU the bare loop is fast and the gate hard: set WORKBENCH_DEVICE.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch.nn import functional as F

from workbench.methods.tdds.scoring import TDDS
from workbench.parts.device import device
from workbench.parts.dynamics import Recorder
from workbench.parts.networks import CNN, ResNet18

T_OFFICIAL = 90  # CIFAR-100 at 30 % pruned


def synchronise() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


def timed(what) -> float:
    synchronise()
    begin = time.perf_counter()
    what()
    synchronise()
    return time.perf_counter() - begin


def measure_time(samples: int, classes: int, window: int, batches: int, kind: str) -> dict[str, float]:
    here, batch = device(), 100
    torch.manual_seed(0)
    network = (ResNet18(3, classes) if kind == "resnet18" else CNN(3, classes, 32)).to(here)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    x, y = torch.randn(batch, 3, 32, 32, device=here), torch.randint(0, classes, (batch,), device=here)
    labels = torch.randint(0, classes, (samples,))
    recorder = Recorder(labels, classes, {"tdds": TDDS(window)})
    index = torch.arange(batch)

    def step() -> None:
        loss = F.cross_entropy(network(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    step()
    per_batch = statistics.median(timed(step) for _ in range(batches))
    logits = network(x).detach()
    rounds = 50 if here.type == "cpu" else 500
    recorder(index, logits)

    def calls() -> None:
        for _ in range(rounds):
            recorder(index, logits)

    added = statistics.median(timed(calls) for _ in range(5)) / rounds
    recorder._begin_epoch()
    ends = []
    for _ in range(window + 2):  # the last ones with full windows
        for part in torch.randperm(samples).split(batch):
            recorder(part, logits[: len(part)] + torch.randn(1, device=here))
        ends.append(timed(recorder.end_epoch))
    count = -(-samples // batch)
    epoch = count * per_batch
    return {
        "batch_ms": 1e3 * per_batch,
        "added_per_batch_ms": 1e3 * added,
        "end_epoch_s": statistics.median(ends[-3:]),
        "epoch_s": epoch,
        "share": (count * added + statistics.median(ends[-3:])) / epoch,
    }


def measure_memory(samples: int, classes: int, window: int) -> int:
    """Peak bytes above the level before; run in a process of its own. Linux: ru_maxrss is in KiB."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (samples,), generator=generator)
    warm = Recorder(labels[:200], classes, {"tdds": TDDS(window)})  # what the libraries load on first use is not ours
    for _ in range(2):
        warm(torch.arange(200), torch.randn(200, classes, generator=generator))
        warm.end_epoch()
    del warm
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    recorder = Recorder(labels, classes, {"tdds": TDDS(window)})
    for _ in range(3):
        for part in torch.randperm(samples, generator=generator).split(100):
            recorder(part, torch.randn(len(part), classes, generator=generator))
        recorder.end_epoch()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--network", choices=("resnet18", "cnn"), default="resnet18")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    sizes = (a.samples, a.classes, a.window)
    if a.memory_only:
        print(measure_memory(*sizes))
        return 0
    options = [f"--samples={a.samples}", f"--classes={a.classes}", f"--window={a.window}", f"--threads={a.threads}"]
    child = subprocess.run([sys.executable, __file__, "--memory-only", *options], check=True, capture_output=True, text=True)
    peak = int(child.stdout)
    straight = 4 * T_OFFICIAL * a.samples * a.classes
    found = {
        "device": str(device()),
        "threads": a.threads,
        "network": a.network,
        **measure_time(*sizes, a.batches, a.network),
        "peak_bytes": peak,
        "log_bytes": straight,
        "ratio": straight / peak,
    }
    if a.json:
        print(json.dumps(found))
    else:
        print(f"N = {a.samples}, C = {a.classes}, J = {a.window}; {found['device']}, {a.threads} thread(s)")
        print(f"  a batch of 100 through {a.network:<11} {found['batch_ms']:.2f} ms; an epoch {found['epoch_s']:.1f} s")
        print(f"  recording adds                     {found['added_per_batch_ms']:.4f} ms a batch")
        print(f"  scoring at the end of an epoch     {found['end_epoch_s']:.2f} s")
        print(f"  together                           {100 * found['share']:.2f} % of the epoch (gate: at most 3)")
        print(f"  peak memory of recorder and scorer {peak / 1e6:.1f} MB (gate: under 60)")
        print(f"  T x N x C log of {T_OFFICIAL} epochs          {straight / 1e6:.0f} MB: {found['ratio']:.0f} times as much")
    return int(found["share"] > 0.03 or peak >= 60e6)


if __name__ == "__main__":
    sys.exit(main())
