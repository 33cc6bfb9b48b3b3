"""RS-DGC: what compression costs beside the backward pass, on a network of 20 million parameters.

    python -m benchmarks.bench_rsdgc [--batch 16] [--side 64] [--threads 1] [--repeats 5] [--indicator mix] [--json]

The network is VGG-19 with one linear head (20.0 million parameters), the batch is random. Backward pass and hook take
turns in one process: `compress` is everything from the gradient to the message, `decompress` everything from the messages
of two ranks to the averaged gradient. Processor seconds, not wall clock, so that other users of the machine do not matter;
the smallest of the repeats of each. Also printed: the same selection by a plain top-k over every layer. Ends with exit
code 1 when compress and decompress together take more than 25 % of the backward pass.
"""

from __future__ import annotations

import argparse
import json
import platform
import time

import torch
from torch import nn
from torch.nn import functional as F

from workbench.parts.gradients import RSDGC
from workbench.parts.indicators import score
from workbench.parts.networks import VGG

GATE = 0.25


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--density", type=float, default=0.01)
    parser.add_argument("--indicator", default="mix")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    model = VGG(3, 12, 64, (2, 2, 4, 4, 4), asked.side)
    x, y = torch.randn(asked.batch, 3, asked.side, asked.side), torch.randint(0, 12, (asked.batch,))
    state = RSDGC(model, asked.density, indicator=asked.indicator)
    layers = list(state.layers.values())
    starts = [sum(la.n for la in layers[:i]) for i in range(len(layers))]
    seconds: dict[str, list[float]] = {"backward": [], "compress": [], "decompress": [], "plain_topk": []}
    for _ in range(asked.repeats + 1):  # the first is thrown away: memory is claimed
        seconds["backward"].append(backward(model, x, y))
        buffer = torch.cat([la.parameter.grad.reshape(-1) for la in layers])
        state.begin(2)
        begun = time.process_time()
        job = state.compress(layers, starts, buffer)
        seconds["compress"].append(time.process_time() - begun)
        begun = time.process_time()
        state.decompress(job, [job.message, job.message], buffer)
        seconds["decompress"].append(time.process_time() - begun)
        seconds["plain_topk"].append(plain_topk(state))
    best = {name: min(values[1:]) for name, values in seconds.items()}
    share = (best["compress"] + best["decompress"]) / best["backward"]
    found = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "batch": asked.batch,
        "side": asked.side,
        "threads": asked.threads,
        "indicator": asked.indicator,
        "density": asked.density,
        "seconds": {name: round(value, 4) for name, value in best.items()},
        "share": round(share, 3),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    print(json.dumps(found) if asked.json else "\n".join(f"{k:<12} {v}" for k, v in found.items()))
    return int(share > GATE)


def backward(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.zero_grad()
    loss = F.cross_entropy(model(x), y)
    begun = time.process_time()
    loss.backward()
    return time.process_time() - begun


def plain_topk(state: RSDGC) -> float:
    """The k largest scores of every layer by torch.topk alone, the scores given."""
    total = 0.0
    for layer in state.layers.values():
        if layer.compressed and layer.v is not None:
            S = score(layer.v.view(layer.shape), "magnitude").view(-1)
            begun = time.process_time()
            torch.topk(S, layer.k, sorted=False)
            total += time.process_time() - begun
    return total


if __name__ == "__main__":
    raise SystemExit(main())
