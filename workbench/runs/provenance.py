"""What a number depends on besides settings and data: code of the package, installed packages, machine and command.

    code_hash()        # SHA-256 over the package's own modules
    packages()         # {"numpy": "2.3.4", ...}, all installed packages
    environment()      # all of it, as stored in `run.json`

Two runs with equal settings, data, `code`, `versions`, `cpu`, `device` and `threads` give the same numbers to the last bit.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import socket
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "workbench",
    "torch",
    "numpy",
    "scipy",
    "xarray",
    "dask",
    "scikit-learn",
    "numba",
)  # packages that compute numbers
DRAWING = ("pages", "views")  # subpackages that compute no numbers
SESSION = "JPY_SESSION_NAME"  # set by Jupyter servers: the path of the notebook of a kernel
COMMAND = "WORKBENCH_COMMAND"  # environment variable: the user's command, inherited by child processes


@cache
def code_hash() -> str:
    """SHA-256 over names and contents of the package's modules, without those that only draw."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        if name.parts[0] not in DRAWING:
            digest.update(f"{name.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def packages() -> dict[str, str]:
    """Name -> version of every installed distribution; the first one on the path counts, as for imports."""
    installed: dict[str, str] = {}
    for place in sys.path:
        folder = Path(place or ".")
        if not folder.is_dir():
            continue
        for info in sorted(folder.glob("*.dist-info")):
            name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
            installed.setdefault(name.lower().replace("_", "-"), version)
    return dict(sorted(installed.items()))


def lock() -> str:
    """`packages` as a requirements file: one `name==version` per line."""
    return "".join(f"{name}=={version}\n" for name, version in packages().items())


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def environment() -> dict[str, Any]:
    """Process, machine, versions, code, command and commit, for `run.json`."""
    return {
        "pid": os.getpid(),
        "pid_start": pid_start(os.getpid()),
        "host": socket.gethostname(),
        "processes": processes(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "versions": versions(),
        "packages": hashlib.sha256(lock().encode()).hexdigest(),
        "code": code_hash(),
        "command": command(),
        "threads": threads(),
        **commit(),
    }


def threads() -> int:
    """Threads that torch uses, or would use if imported: sums in another order differ in their last digits."""
    if "torch" in sys.modules:
        return sys.modules["torch"].get_num_threads()
    requested = os.environ.get("OMP_NUM_THREADS", "")
    return (
        int(requested)
        if requested.isdecimal() and int(requested)
        else len(os.sched_getaffinity(0))
        if _LINUX
        else os.cpu_count() or 1
    )


_LINUX = hasattr(os, "sched_getaffinity")


@cache
def cpu() -> str:
    """Model of the processor; another model may use other instructions, which round differently."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def command() -> str:
    """The command line behind this process: what the user typed, also in child processes; of a notebook its file, if known."""
    if COMMAND in os.environ:
        return os.environ[COMMAND]
    if "ipykernel" in sys.argv[0]:
        file = os.environ.get(SESSION, "")
        return f"cells of {Path(file).name}" if file.endswith(".ipynb") else "cells of a notebook whose file is not known"
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:  # python -m MODULE
        return shlex.join(["python", "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]])
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@cache
def commit() -> dict[str, Any]:
    """Commit of the code and whether the tree was dirty; empty where the package is not in a git checkout."""
    here = Path(__file__).parent.parent

    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=here, capture_output=True, text=True, timeout=10, check=True).stdout

    try:
        return {"commit": git("rev-parse", "HEAD").strip(), "dirty": bool(git("status", "--porcelain", "-uno").strip())}
    except (OSError, subprocess.SubprocessError):
        return {}


@cache
def processes() -> str | None:
    """The name space of process numbers (Linux): that of a container is not that of its host."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def pid_start(pid: int) -> str | None:
    """When a process began, in clock ticks since boot (Linux); distinguishes a process from a later one with the same id.

    None for a process that has ended, also while the one that started it has not asked how.
    """
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZXx" else numbers[18]
    except (OSError, ValueError, IndexError):
        return None
