"""Workers of the tests of engines: at the top of a module of their own, where a spawned process finds them."""

import os
import signal
import time

import torch
import torch.distributed as dist

from workbench.errors import InputError
from workbench.event import Event


def counting(rank, world, steps, state=None):
    """Each rank adds rank + 1 per step; the ranks sum up what they have."""
    total = 0 if state is None else int(state["total"])
    for step in range(0 if state is None else int(state["step"]) + 1, steps):
        total += rank + 1
        both = torch.tensor([float(total)])
        dist.all_reduce(both)
        yield Event(step, {"sum": float(both)}, of=steps, state=lambda s=step, t=total: {"step": s, "total": t})
    return {"total": total, "world": world, "tensor": torch.ones(2)}


def faulty(rank, world, what, state=None):
    """Rank 1 does something bad at step 2."""
    for step in range(1000):
        if rank == 1 and step == 2:
            if what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            if what == "input":
                raise InputError("the setting is wrong")
            if what == "defect":
                raise ZeroDivisionError("a slip")
        dist.all_reduce(torch.ones(1))
        yield Event(step)


def slow(rank, world, state=None):
    """Yields its process number; nothing is wrong with it."""
    pids = torch.zeros(world, dtype=torch.int64)
    pids[rank] = os.getpid()
    dist.all_reduce(pids)
    for step in range(1000):
        time.sleep(0.01)
        yield Event(step, {f"pid{r}": float(p) for r, p in enumerate(pids.tolist())})


def environment(rank, world, name, state=None):
    """What a variable of the environment is in rank 0."""
    yield Event(0)
    return os.environ.get(name)
