"""Structured pruning: which filters of a network hang together, which are removed under a budget, and the smaller network.

    plan = Plan.of(network, example)
    kept = choose(plan, scores, target=0.5 * plan.cost(), cost=plan.cost)
    small = sliced(network, plan, kept, example)

torch-pruning (G. Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023; the extra `deploy`) finds the dependencies and cuts
the weights. A *group* is a set of convolutions of which filter i can only be removed together: those whose outputs are added, and
depthwise ones behind them. Where a shortcut pads channels, so that the sum has other filters than its parts, all filters are kept.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workbench.errors import InputError

WAY_OUT = (
    "Replace a cut of channels (chunk, split, a slice) by one convolution for each part, or name the layer in `keep`, "
    "then its filters stay."
)


@dataclass(frozen=True)
class Group:
    """Filters that are removed together. root: a convolution; members: all convolutions with these filters; count: of filters."""

    root: str
    members: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class Layer:
    """A convolution or a linear layer, and what a group's filters mean for it.

    unit: MACs for one input channel and one filter. ins, outs: channels. depthwise: one input channel for each filter.
    group: number of the group of its filters, or None. inputs: (group, channels of the input, filter behind each) for each group that
    it reads.
    """

    name: str
    unit: int
    ins: int
    outs: int
    depthwise: bool
    group: int | None
    inputs: tuple[tuple[int, np.ndarray, np.ndarray], ...]


@dataclass(frozen=True)
class Plan:
    """The groups of a network, and its layers in the order in which they run."""

    groups: tuple[Group, ...]
    layers: tuple[Layer, ...]

    @classmethod
    def of(
        cls, network: nn.Module, example: Tensor, keep: Sequence[str] = (), answer: Callable[[Any], Any] = lambda out: out
    ) -> Plan:
        """Trace a network with an input of batch 1 or more. keep: names of layers whose filters all stay. answer: takes from the output
        what must not change its shape; by default all of it. Filters that no layer reads, as those of a detector's head, stay.

        Raises InputError for a network whose channels cannot be followed; it names the layer.
        """
        modules = dict(network.named_modules())
        unknown = [name for name in keep if name not in modules]
        if unknown:
            raise InputError(f"keep names {', '.join(unknown)}; the network has no such layer.")
        there = sizes(network, example)
        graph = _graph(network, example)
        names = {module: name for name, module in modules.items()}
        groups: list[Group] = []
        reads: dict[str, list[tuple[int, np.ndarray, np.ndarray]]] = {name: [] for name in there}
        owner: dict[str, int] = {}
        for found in _all_groups(graph, network):
            members, inputs, uniform = [], [], True
            for item in found:
                name, module = names.get(item.dep.target.module), item.dep.target.module
                if isinstance(module, nn.Conv2d) and 1 < module.groups < module.in_channels:
                    uniform = False
                if name not in there:
                    continue
                index, roots = np.array([int(i) for i in item.idxs]), np.array(item.root_idxs)
                if graph.is_out_channel_pruning_fn(item.dep.handler):
                    uniform &= len(index) == there[name].outs and np.array_equal(index, roots)
                    members.append(name)
                else:
                    inputs.append((name, index, roots))
            root = names[found[0].dep.target.module]
            uniform &= all(isinstance(modules[name], nn.Conv2d) for name in members)
            read = any(name not in members for name, *_ in inputs)
            if not uniform or not read or any(name in keep for name in members):
                continue
            number = len(groups)
            groups.append(Group(root, tuple(sorted(set(members), key=list(there).index)), there[root].outs))
            owner |= dict.fromkeys(members, number)
            for name, index, roots in inputs:
                reads[name].append((number, index, roots))
        layers = [
            Layer(name, s.unit, s.ins, s.outs, s.depthwise, owner.get(name), tuple(reads[name])) for name, s in there.items()
        ]
        plan = cls(tuple(groups), tuple(layers))
        plan._check(network, example, answer)
        return plan

    def _check(self, network: nn.Module, example: Tensor, answer: Callable[[Any], Any]) -> None:
        """Cut one filter of every group, and compare with the masked network: a wrong cut must not pass in silence."""
        kept = [np.arange(1, g.count) if g.count > 1 else np.arange(g.count) for g in self.groups]
        if not any(g.count > 1 for g in self.groups):
            return
        try:
            same = _same(network, self, kept, example, answer)
        except Exception as first:
            for n, group in enumerate(self.groups):
                one = [k if m == n else np.arange(g.count) for m, (k, g) in enumerate(zip(kept, self.groups, strict=True))]
                try:
                    _same(network, self, one, example, answer)
                except Exception as error:
                    raise InputError(
                        f"torch-pruning cannot follow the filters of layer {group.root!r}: after one was removed the network "
                        f'fails with "{str(error).splitlines()[0]}". {WAY_OUT}'
                    ) from None
            raise InputError(f"torch-pruning cannot follow this network: {str(first).splitlines()[0]}. {WAY_OUT}") from None
        if not same:
            for n, group in enumerate(self.groups):
                one = [k if m == n else np.arange(g.count) for m, (k, g) in enumerate(zip(kept, self.groups, strict=True))]
                if not _same(network, self, one, example, answer):
                    raise InputError(
                        f"Without a filter of layer {group.root!r} the cut network gives other numbers than the network with that "
                        f"filter silent, so its channels were not followed correctly. {WAY_OUT}"
                    )

    def full(self) -> np.ndarray:
        """(groups,) number of filters of each group."""
        return np.array([g.count for g in self.groups])

    def shares(self, counts: np.ndarray) -> np.ndarray:
        """(layers,) share of the filters of each layer that remain; counts (groups,): filters that remain."""
        return np.array([1.0 if n.group is None else counts[n.group] / self.groups[n.group].count for n in self.layers])

    def macs(self, counts: np.ndarray | None = None) -> np.ndarray:
        """(layers,) MACs of each layer with `counts (groups,)` filters left; normalisation, pooling and sums cost nothing."""
        counts = self.full() if counts is None else counts
        found = []
        for layer in self.layers:
            outs = layer.outs if layer.group is None else counts[layer.group]
            ins = layer.ins
            for group, index, _ in layer.inputs:
                ins -= len(index) // self.groups[group].count * (self.groups[group].count - counts[group])
            found.append(layer.unit * outs * (1 if layer.depthwise else ins))
        return np.array(found, np.int64)

    def cost(self, counts: np.ndarray | None = None) -> float:
        """MACs of all layers."""
        return float(self.macs(counts).sum())

    def table(self) -> dict[str, np.ndarray]:
        """What the costs depend on, for a result: `unit`, `ins`, `outs`, `depthwise`, `group` (layers,), group -1 where the filters all
        stay, and `reads` (layers, groups), channels that a layer reads for each filter of a group.
        """
        reads = np.zeros((len(self.layers), len(self.groups)), np.int64)
        for n, layer in enumerate(self.layers):
            for group, index, _ in layer.inputs:
                reads[n, group] += len(index) // self.groups[group].count
        columns = {name: np.array([getattr(n, name) for n in self.layers]) for name in ("unit", "ins", "outs", "depthwise")}
        return {**columns, "group": np.array([-1 if n.group is None else n.group for n in self.layers]), "reads": reads}

    @classmethod
    def from_table(cls, names: Sequence[str], table: Mapping[str, np.ndarray]) -> Plan:
        """The plan of a `table`, without its network: it has the costs, and cannot be cut."""
        group, outs = table["group"], table["outs"]
        groups = []
        for g in range(table["reads"].shape[1]):
            members = [n for n, own in zip(names, group, strict=True) if own == g]
            count = int(outs[list(names).index(members[0])])
            groups.append(Group(members[0], tuple(members), count))
        layers = []
        for n, name in enumerate(names):
            inputs = []
            for g, each in enumerate(table["reads"][n]):
                if each:
                    filters = np.repeat(np.arange(groups[g].count), int(each))
                    inputs.append((g, np.arange(len(filters)), filters))
            own = None if group[n] < 0 else int(group[n])
            sized = (int(table["unit"][n]), int(table["ins"][n]), int(outs[n]), bool(table["depthwise"][n]))
            layers.append(Layer(name, *sized, own, tuple(inputs)))
        return cls(tuple(groups), tuple(layers))

    def of_layer(self, kept: Sequence[np.ndarray], name: str) -> np.ndarray:
        """The filters of a layer that are kept, in order."""
        layer = next(n for n in self.layers if n.name == name)
        return np.arange(layer.outs) if layer.group is None else kept[layer.group]


@dataclass(frozen=True)
class Size:
    """A layer as it runs. unit: MACs for one input channel and one filter. ins, outs: channels, ins of one filter. fan_in: products summed
    for one number of the output."""

    unit: int
    ins: int
    outs: int
    depthwise: bool
    fan_in: int


def sizes(network: nn.Module, example: Tensor) -> dict[str, Size]:
    """The convolutions and linear layers in the order in which they run. One that runs several times, as a shared head, costs the sum."""
    found: dict[str, Size] = {}
    names = {module: name for name, module in network.named_modules()}

    def seen(module: nn.Module, _: Any, out: Tensor) -> None:
        name = names[module]
        before = found[name].unit if name in found else 0
        if isinstance(module, nn.Conv2d):
            taps, ins = int(np.prod(module.kernel_size)), module.in_channels // module.groups
            depthwise = module.groups == module.in_channels and module.groups > 1
            unit = before + taps * out.shape[-1] * out.shape[-2]
            found[name] = Size(unit, ins, module.out_channels, depthwise, taps * ins)
        elif isinstance(module, nn.Linear):
            places = out[0].numel() // module.out_features
            found[name] = Size(before + places, module.in_features, module.out_features, False, module.in_features)

    hooks = [m.register_forward_hook(seen) for m in names if isinstance(m, nn.Conv2d | nn.Linear)]
    with still(network), torch.no_grad():
        network(example[:1])
    for hook in hooks:
        hook.remove()
    return found


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; afterwards each part has its own mode again."""
    modes = {m: m.training for m in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _library() -> Any:
    try:
        import torch_pruning
    except ImportError:
        raise InputError("Pruning needs torch-pruning; install the extra: pip install 'workbench[deploy]'.") from None
    return torch_pruning


def _graph(network: nn.Module, example: Tensor) -> Any:
    library = _library()
    needed = {p: p.requires_grad for p in network.parameters()}  # the tracing follows gradients
    for p in needed:
        p.requires_grad_(True)
    try:
        with still(network), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            return library.DependencyGraph().build_dependency(network, example_inputs=example[:1])
    except Exception as error:
        raise InputError(f"torch-pruning cannot trace this network: {str(error).splitlines()[0]}. {WAY_OUT}") from None
    finally:
        for p, need in needed.items():
            p.requires_grad_(need)


def _all_groups(graph: Any, network: nn.Module) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        last = [m for m in network.modules() if isinstance(m, nn.Linear)]
        return list(graph.get_all_groups(ignored_layers=last, root_module_types=[nn.Conv2d]))


def sliced(network: nn.Module, plan: Plan, kept: Sequence[np.ndarray], example: Tensor) -> nn.Module:
    """A copy of the network with only the `kept` filters of each group, in the order of `plan.groups`."""
    small = copy.deepcopy(network)
    if all(len(k) == g.count for k, g in zip(kept, plan.groups, strict=True)):
        return small
    library, graph = _library(), _graph(small, example)
    modules = dict(small.named_modules())
    for group, own in zip(plan.groups, kept, strict=True):
        gone = sorted(set(range(group.count)) - set(own.tolist()))
        if gone:
            graph.get_pruning_group(modules[group.root], library.prune_conv_out_channels, idxs=gone).prune()
    for p in small.parameters():
        p.grad = None
    return small


@contextmanager
def masked(network: nn.Module, plan: Plan, kept: Sequence[np.ndarray]) -> Iterator[None]:
    """Within it the network runs with the filters that are not `kept` silent: zero where another layer reads them."""
    modules = dict(network.named_modules())
    hooks = []
    for layer in plan.layers:
        alive = torch.ones(modules[layer.name].weight.shape[1] if not layer.depthwise else layer.outs)  # type: ignore[index, union-attr]
        for group, index, roots in layer.inputs:
            alive[torch.from_numpy(index[~np.isin(roots, kept[group])])] = 0
        if not bool(alive.all()):
            hooks.append(modules[layer.name].register_forward_pre_hook(_silence(alive)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _silence(alive: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor]]:
    def hook(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        x = given[0]
        gate = alive.to(x.device)
        return (x * (gate[:, None, None] if isinstance(module, nn.Conv2d) else gate),)

    return hook


def _same(network: nn.Module, plan: Plan, kept: Sequence[np.ndarray], example: Tensor, answer: Callable[[Any], Any]) -> bool:
    with torch.no_grad(), still(network):
        small = sliced(network, plan, kept, example).eval()
        cut = tensors(answer(small(example)))
        with masked(network, plan, kept):
            silent = tensors(answer(network(example)))
    pairs = list(zip(cut, silent, strict=True))
    scale = max([1.0, *(float(b.abs().max()) for _, b in pairs)])
    return all(a.shape == b.shape and float((a - b).abs().max()) < 1e-4 * scale for a, b in pairs)


def tensors(out: Any) -> list[Tensor]:
    """All tensors in a network's output, also of lists and named tuples."""
    if isinstance(out, Tensor):
        return [out]
    if isinstance(out, Mapping):
        return [t for part in out.values() for t in tensors(part)]
    return [t for part in out for t in tensors(part)] if isinstance(out, Sequence) else []


def least_filters(count: int, safeguard: float) -> int:
    """Filters that a layer keeps whatever its scores: a share `safeguard`, and at least two.

    >>> [least_filters(n, 0.1) for n in (16, 32, 64, 512)]
    [2, 4, 7, 52]
    """
    return count - max(0, min(int(np.floor(count * (1 - safeguard) + 1e-9)), count - 2))


def group_scores(plan: Plan, scores: Mapping[str, np.ndarray], how: str = "mean") -> list[np.ndarray]:
    """(filters,) score of each group from those of its members: their mean, or their sum (the code of PIC-PQ)."""
    join = np.mean if how == "mean" else np.sum
    return [join([scores[name] for name in g.members], 0) for g in plan.groups]


def choose(
    plan: Plan,
    scores: Sequence[np.ndarray],
    target: float,
    cost: Callable[[np.ndarray], float] | None = None,
    safeguard: float = 0.1,
    round_to: int = 1,
) -> list[np.ndarray]:
    """The filters of each group that are kept: the lowest scores of all groups go first, until the cost is at most `target`.

    scores: (filters,) of each group. cost: of `counts (groups,)`, by default MACs; it must fall where counts fall. safeguard: see
    `least_filters`. round_to: each group keeps a multiple of this number, rounded up.

    Raises InputError if the least numbers of filters cost more than `target`.
    """
    cost = cost or plan.cost
    full = plan.full()
    counts = after_removals(plan, scores, safeguard, round_to)
    every = int(full.sum())
    smallest = cost(counts(every))
    if smallest > target:
        raise InputError(
            f"The target is {target / cost(full):.1%} of the cost, but with safeguard={safeguard:g} and round_to={round_to} at least "
            f"{smallest / cost(full):.1%} remain, with filters that cannot be removed. Raise the target, or lower safeguard or round_to."
        )
    low, high = 0, every  # the smallest number of removals with a cost of at most the target
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cost(counts(middle)) <= target else (middle + 1, high)
    return [np.sort(np.argsort(-s, kind="stable")[:n]) for s, n in zip(scores, counts(low), strict=True)]


def after_removals(
    plan: Plan, scores: Sequence[np.ndarray], safeguard: float = 0.1, round_to: int = 1
) -> Callable[[int], np.ndarray]:
    """The function that says how many filters (groups,) are left when the n lowest scores of all groups have been removed, with the
    floor and the rounding of `choose`.
    """
    full = plan.full()
    least = np.array([least_filters(n, safeguard) for n in full])
    owner = np.repeat(np.arange(len(full)), full)
    owner = owner[np.argsort(np.concatenate([*scores, []]), kind="stable")]

    def counts(gone: int) -> np.ndarray:
        left = np.maximum(least, full - np.bincount(owner[:gone], minlength=len(full)))
        return np.minimum(full, -(-left // round_to) * round_to)

    return counts


def counts_of(kept: Sequence[np.ndarray]) -> np.ndarray:
    """(groups,) number of filters kept."""
    return np.array([len(k) for k in kept], int)
