"""The one loader of JSON and YAML that users and other machines wrote: size and depth are limited, YAML has no aliases.

    read_yaml("grid.yml")                       # InputError names the file and the line
    json_of(line, "events.jsonl, line 7")

A small file can stand for a huge value: YAML's aliases repeat a part, nested brackets exhaust the stack, a pipe never ends.
All of these are refused before the value is made.
"""

from __future__ import annotations

import codecs
import json
import re
import stat
from pathlib import Path
from typing import Any

from workbench.errors import InputError

LARGEST = 64 << 20  # bytes of a JSON or YAML file
DEEPEST = 50  # lists and mappings within one another
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_bytes(path: str | Path, *, largest: int = LARGEST) -> bytes:
    """The content of an ordinary file. Raises InputError for a pipe, a device, a folder, a missing or an over-long file."""
    path = Path(path)
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{path} is not an ordinary file; give a file.")
        if about.st_size > largest:
            raise InputError(
                f"{path} has {about.st_size / 1e6:.0f} MB; at most {largest / 1e6:.0f} MB are read of such a file."
            )
        with open(path, "rb") as file:
            return file.read(largest + 1)
    except FileNotFoundError:
        raise InputError(f"{path} cannot be read: No such file; correct the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}).") from None


def read_json(path: str | Path, *, largest: int = LARGEST) -> Any:
    """The value of a JSON file. Raises InputError as `read_bytes` and `json_of`."""
    return json_of(read_bytes(path, largest=largest), str(path))


def read_yaml(path: str | Path, *, largest: int = LARGEST) -> Any:
    """The value of a YAML file. Raises InputError as `read_bytes` and `yaml_of`."""
    return yaml_of(read_bytes(path, largest=largest), str(path))


def json_of(text: str | bytes, where: str) -> Any:
    """The value of a JSON text. where: named in errors. Raises InputError for what is not JSON, or is nested too deeply."""
    try:
        text = text if isinstance(text, str) else _decoded(text)  # json itself would accept half characters
        value = json.loads(text)
    except RecursionError:
        raise InputError(_too_deep(where)) from None
    except ValueError as error:  # not JSON, or not UTF-8, or a whole number of thousands of digits
        raise InputError(f"{where} cannot be read as JSON ({error}); the file was damaged after it was written.") from None
    _check_depth(value, where)
    if _SURROGATE.search(text):  # half a character cannot be printed
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{where} cannot be read as JSON ({error}); the file was damaged after it was written."
            ) from None
    return value


def yaml_of(text: str | bytes, where: str, *, aliases: bool = False) -> Any:
    """The value of a YAML text, made by the safe loader. where: named in errors. aliases: allowed, in the catalogue's own files.

    Raises InputError for what is not YAML, is nested too deeply, or has an anchor with an alias.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # LibYAML is ten times as fast, where PyYAML was built with it
    try:
        text = text if isinstance(text, str) else _decoded(text)
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.AliasEvent) and not aliases:
                raise InputError(
                    f"{where}, line {_line(event)}: aliases (*{event.anchor}) are not allowed; write the value again."
                )
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise InputError(f"{_too_deep(where)[:-1]}: line {_line(event)}.")
        return yaml.load(text, Loader=loader)  # noqa: S506
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{where} is not YAML: {' '.join(str(error).split())}.") from None
    except (ValueError, TypeError) as error:  # not UTF-8, a date such as 2026-99-99
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where} is not YAML: {error}.") from None


def _decoded(content: bytes) -> str:
    """Text in UTF-8, or in the encoding of its byte order mark, which editors of Windows write. Raises UnicodeDecodeError."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig")


def _line(event: Any) -> int:
    return event.start_mark.line + 1


def _check_depth(value: Any, where: str) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST + 1:
            raise InputError(_too_deep(where))
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += [v for v in one.values() if isinstance(v, dict | list)]
            elif isinstance(one, list):
                inner += [v for v in one if isinstance(v, dict | list)]
        level = inner


def _too_deep(where: str) -> str:
    return f"{where} has more than {DEEPEST} lists and mappings within one another."
