"""What two ranks do in the tests of gradients; each scenario gives plain numbers and arrays of both ranks."""

import copy
import io

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

from workbench.errors import InputError
from workbench.event import Event
from workbench.parts.gradients import RSDGC, rsdgc_hook


class Net(nn.Module):
    """Conv (channels last), norm, conv, frozen layer, linear with a transposed (non-contiguous) weight."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.GroupNorm(2, 6)
        self.b = nn.Conv2d(6, 5, 3, padding=1)
        self.still = nn.Conv2d(5, 5, 1)
        self.still.requires_grad_(False)
        self.w = nn.Parameter(torch.randn(4, 80).t() * 0.1)  # (80, 4), strides (1, 80)
        self.c = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        x = torch.relu(self.norm(self.a(x)))
        return self.still(torch.relu(self.b(x))).flatten(1) @ self.w + self.c


def net():
    torch.manual_seed(0)
    return Net().to(memory_format=torch.channels_last)


def batch(rank, step, size=3):
    g = torch.Generator().manual_seed(100 * step + rank)
    return torch.randn(size, 2, 4, 4, generator=g), torch.randint(0, 4, (size,), generator=g)


def wrapped(model, buckets=0.002, **settings):
    ddp = DDP(model, bucket_cap_mb=buckets)
    state = RSDGC(model, **settings)
    ddp.register_comm_hook(state, rsdgc_hook)
    return ddp, state


def backward(ddp, rank, step, sign=1.0):
    x, y = batch(rank, step)
    loss = sign * nn.functional.cross_entropy(ddp(x), y)
    loss.backward()
    return loss


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def everywhere(tensors):
    """The same tensors of every rank: {name: [rank 0's, rank 1's]}."""
    out = {}
    for name, t in sorted(tensors.items()):
        both = [torch.empty(t.shape, dtype=t.dtype) for _ in range(dist.get_world_size())]
        dist.all_gather(both, t.detach().contiguous())
        out[name] = [b.numpy() for b in both]
    return out


def plain(rank, steps=4):
    """Gradients of DDP without a hook."""
    model = net()
    ddp = DDP(model, bucket_cap_mb=0.002)
    found = []
    for step in range(steps):
        model.zero_grad()
        backward(ddp, rank, step)
        found.append({n: g.numpy() for n, g in gradients(model).items()})
    return found


def hooked(rank, steps=4, sign=1.0, lr=0.0, **settings):
    """Gradients with the hook; what is left on both ranks; the counts of every step."""
    model = net()
    ddp, state = wrapped(model, **settings)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    found, reports = [], []
    for step in range(steps):
        model.zero_grad()
        backward(ddp, rank, step, sign)
        found.append({n: g.numpy() for n, g in gradients(model).items()})
        optimiser.step()
        r = state.report
        ks = everywhere({"k": torch.tensor(list(r.k.values()))})["k"]
        reports.append(
            {
                "k": r.k,
                "ks": ks,
                "sent": r.sent,
                "counted": r.counted,
                "buckets": r.buckets,
                "dense": r.dense_buckets,
                "density": r.density,
                "signal": r.signal,
            }
        )
    state.settle()
    left = everywhere({n: la.v if la.v is not None else torch.zeros(la.n) for n, la in state.layers.items()})
    left = {n: [v.reshape(state.layers[n].parameter.shape) for v in vs] for n, vs in left.items()}
    return {"gradients": found, "reports": reports, "left": left, "parameters": everywhere(dict(model.named_parameters()))}


def resumed(rank):
    """Six steps at once, and three with a checkpoint, a new model and three more."""

    def train(model, ddp, state, steps):
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for step in steps:
            model.zero_grad()
            backward(ddp, rank, step)
            optimiser.step()

    model = net()
    ddp, state = wrapped(model, density=0.05)
    train(model, ddp, state, range(6))
    whole = everywhere(dict(model.named_parameters()))
    model = net()
    ddp, state = wrapped(model, density=0.05)
    train(model, ddp, state, range(3))
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "hook": state.state_dict()}, buffer)
    saved = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    model = net()
    model.load_state_dict(saved["model"])
    ddp, state = wrapped(model, density=0.05, buckets=25)  # other buckets: the state goes by name
    state.load_state_dict(saved["hook"])
    train(model, ddp, state, range(3, 6))
    return {"whole": whole, "parts": everywhere(dict(model.named_parameters())), "step": state.state_dict()["step"]}


def not_finite(rank, scaled=False):
    """Rank 1 has a NaN at step 2 (an infinity in the second bucket); against a run that never saw that batch."""
    out = {}
    for name, steps in (("with", [0, 1, 2, 3, 4]), ("without", [0, 1, 3, 4])):
        model = net()
        ddp, state = wrapped(model, density=0.05)
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=10**6, enabled=scaled)
        state.scaler = scaler
        skipped = []
        for step in steps:
            optimiser.zero_grad()
            x, y = batch(rank, step)
            loss = nn.functional.cross_entropy(ddp(x), y)
            if step == 2 and rank == 1:
                handle = model.a.weight.register_hook(lambda g: g * torch.inf)  # in the last bucket only
            scaler.scale(loss).backward()
            if step == 2 and rank == 1:
                handle.remove()
            scaler.step(optimiser)
            scaler.update()
            skipped.append(state.skipped)
        out[name] = everywhere(dict(model.named_parameters()))
        out[name + " left"] = everywhere({n: la.v for n, la in state.layers.items() if la.v is not None})
        out[name + " skipped"] = skipped
        out[name + " steps"] = state.state_dict()["step"]
    return out


def scaled(rank):
    """The same steps without a loss scale, and with one that changes: powers of two, so nothing is rounded."""
    out = {}
    for name in ("plain", "scaled"):
        model = net()
        ddp, state = wrapped(model, density=0.05)
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2, enabled=name == "scaled")
        state.scaler = scaler
        for step in range(6):
            optimiser.zero_grad()
            x, y = batch(rank, step)
            scaler.scale(nn.functional.cross_entropy(ddp(x), y)).backward()
            scaler.step(optimiser)
            scaler.update()
        out[name] = everywhere(dict(model.named_parameters()))
        out[name + " scale"] = scaler.get_scale()
    return out


def half(rank):
    """A bfloat16 model: sums and residuals are kept in float32."""
    model = net().to(torch.bfloat16)
    ddp, state = wrapped(model, density=0.05, momentum=0.0)
    for step in range(3):
        model.zero_grad()
        x, y = batch(rank, step)
        nn.functional.cross_entropy(ddp(x.bfloat16()).float(), y).backward()
    return {
        "dtype": str(model.a.weight.grad.dtype),
        "kept": str(state.layers["a.weight"].v.dtype),
        "gradients": everywhere({n: g.float() for n, g in gradients(model).items()}),
    }


def accumulated(rank):
    """Two passes in no_sync and one in step, against one pass of the hook over the sum of the three."""
    model = net()
    ddp, state = wrapped(model, density=0.1, momentum=0.0)
    fired = []
    begin = state.begin
    state.begin = lambda world: (fired.append(world), begin(world))[1]
    with ddp.no_sync():
        backward(ddp, rank, 0)
        backward(ddp, rank, 1)
    before = len(fired)
    backward(ddp, rank, 2)
    sent = gradients(model)
    left = {n: la.v_next.view(la.parameter.shape) for n, la in state.layers.items() if la.v_next is not None}
    alone = copy.deepcopy(net())
    for step in range(3):
        x, y = batch(rank, step)
        nn.functional.cross_entropy(alone(x), y).backward()
    return {
        "before": before,
        "after": len(fired),
        "own": everywhere(gradients(alone)),
        "left": everywhere(left),
        "sent": {n: g.numpy() for n, g in sent.items()},
    }


def simulated(rank):
    """What the hook gave, and the local gradients, for the simulator to be given."""
    model = net()
    ddp, _state = wrapped(model, density=0.05, buckets=25)
    found, local = [], []
    for step in range(4):
        model.zero_grad()
        backward(ddp, rank, step)
        found.append({n: g.numpy() for n, g in gradients(model).items()})
        alone = net()
        x, y = batch(rank, step)
        nn.functional.cross_entropy(alone(x), y).backward()
        local.append(everywhere(gradients(alone)))
    return {"gradients": found, "local": local}


def refused(rank):
    """Messages of what must not begin."""
    said = {}
    for name, settings in {
        "density": {"density": 0.01 * (rank + 1)},
        "indicator": {"indicator": "mix" if rank == 0 else "energy"},
    }.items():
        ddp, _ = wrapped(net(), **settings)
        try:
            backward(ddp, rank, 0)
        except InputError as error:
            said[name] = str(error)
    for name, make in {
        "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "Adam": lambda p: torch.optim.Adam(p),
    }.items():
        model = net()
        ddp, state = wrapped(model)
        optimiser = make([p for p in model.parameters() if p.requires_grad])
        backward(ddp, rank, 0)
        try:
            optimiser.step()
        except InputError as error:
            said[name] = str(error)
        del state
    model = net()
    ddp, _state = wrapped(model, momentum=0.0)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    backward(ddp, rank, 0)
    optimiser.step()
    model = net()
    ddp = DDP(model)
    ddp.register_comm_hook(RSDGC(net()), rsdgc_hook)
    try:
        backward(ddp, rank, 0)
    except InputError as error:
        said["stranger"] = str(error)
    return said


SCENARIOS = {
    "plain": (plain, {}),
    "whole": (hooked, {"density": 1.0, "momentum": 0.0}),
    "whole sparse": (hooked, {"density": 1.0, "momentum": 0.0, "fallback": False}),
    "some": (hooked, {"density": 0.05, "momentum": 0.0}),
    "some f16": (hooked, {"density": 0.05, "momentum": 0.0, "values": "f16"}),
    "one bucket": (hooked, {"density": 0.05, "momentum": 0.0, "buckets": 25}),
    "flipped": (hooked, {"density": 0.05, "momentum": 0.0, "sign": -1.0}),
    "training": (hooked, {"density": 0.05, "lr": 0.1, "steps": 12}),
    "warm-up": (hooked, {"density": 0.01, "warmup": (1.0, 0.3, 0.1), "steps": 4, "momentum": 0.0}),
    "int32": (hooked, {"density": 0.05, "momentum": 0.0, "index": "int32"}),
    "varint": (hooked, {"density": 0.05, "momentum": 0.0, "index": "varint"}),
    "bitmap": (hooked, {"density": 0.05, "momentum": 0.0, "index": "bitmap"}),
    "tile": (hooked, {"density": 0.05, "momentum": 0.0, "indicator": "tile"}),
    "random": (hooked, {"density": 0.05, "momentum": 0.0, "indicator": "random"}),
    "sampled": (hooked, {"density": 0.05, "momentum": 0.0, "select": "sampled", "indicator": "magnitude"}),
    "no feedback": (hooked, {"density": 0.05, "momentum": 0.0, "feedback": False}),
    "resumed": (resumed, {}),
    "not finite": (not_finite, {}),
    "not finite, scaled": (not_finite, {"scaled": True}),
    "scaled": (scaled, {}),
    "half": (half, {}),
    "accumulated": (accumulated, {}),
    "simulated": (simulated, {}),
    "refused": (refused, {}),
}


def scenarios(rank, world, names, state=None):
    """All of SCENARIOS that are named, one event each."""
    out = {}
    for i, name in enumerate(names):
        what, settings = SCENARIOS[name]
        out[name] = what(rank, **settings)
        yield Event(i)
    return out
