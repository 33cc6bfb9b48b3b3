"""Dask: tasks and blocks of lazy arrays, computed in order and a few ahead, by threads of this process or on a cluster.

    for where, block in blocks(score.data):       # (slice, slice), ndarray; never more than a few blocks in memory
        out[where] = block

An active `dask.distributed.Client` is used; `connected("tcp://host:8786")` creates one. Otherwise threads of this process
compute, one more than BLAS may use, so that one can wait for the disk. Results come in the order of the tasks, in whatever
order they finish: sums over them round equally on one thread and on a hundred workers. Because results come one at a time,
their number is also the progress; the scheduler is not queried.

When a worker dies, Dask gives its tasks to another. When the scheduler is lost, or no worker is left for `ALONE` seconds, an
InputError says so; Dask itself would wait for ever. Closing an iterator early cancels all waiting tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.engines import blas
from workbench.errors import InputError

if TYPE_CHECKING:
    import dask.array as da
    from dask.delayed import Delayed
    from distributed import Client

AHEAD = 2  # submitted tasks per thread of the cluster
PATIENCE = 30.0  # seconds to wait for a scheduler and for its first worker
ALONE = 60.0  # seconds without any worker after which the cluster counts as lost; Dask's setting workbench.without-workers changes it
LOOK = 1.0  # seconds between two looks at the cluster
_lost: dict[int, str] = {}  # id of a client that `connected` watches -> why its cluster is lost


def active() -> Client | None:
    """The active client of `dask.distributed` in this process, or None. Imports nothing.

    Raises InputError when the cluster of `connected` is lost: what remains would otherwise be computed here without a word.
    """
    if why := next(iter(_lost.values()), ""):
        raise InputError(f"{why} {_ADVICE}")
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.Client.current(allow_global=True)
    except ValueError:
        return None


@contextlib.contextmanager
def connected(address: str, *, default: bool = True) -> Iterator[Client]:
    """A client of the scheduler at `address` (`tcp://host:8786`) until the block is left. default: Dask computes on it meanwhile.

    Raises InputError when distributed is not installed, the scheduler does not answer, or it has no worker within 30 s; and in the
    block, where results are awaited, when the scheduler is lost or when it has no worker for `ALONE` seconds.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            "Working on a cluster needs the package distributed, here and on its workers: pip install 'workbench[cluster]'."
        ) from None
    try:
        reach(address, PATIENCE)
        # a client that fails to connect would otherwise remain Dask's default scheduler
        Client(address, timeout=PATIENCE, set_as_default=False).close()
    except (OSError, TimeoutError, ValueError, TypeError, ImportError) as error:
        raise InputError(
            f"No Dask scheduler answers at {address!r} ({str(error).splitlines()[0] if str(error) else type(error).__name__}). "
            "Start one with `dask scheduler`, and give its address as tcp://HOST:8786."
        ) from None
    with _without_its_log(), Client(address, timeout=PATIENCE, set_as_default=default) as client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise InputError(
                f"The scheduler at {address} has no workers; start some with `dask worker {address}`."
            ) from None
        over = threading.Event()
        watch = threading.Thread(target=_watch, args=(client, address, over), name="workbench-cluster", daemon=True)
        watch.start()
        try:
            yield client
        except Exception as error:
            # what Dask computes by itself (`compute()`) ends with an error of its own
            if type(error).__module__.partition(".")[0] in ("distributed", "concurrent") and client.status != "running":
                raise InputError(f"{lost(client) or _gone(address)} {_ADVICE}") from None
            raise
        finally:
            over.set()
            watch.join()
            _lost.pop(id(client), None)


def lost(client: Client) -> str:
    """Why the cluster of a client of `connected` is lost; empty while it is there."""
    return _lost.get(id(client), "")


def _watch(client: Client, address: str, over: threading.Event) -> None:
    """Note when the cluster is lost, and close the client then: whoever waits for a result gets an error instead."""
    import dask

    alone = float(dask.config.get("workbench.without-workers", ALONE))
    seen = time.monotonic()
    while not over.wait(LOOK):
        try:
            scheduler = client.scheduler if client.status == "running" else None
            there = scheduler is not None and client.sync(scheduler.ncores, callback_timeout=PATIENCE)
        except Exception:  # of the connection, or of a client that is being closed
            there = None
        if over.is_set():
            return
        if there:
            seen = time.monotonic()
        elif client.status != "running" or there is None:
            _lost[id(client)] = _gone(address)
        elif time.monotonic() - seen > alone:
            _lost[id(client)] = f"The Dask scheduler at {address} has had no worker for {alone:g} s."
        if id(client) in _lost:
            with contextlib.suppress(Exception):
                client.close(timeout=LOOK)
            return


def _gone(address: str) -> str:
    return f"The Dask scheduler at {address} is lost."


_ADVICE = (
    "Start the cluster again and repeat the command; a run that has its folder already goes on with `workbench run --resume "
    "FOLDER`, on this machine, or on a cluster with --scheduler."
)


@contextlib.contextmanager
def _without_its_log() -> Iterator[None]:
    """Within: `distributed` does not log a lost connection with pages of tracebacks; the error says it once."""
    loggers = [logging.getLogger(name) for name in ("distributed.client", "distributed.core", "distributed.comm")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def reach(address: str, seconds: float) -> None:
    """Raise OSError or ValueError unless something of Dask answers there. Asked before a client is made: one that has failed to connect
    is closed when the process ends, and waits for that for ever."""
    from concurrent.futures import ThreadPoolExecutor

    from distributed.comm import connect
    from distributed.security import Security

    async def ask() -> None:
        comm = await connect(address, timeout=seconds, **Security().get_connection_args("client"))
        await comm.close()

    with ThreadPoolExecutor(1) as thread:  # a notebook has an event loop of its own
        thread.submit(lambda: asyncio.run(ask())).result()


@contextlib.contextmanager
def own_threads() -> Iterator[None]:
    """Inside the block, Dask computes with threads of this process.

    Dask, and xarray when it writes a file, import dask.distributed only to check for a cluster. That takes longer than a
    small run, so the import is blocked inside the block, unless it is imported already.
    """
    import dask
    from dask import threaded

    hidden = "distributed" not in sys.modules
    if hidden:
        sys.modules["distributed"] = None  # type: ignore[assignment]  # its import raises ImportError
    try:
        with dask.config.set(scheduler=threaded.get):
            yield
    finally:
        if hidden:
            del sys.modules["distributed"]


def blocks(array: da.Array, *, here: bool = False) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """(position of the block as slices, its values) of each block of a Dask array, in the order of the array.

    here: computed in this process, also while a client is active: of a file that only this machine sees.
    """
    edges = [np.cumsum((0, *sizes)).tolist() for sizes in array.chunks]
    places = product(*([slice(a, b) for a, b in pairwise(e)] for e in edges))
    yield from zip(places, results(array.to_delayed().ravel().tolist(), here=here), strict=True)


def results(tasks: Sequence[Delayed], *, here: bool = False) -> Iterator[Any]:
    """The result of each task, in order. Only a few results that finish before their turn are kept in memory.

    here: as of `blocks`. An exception of a task is raised at its turn.
    """
    import dask

    if not tasks:
        return
    optimised = dask.optimize(*tasks)  # once for all tasks: separately, each would search the whole graph
    graph = dict(optimised[0].__dask_graph__())
    keys = [task.key for task in optimised]
    client = None if here else active()
    yield from _on_cluster(client, graph, keys) if client is not None else _on_threads(graph, keys)


def workers() -> int:
    """Number of tasks that run in parallel in this process; 0 with Dask's synchronous scheduler."""
    import dask

    if dask.config.get("scheduler", None) in ("sync", "synchronous", "single-threaded"):
        return 0
    return int(dask.config.get("num_workers", None) or blas.threads() + 1)


def _on_threads(graph: Mapping[Any, Any], keys: Sequence[Any]) -> Iterator[Any]:
    from concurrent.futures import ThreadPoolExecutor

    threads = workers()
    if threads == 0:
        yield from (_compute(graph, key) for key in keys)
        return
    left, waiting = iter(keys), deque[Any]()
    with ThreadPoolExecutor(threads, "workbench-block") as pool:
        try:
            while True:
                waiting.extend(
                    pool.submit(_with_one_blas_thread, graph, key) for key in islice(left, threads + 1 - len(waiting))
                )
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _with_one_blas_thread(graph: Mapping[Any, Any], key: Any) -> Any:
    with blas.one_thread():
        return _compute(graph, key)


def _compute(graph: Mapping[Any, Any], key: Any) -> Any:
    """The result of one task and its dependencies, computed in this thread."""
    import dask
    from dask.optimization import cull

    return dask.get(cull(graph, [key])[0], key)


def _on_cluster(client: Client, graph: Mapping[Any, Any], keys: Sequence[Any]) -> Iterator[Any]:
    from concurrent.futures import CancelledError

    from dask.delayed import Delayed
    from dask.optimization import cull
    from distributed.comm import CommClosedError

    left, waiting, address = iter(keys), deque[Any](), _address(client)
    try:
        while True:
            room = max(2, AHEAD * sum(client.nthreads().values())) if len(waiting) < 2 else 0
            more = [Delayed(key, cull(graph, [key])[0]) for key in islice(left, room)]
            if more:
                waiting.extend(client.compute(more))
            if not waiting:
                return
            yield waiting.popleft().result()
    except (CancelledError, OSError) as error:  # a lost scheduler cancels its futures
        if client.status == "running" and not isinstance(error, CancelledError | CommClosedError):
            raise
        raise InputError(f"{lost(client) or _gone(address)} {_ADVICE}") from None
    finally:
        if waiting and client.status == "running":
            client.cancel(list(waiting))


def _address(client: Client) -> str:
    return str(client.scheduler.address) if client.scheduler is not None else "an unknown address"
