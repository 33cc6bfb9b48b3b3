"""Python processes that begin with the large libraries loaded: forks of one server, in place of fresh interpreters.

    with forking(folder) as python:                       # path of a program that takes the place of `sys.executable`
        subprocess.run([python, "-m", "ipykernel_launcher", ...])

A kernel of a report imports torch, xarray and matplotlib for seconds before it does anything that a test looks at. The program passes its
arguments, environment, working folder and standard streams to the server, whose fork runs the module; it ends as the fork ends, and the
fork ends when it is ended. Only libraries are loaded before, nothing of the workbench. Linux only: elsewhere it is `sys.executable`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBRARIES = (
    "torch",
    "xarray",
    "dask.array",
    "h5netcdf",
    "matplotlib.figure",
    "pandas",
    "scipy.stats",
    "sklearn.svm",
    "ipykernel.kernelapp",
)
# what stands in place of the interpreter: it starts without site packages
_PROGRAM = """#!{python} -IS
import array, json, os, signal, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
told = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
link.sendmsg([len(told).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
link.sendall(told)
ended = link.recv(16)
if not ended:
    sys.exit("the server of forks has ended")
code = int(ended)
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextmanager
def forking(folder: Path) -> Iterator[str]:
    """A server of forks with its socket and its program in `folder`; gives the path of the program."""
    if sys.platform != "linux":
        yield sys.executable
        return
    program, address = folder / "python", str(folder / "forks")
    program.write_text(_PROGRAM.format(python=sys.executable, address=address))
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forking", str(door.fileno())],
            cwd=Path(__file__).parents[1],
            pass_fds=[door.fileno()],
            stdin=subprocess.PIPE,
            env={**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"},  # as a kernel has it
        )
    try:
        yield str(program)
    finally:
        process.communicate()  # it ends with its standard input


def _serve(door: socket.socket) -> None:
    import gc
    import importlib
    import select

    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    watchers: set[int] = set()
    while True:
        ready, _, _ = select.select([door, sys.stdin], [], [], 1.0)
        watchers -= {watcher for watcher in watchers if os.waitpid(watcher, os.WNOHANG)[0]}
        if sys.stdin in ready:
            return
        if door in ready:
            link, _ = door.accept()
            watcher = os.fork()
            if watcher == 0:
                door.close()
                _watched(link)
            watchers.add(watcher)
            link.close()


def _watched(link: socket.socket) -> None:
    """Run what the other end asks for in a fork; tell it how that ended, and end the fork when the other end has gone."""
    import json
    import select

    size, streams, _, _ = socket.recv_fds(link, 8, 3)
    told = b""
    while len(told) < int.from_bytes(size, "big"):
        told += link.recv(1 << 20)
    arguments, environment, folder = json.loads(told)
    child = os.fork()
    if child == 0:
        link.close()
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        _run(arguments)
    for number in (0, 1, 2, *streams):
        os.close(number)
    handle = os.pidfd_open(child)
    ready, _, _ = select.select([link, handle], [], [])
    if handle not in ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    try:
        link.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    finally:
        os._exit(0)


def _run(arguments: list[str]) -> None:
    """`python -m MODULE ...`, to the end of the process."""
    import runpy
    import threading
    import traceback

    code = 1
    try:
        flag, module, *rest = arguments
        assert flag == "-m", arguments
        sys.argv, sys.path[0] = [module, *rest], os.getcwd()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
