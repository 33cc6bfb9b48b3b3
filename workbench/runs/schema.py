"""The typed model of every record in a run folder, and the one place where records are parsed.

    run_record(path)       # run.json, a validated dict
    event_line(line, ...)  # one line of events.jsonl
    numbers(path)          # metrics.json

A record that lacks a field, has a value of another type, or is no JSON raises `Damaged`, which names file and field. Whoever lists
many runs shows such a run as damaged and goes on. Fields that are not declared here are kept as they are.
"""

from __future__ import annotations

import zipfile
import zlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from workbench.errors import InputError, reason
from workbench.runs.loader import json_of, read_bytes

# What readers of damaged NetCDF, Zarr, NumPy and torch files raise
UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, EOFError, MemoryError, ArithmeticError,
    AssertionError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
KEPT = ConfigDict(strict=True, extra="allow")


class Damaged(InputError):
    """A file of a run folder cannot be read; the message says which, and where."""


def _moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("has to be a time with its time zone")
    return text


Moment = Annotated[str, AfterValidator(_moment)]
Count = Annotated[int, Field(ge=0, lt=2**53)]


@with_config(KEPT)
class OpenRecord(TypedDict):
    """`scene.open`: how the scene is opened again; see `Source.record`."""

    scene: str
    truth: NotRequired[str | None]
    keys: NotRequired[dict[str, str] | None]
    beside: NotRequired[dict[str, str]]
    after: NotRequired[str | None]
    resample: NotRequired[bool]


@with_config(KEPT)
class SceneRecord(TypedDict):
    """`scene`: provenance, hashes, and how to open it; of a scene made in memory `open` is null."""

    id: NotRequired[str]
    title: NotRequired[str]
    licence: NotRequired[str]
    fingerprint: NotRequired[str]
    digest: NotRequired[str]
    source_hash: NotRequired[str]
    sha256: NotRequired[str]
    open: NotRequired[OpenRecord | None]


@with_config(KEPT)
class FileRecord(TypedDict):
    """A file that a setting names."""

    path: str
    sha256: str


@with_config(KEPT)
class WrittenRecord(TypedDict):
    """A file or folder that a setting names to be written. existed: before the run began."""

    path: str
    existed: bool


@with_config(KEPT)
class NotebookRecord(TypedDict):
    """The notebook of a report or a cell."""

    name: str
    sha256: str
    parameters: dict[str, Any]


@with_config(KEPT)
class RunRecord(TypedDict):
    """`run.json`."""

    method: str
    config: dict[str, Any]
    scene: SceneRecord
    status: Literal["running", "finished", "stopped", "failed", "killed"]
    start: Moment
    versions: dict[str, str]
    platform: str
    end: NotRequired[Moment | None]
    error: NotRequired[str | None]
    seconds: NotRequired[Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    headline: NotRequired[list[str]]
    files: NotRequired[dict[str, FileRecord]]
    writes: NotRequired[dict[str, WrittenRecord]]
    notebook: NotRequired[NotebookRecord]
    cell: NotRequired[dict[str, Any]]
    smoke: NotRequired[bool]
    resumed: NotRequired[list[str]]
    pid: NotRequired[Annotated[int, Field(ge=1, lt=2**31)]]
    pid_start: NotRequired[str | None]
    host: NotRequired[str]
    processes: NotRequired[str | None]
    cpu: NotRequired[str]
    device: NotRequired[str]
    threads: NotRequired[Annotated[int, Field(ge=1, lt=2**20)]]
    command: NotRequired[str]
    commit: NotRequired[str]
    dirty: NotRequired[bool]
    code: NotRequired[str]
    packages: NotRequired[str]


@with_config(KEPT)
class EventLine(TypedDict):
    """One event in `events.jsonl`."""

    step: Annotated[int, Field(ge=-(2**53), lt=2**53)]
    scalars: dict[str, float]
    seconds: NotRequired[float]
    of: NotRequired[Count | None]
    arrays: NotRequired[list[str]]


@with_config(KEPT)
class ResumedLine(TypedDict):
    """A line of `events.jsonl` that supersedes the events after a step."""

    resumed_from: int


@with_config(KEPT)
class LaunchRecord(TypedDict):
    """`launch.json`."""

    pid: Annotated[int, Field(ge=1, lt=2**31)]
    pid_start: NotRequired[str | None]
    host: str
    processes: NotRequired[str | None]


@with_config(KEPT)
class FrameNote(TypedDict):
    """The note of one array in a frame: what NumPy's file does not hold."""

    dims: list[str]
    coords: dict[str, list[str]]
    attrs: dict[str, Any]


_RUN = TypeAdapter(RunRecord)
_EVENT = TypeAdapter(EventLine)
_RESUMED = TypeAdapter(ResumedLine)
_LAUNCH = TypeAdapter(LaunchRecord)
_NOTE = TypeAdapter(dict[str, FrameNote])
_NUMBERS = TypeAdapter(dict[str, float], config=ConfigDict(strict=True))


def run_record(path: Path) -> dict[str, Any]:
    """`run.json`. Raises FileNotFoundError where there is none, else Damaged."""
    path.stat()
    return _file(path, _RUN)


def numbers(path: Path) -> dict[str, float]:
    """`metrics.json`. Raises Damaged."""
    return _file(path, _NUMBERS)


def launch_record(path: Path) -> dict[str, Any]:
    """`launch.json`. Raises Damaged."""
    return _file(path, _LAUNCH)


def event_line(line: bytes, where: str) -> dict[str, Any]:
    """One line of `events.jsonl`. where: file and line, for the error. Raises Damaged."""
    value = _json(line, where)
    return _checked(value, _RESUMED if isinstance(value, dict) and "resumed_from" in value else _EVENT, where)


def frame_note(content: bytes, where: str) -> dict[str, Any]:
    """The note of a frame: array -> its dims, coordinates and attributes. Raises Damaged."""
    return _checked(_json(content, where), _NOTE, where)


def requested(path: Path) -> str:
    """What `control.json` requests; empty where it requests nothing, or is just being written."""
    try:
        about = json_of(read_bytes(path), str(path))
    except InputError:
        return ""
    return str(about.get("request", "")) if isinstance(about, dict) else ""


def _file(path: Path, model: TypeAdapter) -> Any:
    try:
        content = read_bytes(path)
    except InputError as error:
        raise Damaged(str(error)) from None
    return _checked(_json(content, str(path)), model, str(path))


def _json(content: bytes, where: str) -> Any:
    try:
        return json_of(content, where)
    except InputError as error:
        raise Damaged(str(error)) from None


def _checked(value: Any, model: TypeAdapter, where: str) -> Any:
    try:
        return model.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Damaged(
            f"{where} is not what the workbench writes ({f'{place}: ' if place else ''}{reason(first)}); the folder was damaged "
            "after it was written."
        ) from None
