"""Untrusted XML: parsed without document types, entities or outside files, and up to a maximal size.

    root = parse(path)                 # xml.etree.ElementTree.Element
    number(root, "size/width", int)    # InputError where it is missing or not a number

Every annotation format of remote sensing that is XML (Sentinel-1 SAFE, EnMAP, VOC boxes) works without a document type,
so every DOCTYPE is refused: entity bombs and file:// entities are never parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from workbench.data.readers.files import first_bytes
from workbench.errors import InputError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES = 64 * 2**20  # the largest annotation of Sentinel-1 is below 10 MB
Number = TypeVar("Number", int, float)


def parse(path: str | Path) -> Element:
    """The root element of an XML file. Raises InputError for a file that is absent, too large, not well formed, or
    with a document type."""
    from xml.etree.ElementTree import ParseError

    import defusedxml
    import defusedxml.ElementTree

    path = Path(path)
    first_bytes(path, 1)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(f"{path.name} has {size / 2**20:.0f} MiB; an XML file of a scene has at most {MAX_BYTES // 2**20}.")
    try:
        root: Element = defusedxml.ElementTree.fromstring(path.read_bytes(), forbid_dtd=True)
    except defusedxml.DefusedXmlException:
        raise InputError(
            f"{path.name} has a document type (DOCTYPE), which can hide entity bombs and outside files; it is refused. "
            "Remove that line if you trust the file."
        ) from None
    except (ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that does not exist
        raise InputError(f"{path.name} is not well-formed XML ({error}); it is damaged. Get it again.") from None
    return root


def root_tag(path: Path) -> str:
    """The name of the root element, whatever stands before it and whatever its attributes and encoding; "" for a file that is
    no XML. Of a file with a document type too, which `parse` refuses with its own message.
    """
    from xml.etree.ElementTree import ParseError

    import defusedxml
    import defusedxml.ElementTree

    try:
        with path.open("rb") as file:
            for _, element in defusedxml.ElementTree.iterparse(file, events=("start",)):
                return str(element.tag).rpartition("}")[2]
    except OSError:
        return ""
    except (ParseError, defusedxml.DefusedXmlException, ValueError, LookupError):  # damaged: `parse` says what is wrong
        found = (
            re.search(rb"<([A-Za-z_][\w.-]*)[\s/>]", first_bytes(path, 2**16).replace(b"\0", b""))
            if path.stat().st_size
            else None
        )
        return "" if found is None else found.group(1).decode("latin-1")
    return ""


def text(parent: Element, where: str, name: str) -> str:
    """The text of the first element at `where`; InputError naming the file `name` where there is none."""
    element = parent.find(where)
    if element is None or not (element.text or "").strip():
        raise InputError(f"{name} has no <{where}> in <{parent.tag}>; it is incomplete or of another format.")
    return str(element.text).strip()


def number(parent: Element, where: str, name: str, kind: Callable[[str], Number]) -> Number:
    """The number at `where`, below 2^53 in size."""
    content = text(parent, where, name)
    try:
        value = kind(content)
        if not abs(value) < 2**53:  # no count or measurement is larger; also refuses NaN
            raise ValueError
    except (ValueError, OverflowError):
        raise InputError(f"<{where}> of {name} is {content[:40]!r}, which is not a number of the expected type.") from None
    return value


def numbers(parent: Element, where: str, name: str) -> np.ndarray:
    """The list of finite numbers, separated by spaces, at `where`; of the length `count`, where the element states it."""
    content = text(parent, where, name)
    try:
        values = np.array(content.split(), float)
    except ValueError:
        raise InputError(f"<{where}> of {name} holds something that is not a number.") from None
    element = parent.find(where)
    count = element.get("count") if element is not None else None
    if (count is not None and count.strip() != str(values.size)) or not np.isfinite(values).all():
        raise InputError(f"<{where}> of {name} promises {count} finite numbers and holds {values.size} values.")
    return values
