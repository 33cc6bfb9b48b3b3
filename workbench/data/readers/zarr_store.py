"""A Zarr folder whose blocks are checked before they are unpacked: a block that Blosc packed must be as long as it says.

The library does not compare the two, and reads whatever stands in memory behind a block that was cut.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from zarr.storage import LocalStore

from workbench.runs.loader import json_of, read_bytes

_HEAD = 16  # bytes before the data of a Blosc block; the last four are the length of all


class CheckedStore(LocalStore):
    """A local folder; reading a Blosc block that is shorter than it says raises OSError."""

    async def get(self, key: str, *given: Any, **how: Any) -> Any:
        """The bytes of a document or of a block, or None."""
        found = await super().get(key, *given, **how)
        if found is not None and _is_block(key) and _by_blosc(Path(self.root), key):
            head = found.as_numpy_array()[:_HEAD].tobytes()
            if len(head) < _HEAD or int.from_bytes(head[12:16], "little") > len(found):
                raise OSError(f"the block {key} holds {len(found)} bytes, fewer than it says; it is truncated")
        return found


def _is_block(key: str) -> bool:
    return not key.rpartition("/")[2].startswith(".z") and not key.endswith("zarr.json")


def _by_blosc(root: Path, key: str) -> bool:
    """Whether the array of a block is packed by Blosc."""
    for folder in (root / key).parents:
        for name in (".zarray", "zarr.json"):
            document = folder / name
            if document.is_file():
                return _says_blosc(document, document.stat().st_mtime_ns)
        if folder == root:
            break
    return False


@lru_cache(maxsize=256)
def _says_blosc(document: Path, changed: int) -> bool:
    content = json_of(read_bytes(document), document.name)
    packed = content.get("compressor"), *(content.get("codecs") or ())
    return any(
        "blosc" in (c.get("id"), c.get("name"), str(c.get("name")).removeprefix("numcodecs."))
        for c in packed
        if isinstance(c, dict)
    )
