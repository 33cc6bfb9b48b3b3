"""What two ranks do in the tests of the rivals."""

import io
import itertools

import torch
import torch.distributed as dist
from torch import nn

from workbench.baselines.compression import RIVALS, buffer_bytes, buffer_transfers, wrap
from workbench.engines.processes import loopback_bytes
from workbench.event import Event
from workbench.parts.gradients import RSDGC
from workbench.parts.wire import GLOO_HEADERS


def net(width=16):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width * 64, 10)
    )


def batch(rank, step):
    g = torch.Generator().manual_seed(100 * step + rank)
    return torch.randn(8, 1, 8, 8, generator=g), torch.randint(0, 10, (8,), generator=g)


def train(rank, ddp, rival, optimiser, steps, spoilt=None):
    skipped = []
    for step in steps:
        optimiser.zero_grad()
        x, y = batch(rank, step)
        loss = nn.functional.cross_entropy(ddp(x), y)
        (loss * (torch.nan if (rank, step) == (1, spoilt) else 1.0)).backward()
        skipped.append(rival.skipped)
        if not rival.skipped:
            optimiser.step()
    return skipped


def equal_everywhere(model):
    for p in model.parameters():
        both = [torch.empty_like(p) for _ in range(dist.get_world_size())]
        dist.all_gather(both, p.detach().contiguous())
        if not torch.equal(both[0], both[1]):
            return False
    return True


def fresh(name, **settings):
    model = net()
    ddp, rival = wrap(name, model, powersgd_start=3, density=0.05, **settings)
    return model, ddp, rival, torch.optim.SGD(model.parameters(), lr=0.05, momentum=rival.optimiser_momentum)


def one(rank, name):
    """Six steps; the same with a checkpoint in between; a step that is not finite."""
    model, ddp, rival, optimiser = fresh(name)
    train(rank, ddp, rival, optimiser, range(6))
    out = {"same": equal_everywhere(model), "sent": rival.sent, "counted": rival.counted, "buffers": buffer_bytes(ddp)}
    whole = [p.detach().clone() for p in model.parameters()]
    out["momentum"] = rival.optimiser_momentum
    out["settings"] = rival.settings() if isinstance(rival, RSDGC) else {}

    model, ddp, rival, optimiser = fresh(name)
    train(rank, ddp, rival, optimiser, range(4))
    buffer = io.BytesIO()
    torch.save({"m": model.state_dict(), "o": optimiser.state_dict(), "r": rival.state_dict()}, buffer)
    saved = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    model, ddp, rival, optimiser = fresh(name)
    ddp(torch.zeros(8, 1, 8, 8)).sum().backward()  # DDP groups its buckets
    model.load_state_dict(saved["m"])
    optimiser.load_state_dict(saved["o"])
    rival.load_state_dict(saved["r"])
    train(rank, ddp, rival, optimiser, range(4, 6))
    out["resumed"] = all(torch.equal(p, w) for p, w in zip(model.parameters(), whole, strict=True))
    out["resumed counted"] = rival.counted

    model, ddp, rival, optimiser = fresh(name)
    out["skipped"] = train(rank, ddp, rival, optimiser, range(7), spoilt=4)
    out["finite"] = all(bool(torch.isfinite(p).all()) for p in model.parameters())
    return out


def measured(rank, name, network):
    """Bytes the machine sent to itself in 10 steps of a network, and what was counted in them: messages, and with headers.

    small: 45,010 parameters, about those of the network of the digits. large: 2.1 million.
    """
    torch.manual_seed(0)
    sizes = {"small": [64, 600, 10], "large": [64, 2000, 1000, 10]}[network]
    lines = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(nn.Flatten(), *lines[:-1])
    ddp, rival = wrap(name, model, powersgd_start=2, rank=64 if network == "large" else 2, density=0.02)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=rival.optimiser_momentum)
    train(rank, ddp, rival, optimiser, range(3))
    rounds = []
    for _ in range(3):  # the kernel counts what it has to send twice, so the smallest is the message
        dist.barrier()
        counted, before = rival.counted, loopback_bytes()
        train(rank, ddp, rival, optimiser, range(10))
        dist.barrier()
        after = loopback_bytes()
        rounds.append((rival.counted - counted, None if before is None else after - before))
    messages, measured = (
        (min(both) for both in zip(*rounds, strict=True)) if rounds[0][1] is not None else (rounds[0][0], None)
    )
    headers = 10 * GLOO_HEADERS * (rival.transfers + buffer_transfers(ddp))  # equal in all steps by now
    return {"messages": messages, "counted": messages + headers, "measured": measured}


def rivals(rank, world, names=RIVALS, state=None):
    out = {}
    for i, name in enumerate(names):
        out[name] = one(rank, name)
        yield Event(i)
    return out


def meters(rank, world, names, state=None):
    out = {}
    for i, name in enumerate(names):
        out[name] = {network: measured(rank, name, network) for network in ("small", "large")}
        yield Event(i)
    return out


if __name__ == "__main__":  # the test of measured bytes runs this alone in a network namespace
    import json

    from workbench.engines.processes import ranks

    trace = ranks(meters, ["dense", "fp16", "powersgd", "topk", "rsdgc"], world=2)
    try:
        while True:
            next(trace)
    except StopIteration as end:
        print(json.dumps(end.value))
