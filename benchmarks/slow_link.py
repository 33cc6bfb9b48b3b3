"""RS-DGC on a slow link: two ranks in two network namespaces, joined by a link of 100 Mbit/s.

    sudo python -m benchmarks.slow_link [--rate 100mbit] [--delay 0ms] [--steps 6] [--rivals dense rsdgc ...] [--json]

The link is a pair of virtual Ethernet devices; on both ends the token-bucket filter of iproute2 lets through --rate, and
netem adds --delay where the kernel has it. Both ranks train VGG-19 with one head (20.0 million parameters, density 1 %)
with every compressor in turn. Printed for each: median seconds of a step, seconds of a step without communication, bytes
the devices sent (the kernel's counters), bytes counted, the ratio to the dense step, and the seconds that
`workbench.parts.wire.predict` foretells, nothing overlapping, from the constants measured here: computation, compression,
and the link's rate (1448 of 1514 bytes of a full frame are ours).

Ends with exit code 1 when RS-DGC is less than 5 times faster than dense or 2.5 times faster than fp16, and with 0 and the
reason where namespaces, the filter or the rights for them are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GOALS = {"dense": 5.0, "fp16": 2.5}
ADDRESSES = ("10.213.7.1", "10.213.7.2")
PORT = 29517


def ip(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


@contextmanager
def link(rate: str, delay: str) -> Iterator[tuple[str, str]]:
    """Names of two namespaces whose ranks can only talk over the slow link; gone afterwards."""
    tag = f"wb{os.getpid() % 100000}"
    spaces, devices = (f"{tag}a", f"{tag}b"), (f"{tag}x", f"{tag}y")
    try:
        for space in spaces:
            ip("ip", "netns", "add", space)
        ip("ip", "link", "add", devices[0], "type", "veth", "peer", "name", devices[1])
        for space, device, address in zip(spaces, devices, ADDRESSES, strict=True):
            ip("ip", "link", "set", device, "netns", space)
            inside = ("ip", "netns", "exec", space)
            ip(*inside, "ip", "address", "add", f"{address}/24", "dev", device)
            ip(*inside, "ip", "link", "set", device, "up")
            ip(*inside, "ip", "link", "set", "lo", "up")
            ip(*inside, "tc", "qdisc", "add", "dev", device, "root", "handle", "1:", "tbf", "rate", rate, "burst", "64kb",
               "latency", "100ms")  # fmt: skip
            if not delay.startswith("0"):
                ip(*inside, "tc", "qdisc", "add", "dev", device, "parent", "1:1", "netem", "delay", delay)
        yield spaces
    finally:
        for space in spaces:
            subprocess.run(("ip", "netns", "del", space), capture_output=True)
        subprocess.run(("ip", "link", "del", devices[0]), capture_output=True)


def reason() -> str | None:
    """Why this machine cannot do it; None where it can."""
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"{tool} is missing (package iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    return None


def rank_main(rank: int, asked: argparse.Namespace) -> None:
    """One rank; rank 0 writes what it found."""
    import torch
    import torch.distributed as dist
    from torch.nn import functional as F

    from workbench.baselines.compression import Sparse, buffer_bytes, wrap
    from workbench.parts.networks import VGG

    torch.set_num_threads(1)
    device = asked.device
    os.environ["GLOO_SOCKET_IFNAME"] = device
    store = dist.TCPStore(ADDRESSES[0], PORT, 2, is_master=rank == 0)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    sent = Path(f"/sys/class/net/{device}/statistics/tx_bytes")
    x = torch.randn(asked.batch, 3, asked.side, asked.side, generator=torch.Generator().manual_seed(rank))
    y = torch.randint(0, 12, (asked.batch,), generator=torch.Generator().manual_seed(rank))
    found: dict[str, Any] = {}
    for name in asked.rivals:
        torch.manual_seed(0)
        model = VGG(3, 12, 64, (2, 2, 4, 4, 4), asked.side)
        ddp, rival = wrap(name, model, powersgd_start=2, rank=2, density=asked.density)
        spent = {"encode": 0.0, "decode": 0.0, "cast": 0.0}
        if isinstance(rival, Sparse):
            for what, method in (("encode", "compress"), ("decode", "decompress")):
                setattr(rival, method, timed(getattr(rival, method), spent, what))
        elif name == "fp16":
            flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
            timed(lambda flat=flat: flat.copy_(flat.half()), spent, "cast")()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=rival.optimiser_momentum)
        seconds, alone = [], []
        for step in range(asked.steps + 3):  # three to begin with: connections, bucket regrouping, PowerSGD's start
            if step == 3:
                dist.barrier()
                before, counted = int(sent.read_text()), rival.counted
                spent |= {"encode": 0.0, "decode": 0.0}
            begun = time.monotonic()
            optimiser.zero_grad()
            F.cross_entropy(ddp(x), y).backward()
            optimiser.step()
            seconds.append(time.monotonic() - begun)
        dist.barrier()
        mine = torch.tensor([int(sent.read_text()) - before])
        dist.all_reduce(mine)
        for _ in range(asked.steps):
            with ddp.no_sync():
                begun = time.monotonic()
                optimiser.zero_grad()
                F.cross_entropy(ddp(x), y).backward()
                optimiser.step()
                alone.append(time.monotonic() - begun)
        expected = rival.counted - counted + asked.steps * buffer_bytes(ddp)
        found[name] = {
            "step_seconds": statistics.median(seconds[3:]),
            "all_seconds": [round(s, 3) for s in seconds[3:]],
            "compute_seconds": statistics.median(alone),
            "encode_seconds": spent["encode"] / asked.steps,
            "decode_seconds": spent["decode"] / asked.steps,
            "cast_seconds": spent["cast"],
            "entries": sum(p.numel() for p in model.parameters()),
            "bytes_counted": expected / asked.steps,
            "bytes_measured": int(mine) / asked.steps,
        }
        dist.barrier()
    if rank == 0:
        Path(asked.out).write_text(json.dumps(found))
    dist.destroy_process_group()


def timed(function: Callable, spent: dict[str, float], what: str) -> Callable:
    """The function, its seconds added up in `spent[what]`."""

    def wrapped(*given: Any) -> Any:
        begun = time.monotonic()
        out = function(*given)
        spent[what] += time.monotonic() - begun
        return out

    return wrapped


FRAME = 1448 / 1514  # of a full Ethernet frame, the share that is ours


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", default="100mbit", help="of the link, in mbit as tc writes it")
    parser.add_argument("--delay", default="0ms", help="added one way, where the kernel has netem")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--density", type=float, default=0.01)
    parser.add_argument("--rivals", nargs="+", default=["dense", "fp16", "powersgd", "topk", "rsdgc"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--device", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.rank is not None:
        rank_main(asked.rank, asked)
        return 0
    from workbench.parts.wire import foretell

    if not asked.rate.endswith("mbit"):
        parser.error(f"--rate is given in mbit, as 100mbit; got {asked.rate}")
    load = round(os.getloadavg()[0], 2)
    why = reason()
    if why:
        print(f"skipped: {why}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        try:
            with link(asked.rate, asked.delay) as spaces:
                found = race(spaces, asked, out)
        except subprocess.CalledProcessError as error:
            print(f"skipped: {' '.join(error.cmd)}: {error.stderr.strip()}")
            return 0
    bandwidth = float(asked.rate.removesuffix("mbit")) * 1e6 / 8 * FRAME
    for name, numbers in found.items():
        numbers["predicted_seconds"] = foretell(name, numbers, 2, bandwidth, asked.density)
        numbers["times_faster_than_dense"] = found.get("dense", numbers)["step_seconds"] / numbers["step_seconds"]
    if asked.json:
        link_ = {"rate": asked.rate, "delay": asked.delay, "bandwidth": bandwidth, "density": asked.density}
        about = {**link_, "batch": asked.batch, "side": asked.side, "steps": asked.steps, "load_before": load}
        print(json.dumps({"about": about, "measured": found}, indent=1))
    else:
        for name, n in found.items():
            print(
                f"{name:<10} step {n['step_seconds']:.3f} s, of that compute {n['compute_seconds']:.3f} s, "
                f"{n['bytes_measured'] / 1e6:.3f} MB sent ({n['bytes_counted'] / 1e6:.3f} counted), "
                f"{n['times_faster_than_dense']:.2f} x dense"
                + (f", predicted {n['predicted_seconds']:.3f} s" if n["predicted_seconds"] else "")
            )
    if "rsdgc" not in found:
        return 0
    ours = found["rsdgc"]["step_seconds"]
    return int(any(found[r]["step_seconds"] / ours < goal for r, goal in GOALS.items() if r in found))


def race(spaces: tuple[str, str], asked: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Start both ranks, wait for them, give what rank 0 found."""
    settings = ["--steps", asked.steps, "--batch", asked.batch, "--side", asked.side, "--density", asked.density]
    command = [sys.executable, "-m", "benchmarks.slow_link", *map(str, settings), "--rivals", *asked.rivals]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                space,
                *command,
                "--rank",
                str(rank),
                "--device",
                f"{space[:-1]}{'xy'[rank]}",
                "--out",
                out,
            ],
            env=environment,
        )
        for rank, space in enumerate(spaces)
    ]
    try:
        while any(r.poll() is None for r in ranks):
            if any(r.poll() not in (None, 0) for r in ranks):
                raise SystemExit(f"a rank ended with {[r.poll() for r in ranks]}")
            time.sleep(0.2)
    finally:
        for r in ranks:
            r.kill()
            r.wait()
    if any(r.returncode for r in ranks):
        raise SystemExit(f"a rank ended with {[r.returncode for r in ranks]}")
    return json.loads(out.read_text())


if __name__ == "__main__":
    raise SystemExit(main())
