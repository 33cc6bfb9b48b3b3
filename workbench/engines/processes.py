"""torch.distributed ranks whose rank 0 gives a trace: spawned on this machine, or started by torchrun.

    def worker(rank, world, *args, state=None):      # a generator at the top of a module; the same on every rank
        ...
        yield Event(step, ..., state=lambda: {...})  # only rank 0's events are shown; all ranks must yield equally often
        return anything

    outcome = yield from ranks(worker, images, labels, world=2)

Under torchrun (`torchrun --nproc-per-node 2 -m workbench run ...`) the same line uses the ranks that torchrun started. A rank
continues only when rank 0 has been asked for its next event, so that no rank waits in a collective while a run is paused.
The state of an event holds the states of all ranks. When a rank dies, the others are stopped, and `RankLost` names it.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from datetime import timedelta
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from workbench.engines import under_torchrun
from workbench.errors import InputError
from workbench.event import Event
from workbench.runs.recorder import Stopped

Worker = Callable[..., Generator[Event, None, Any]]
GRACE = 3.0  # seconds in which ranks may report an error, or end by themselves
FOREVER = timedelta(days=365)  # a paused run waits for its user, not for a timeout


class RankLost(InputError):
    """A rank died, hung or could not be reached. Nothing is wrong with the run: it continues from its last checkpoint."""


def ranks(
    worker: Worker,
    *args: Any,
    world: int = 2,
    state: Mapping[str, Any] | None = None,
    timeout: float = 60.0,
    threads: int | None = None,
) -> Generator[Event, None, Any]:
    """The trace of rank 0 of `world` ranks that all run `worker(rank, world, *args, state=...)`; returns what it returns.

    state: the state of an event of such a trace, of as many ranks. timeout: seconds after which a rank that does not
    answer in a collective counts as lost. threads: torch threads of each spawned rank; None: the cores shared evenly.

    Raises RankLost when a rank dies or hangs; InputError when torchrun started another number of ranks, or when a rank raised
    one; for another error of a spawned rank RuntimeError with its traceback, under torchrun that error itself.
    """
    if world < 1:
        raise InputError(f"A run needs at least one rank, got {world}.")
    if state is not None and len(state["ranks"]) != world:
        raise InputError(
            f"This checkpoint was made by {len(state['ranks'])} ranks and each has a part of it; {world} cannot continue it."
        )
    states = [None] * world if state is None else list(state["ranks"])
    if under_torchrun():
        return (yield from _under_torchrun(worker, args, world, states, timeout))
    return (yield from _spawned(worker, args, world, states, timeout, threads))


def rank_device(rank: int) -> torch.device:
    """The device of a rank: a CUDA device of its own if there are enough, else the CPU."""
    if _nccl(dist.get_world_size() if dist.is_initialized() else 1):
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)))
    return torch.device("cpu")


def loopback_bytes() -> int | None:
    """Bytes that all processes of this machine have sent over the loopback interface since it started (Linux).

    None on other systems, and where ranks are on several machines.
    """
    if under_torchrun() and os.environ.get("LOCAL_WORLD_SIZE") != os.environ.get("WORLD_SIZE"):
        return None
    try:
        lines = Path("/proc/net/dev").read_text().splitlines()
        return next(int(line.split(":")[1].split()[8]) for line in lines if line.strip().startswith("lo:"))
    except (OSError, StopIteration, IndexError, ValueError):
        return None


# --- in step: rank 0 leads, the others follow ------------------------------------------------------------------------


class _Gate:
    """Between two events, rank 0 puts `next`, `state` or `stop` into the store; the other ranks wait for it."""

    def __init__(self, store: dist.Store, name: str) -> None:
        """store: a connection of its own, because waits on it have no timeout."""
        store.set_timeout(FOREVER)
        self.store, self.count = dist.PrefixStore(name, store), 0

    def send(self, word: str) -> None:
        self.store.set(f"word-{self.count}", word)
        if self.count >= 2:  # all ranks have read it, because they took part in a later collective
            self.store.delete_key(f"word-{self.count - 2}")
        self.count += 1

    def receive(self) -> str:
        word = self.store.get(f"word-{self.count}").decode()
        self.count += 1
        return word


def _lead(trace: Generator[Event, None, Any], gate: _Gate) -> Generator[Event, None, Any]:
    """Rank 0's trace. The other ranks continue when it does; the states of its events hold those of all ranks."""
    going = True
    try:
        while True:
            try:
                event = next(trace)
            except StopIteration as end:
                going = False
                return end.value
            yield replace(event, state=_all_states(gate, event.state) if event.state is not None else None)
            gate.send("next")
    finally:
        trace.close()
        if going:
            with contextlib.suppress(RuntimeError):
                gate.send("stop")


def _follow(trace: Generator[Event, None, Any], gate: _Gate) -> Any:
    """The trace of another rank, driven to its end. Raises Stopped when rank 0 stops."""
    while True:
        try:
            event = next(trace)
        except StopIteration as end:
            return end.value
        while (word := gate.receive()) == "state":
            assert event.state is not None
            _send_state(event.state())
        if word == "stop":
            trace.close()
            raise Stopped


def _all_states(gate: _Gate, own: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    def state() -> dict[str, Any]:
        gate.send("state")
        return {"ranks": [own(), *(_receive_state(rank) for rank in range(1, dist.get_world_size()))]}

    return state


def _message_device() -> torch.device:
    return torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")


def _send_state(state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8).to(_message_device())
    dist.send(torch.tensor([len(content)], device=_message_device()), 0)
    dist.send(content, 0)


def _receive_state(rank: int) -> dict[str, Any]:
    size = torch.zeros(1, dtype=torch.int64, device=_message_device())
    dist.recv(size, rank)
    content = torch.empty(int(size), dtype=torch.uint8, device=_message_device())
    dist.recv(content, rank)
    return torch.load(io.BytesIO(content.cpu().numpy().tobytes()), weights_only=True)


def _begin(store: dist.Store, rank: int, world: int, timeout: float) -> None:
    """Make the default process group; NCCL where every rank has a CUDA device of its own, else gloo."""
    backend = "nccl" if _nccl(world) else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timedelta(seconds=timeout))
    if backend == "nccl":
        torch.cuda.set_device(rank_device(rank))


def _nccl(world: int) -> bool:
    """Whether CUDA is wanted and every rank on this machine can have a device of its own."""
    from workbench.parts.device import device

    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    return device().type == "cuda" and torch.cuda.device_count() >= here


_SIGNS_OF_LOSS = ("connection", "timed out", "timeout", "peer", "socket", "broken pipe", "wait for", "nccl")


def _about_others(error: BaseException) -> bool:
    """Whether an error was caused by the loss of another rank."""
    if isinstance(error, InputError) or not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return isinstance(error, dist.DistError) or ("gloo" in text or any(sign in text for sign in _SIGNS_OF_LOSS))


# --- ranks that torchrun started -------------------------------------------------------------------------------------


def _under_torchrun(worker: Worker, args: tuple, world: int, states: list, timeout: float) -> Generator[Event, None, Any]:
    rank, there = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if there != world:
        raise InputError(
            f"torchrun started {there} ranks, but this run is set to {world}; start {world} (--nproc-per-node {world}), or "
            f"add --set workers={there}."
        )
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    run = f"workbench/{os.environ['TORCHELASTIC_RUN_ID']}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    mine = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" and rank == 0
    store = dist.TCPStore(address, port, is_master=mine, timeout=timedelta(seconds=timeout), wait_for_workers=False)
    words = dist.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=timeout), wait_for_workers=False)
    gate = _Gate(words, f"{run}/gate")
    _begin(dist.PrefixStore(f"{run}/group", store), rank, world, timeout)
    with _sigterm_as_error():
        try:
            trace = worker(rank, world, *args, state=states[rank])
            if rank == 0:
                return (yield from _lead(trace, gate))
            return _follow(trace, gate)
        except RuntimeError as error:
            if _about_others(error):
                raise RankLost(f"rank {rank} lost another rank of {world}: {_first_line(error)}") from None
            raise
        finally:
            dist.destroy_process_group()


@contextlib.contextmanager
def _sigterm_as_error() -> Generator[None, None, None]:
    """Turn torchrun's SIGTERM, its answer to the death of a rank, into an error that the run folder can record."""

    def lost(number: int, frame: Any) -> None:
        raise RankLost("torchrun ended this rank, since another one had died")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lost)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- ranks of our own ------------------------------------------------------------------------------------------------


def _spawned(
    worker: Worker, args: tuple, world: int, states: list, timeout: float, threads: int | None
) -> Generator[Event, None, Any]:
    context = _context()
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # any free port
    threads = threads or max(1, (os.cpu_count() or 1) // world)
    pipes, children = [], []
    for rank in range(world):
        ours, theirs = context.Pipe()
        child = context.Process(
            target=_rank_main,
            args=(rank, world, store.port, theirs, worker, args, states[rank], timeout, threads, dict(os.environ)),
            daemon=True,
            name=f"rank {rank}",
        )
        pipes.append(ours)
        children.append(child)
    spawned = _SpawnedRanks(children, pipes, timeout)
    try:
        with _without_callers_script(worker):
            for child in children:
                child.start()
        while True:
            kind, content = spawned.ask("next")
            if kind == "done":
                return content
            event, has_state = content
            yield replace(event, state=spawned.state) if has_state else event
    finally:
        spawned.dismiss()


def _context() -> Any:
    """How ranks are started: on Linux forked from a server process that has imported torch once, elsewhere spawned.

    A spawned rank computes 3 s only to import torch. The server ends with this process.
    """
    if not sys.platform.startswith("linux"):
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", __name__])  # DistributedDataParallel imports the first
    return context


@contextlib.contextmanager
def _without_callers_script(worker: Worker) -> Generator[None, None, None]:
    """Have spawned processes import the worker's module only.

    Else Python runs the caller's script again in each of them: one without `if __name__ == "__main__"` would start ranks of
    its own, and one read from standard input could not be found.
    """
    main = sys.modules["__main__"]
    hidden = {} if worker.__module__ == "__main__" else {n: getattr(main, n, None) for n in ("__file__", "__spec__")}
    try:
        for name in hidden:
            setattr(main, name, None)
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


class _SpawnedRanks:
    """The spawned ranks, seen from the process that started them."""

    def __init__(self, children: list, pipes: list, timeout: float) -> None:
        self.children, self.pipes, self.timeout, self.last = children, pipes, timeout, "at its start"
        self.open = dict(enumerate(pipes))  # pipes that may still bring messages

    def ask(self, word: str) -> tuple[str, Any]:
        """Rank 0's answer to `next` or `state`. Raises as soon as any rank reports an error or ends."""
        with contextlib.suppress(OSError):  # the rank has ended; the reason is found below
            self.pipes[0].send(word)
        errors: dict[int, dict[str, Any]] = {}
        while not errors:
            for rank, kind, content in self._receive(1.0):
                if kind == "error":
                    errors[rank] = content
                elif rank == 0:
                    if kind == "event":
                        self.last = f"after event {content[0].step}"
                    return kind, content
            if 0 not in self.open or any(c.exitcode not in (None, 0) for c in self.children):
                break
        raise self._reason(errors)

    def _receive(self, seconds: float) -> list[tuple[int, str, Any]]:
        """Messages of the ranks; an empty list after `seconds`, or when a rank ends."""
        running = [c.sentinel for c in self.children if c.exitcode is None]
        ready = connection.wait([*self.open.values(), *running], seconds)
        messages = []
        for rank, pipe in list(self.open.items()):
            if pipe in ready:
                try:
                    messages.append((rank, *pipe.recv()))
                except (EOFError, OSError):
                    del self.open[rank]
        return messages

    def state(self) -> dict[str, Any]:
        """The state of all ranks, as rank 0 has gathered it."""
        _, content = self.ask("state")
        return torch.load(io.BytesIO(content), weights_only=True)

    def _reason(self, errors: dict[int, dict[str, Any]]) -> Exception:
        """The cause, from the messages that arrive within GRACE: a killed rank, else an error of a rank itself, else a lost rank."""
        until = time.monotonic() + GRACE
        killed: list[int] = []
        while time.monotonic() < until and not killed and not any(not t["others"] for t in errors.values()):
            errors |= {rank: content for rank, kind, content in self._receive(0.1) if kind == "error"}
            killed = [r for r, c in enumerate(self.children) if (c.exitcode or 0) < 0]
            if not self.open:
                break
        n, advice = len(self.children), "The other ranks were stopped; the run continues from its last checkpoint."
        if killed:
            how = signal.Signals(-self.children[killed[0]].exitcode).name
            return RankLost(f"Rank {killed[0]} of {n} was killed ({how}) {self.last}. {advice}")
        own = [t for t in errors.values() if not t["others"]]
        if own:
            what = min(own, key=lambda t: not t["input"])
            if what["input"]:
                return (RankLost if what["lost"] else InputError)(what["message"])
            return RuntimeError(f"rank {what['rank']} raised {what['message']}\n{what['trace']}")
        for rank, what in errors.items():
            return RankLost(
                f"Rank {rank} of {n} got no answer from another rank within {self.timeout:g} s, {self.last} "
                f"({what['message']}). {advice}"
            )
        ended = {r: c.exitcode for r, c in enumerate(self.children) if c.exitcode is not None}
        return RankLost(f"Ranks ended {self.last} and reported no error; their exit codes are {ended}. {advice}")

    def dismiss(self) -> None:
        """Ask all ranks to end, then kill those that do not."""
        with contextlib.suppress(OSError, IndexError):
            self.pipes[0].send("stop")
        started = [c for c in self.children if c.pid is not None]
        if any(c.exitcode not in (None, 0) for c in started):  # the others may wait for the one that has ended
            for child in started:
                child.terminate()
        until = time.monotonic() + GRACE
        for child in started:
            child.join(max(0.1, until - time.monotonic()))
        for child in started:
            if child.exitcode is None:
                child.kill()
                child.join()
            child.close()
        for pipe in self.pipes:
            pipe.close()


def _rank_main(
    rank: int,
    world: int,
    port: int,
    pipe: connection.Connection,
    worker: Worker,
    args: tuple,
    state: Mapping[str, Any] | None,
    timeout: float,
    threads: int,
    environment: Mapping[str, str],
) -> None:
    """What a rank does, from start to end. environment: that of the calling process; the fork server may have an older one."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process decides when to stop
    torch.set_num_threads(threads)
    if sys.platform.startswith("linux"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the host's name may lead to an interface that is not up
    try:
        store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=timeout), wait_for_workers=False)
        words = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=timeout), wait_for_workers=False)
        gate = _Gate(words, "gate")
        _begin(dist.PrefixStore("group", store), rank, world, timeout)
        trace = worker(rank, world, *args, state=state)
        if rank == 0:
            _serve(_lead(trace, gate), pipe)
        else:
            with contextlib.suppress(Stopped):
                _follow(trace, gate)
    except BaseException as error:
        given = isinstance(error, InputError)
        what = {
            "rank": rank,
            "message": str(error) if given else f"{type(error).__name__}: {_first_line(error)}",
            "trace": traceback.format_exc(),
            "input": given,
            "lost": isinstance(error, RankLost),
            "others": _about_others(error),
        }
        with contextlib.suppress(OSError):
            pipe.send(("error", what))
        os._exit(1)  # a broken group may hang when it is taken down in order
    dist.destroy_process_group()


def _serve(trace: Generator[Event, None, Any], pipe: connection.Connection) -> None:
    """Rank 0: sends one event for each `next`, the state for `state`, and ends at `stop` or when the parent has ended."""
    event: Event | None = None
    while True:
        try:
            word = pipe.recv()
        except EOFError:  # the parent process has ended
            word = "stop"
        if word == "stop":
            trace.close()
            return
        if word == "state":
            assert event is not None
            assert event.state is not None
            buffer = io.BytesIO()
            torch.save(event.state(), buffer)
            pipe.send(("state", buffer.getvalue()))
            continue
        try:
            event = next(trace)
        except StopIteration as end:
            _send_by_value(pipe, ("done", end.value))
            return
        _send_by_value(pipe, ("event", (replace(event, state=None), event.state is not None)))


def _send_by_value(pipe: connection.Connection, what: Any) -> None:
    """Send by value: torch's own way would share memory with a process that may end before it is read."""
    pipe.send_bytes(pickle.dumps(what))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
