"""Latency and bytes of compressed files against the float file of the same network, and the rank sweep of ResNet-56.

    python benchmarks/bench_picpq.py [--network vgg] [--width 32] [--turns 60] [--threads 1] [--json]

Random weights: time does not depend on them. Files: float; onnxruntime's own int8 of it (the peer); 30 % of the MACs in float, with ragged
widths and rounded to 8; the same with trained-style integers, 8-bit inputs and 4-bit weights; unpruned integers of 4 bit throughout, whose
inputs are clipped in float. Batch 1 and 32, in turns. Ends with exit code 1 when the best file is not faster than float, or the rank
sweep of ResNet-56 on 64 chips of 32 x 32 takes 5 s or more.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from workbench.baselines.pruning import ptq_int8
from workbench.parts.deployed import latency, machine
from workbench.parts.export import Exportable, write
from workbench.parts.export_quantized import integers
from workbench.parts.filter_properties import feature_ranks, weight_norms
from workbench.parts.networks import classifier
from workbench.parts.pruning import Plan, choose, counts_of, group_scores, sliced
from workbench.parts.quantize import fit, layers, quantize

SIDE = 32


def shaken(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.normal_(0, 0.1)
    return network.eval()


def files(kind: str, width: int, folder: Path) -> tuple[dict[str, Path], dict[str, float]]:
    """name -> path, and the share of the MACs that each has."""
    torch.manual_seed(0)
    network, x = shaken(classifier(kind, (3, SIDE, SIDE), 10, width)), torch.randn(64, 3, SIDE, SIDE)
    plan = Plan.of(network, x)
    names = [n.name for n in plan.layers if n.group is not None]
    scores = [s / s.max() for s in group_scores(plan, weight_norms(network, names))]
    made, share = {"float": network}, {"float": 1.0, "onnxruntime int8": 1.0, "4 bit": 1.0}
    for name, step in (("pruned", 1), ("pruned, widths of 8", 8)):
        kept = choose(plan, scores, 0.3 * plan.cost(), round_to=step)
        made[name] = sliced(network, plan, kept, x)
        share[name] = share[f"{name}, w4 a8"] = plan.cost(counts_of(kept)) / plan.cost()
    for name in ("pruned", "pruned, widths of 8"):
        made[f"{name}, w4 a8"] = with_bits(copy.deepcopy(made[name]), x, 4, 8)
    made["4 bit"] = with_bits(copy.deepcopy(network), x, 4, 4)
    paths = {}
    for number, (name, one) in enumerate(made.items()):
        rounding = "4 bit" in name or "w4" in name
        paths[name] = write(Exportable(one, {"image": x[:8]}, ("logits",), rounding=rounding), folder / f"{number}.onnx")[0]
    paths["onnxruntime int8"] = folder / "int8.onnx"
    ptq_int8(paths["float"], paths["onnxruntime int8"], x.numpy())
    return paths, share


def with_bits(network: nn.Module, x: torch.Tensor, weights: int, inputs: int) -> nn.Module:
    names = list(layers(network))
    bits = {n: 8 if n in (names[0], names[-1]) else weights for n in names}
    quantize(network, bits, activation_bits={n: max(inputs, 8 if n in (names[0], names[-1]) else inputs) for n in names})
    fit(network, x)
    return integers(network, x)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--network", default="vgg")
    asked.add_argument("--width", type=int, default=32)
    asked.add_argument("--turns", type=int, default=60)
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    torch.set_num_threads(given.threads)
    deep, x = classifier("resnet56", (3, SIDE, SIDE), 10, 16).eval(), torch.randn(64, 3, SIDE, SIDE)
    begin = time.perf_counter()
    feature_ranks(deep, x, [n for n, m in deep.named_modules() if isinstance(m, nn.Conv2d)])
    sweep = time.perf_counter() - begin
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        paths, share = files(given.network, given.width, Path(folder))
        for name, path in paths.items():
            one = latency(path, x[:1].numpy(), given.threads, given.turns)
            many = latency(path, x[:32].numpy(), given.threads, max(10, given.turns // 6))
            rows[name] = {"macs": share[name], "kilobytes": path.stat().st_size / 1e3, "one": one, "many": many}
    best = max(rows, key=lambda n: rows["float"]["many"]["median"] / rows[n]["many"]["median"])
    found = {
        "machine": machine(),
        "threads": given.threads,
        "rank_sweep_resnet56_seconds": sweep,
        "files": rows,
        "best": best,
    }
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        print(
            f"{given.network} of width {given.width}, {SIDE} x {SIDE}; {machine()}, {given.threads} thread; sweep {sweep:.2f} s"
        )
        for name, row in rows.items():
            ratio = rows["float"]["many"]["median"] / row["many"]["median"]
            print(
                f"{name:30s} {row['macs']:5.2f} MACs {row['kilobytes']:8.1f} kB   batch 1: {row['one']['median']:7.3f} ms (p95 "
                f"{row['one']['p95']:7.3f})   batch 32: {row['many']['median']:8.2f} ms (p95 {row['many']['p95']:8.2f})   x{ratio:.2f}"
            )
    faster = rows["float"]["many"]["median"] / rows[best]["many"]["median"]
    return int(sweep >= 5 or faster <= 1)


if __name__ == "__main__":
    sys.exit(main())
