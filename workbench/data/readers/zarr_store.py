"""A Zarr folder whose blocks are checked before they are unpacked: a block that Blosc packed must be as long as it says, and must not
unpack to much more than a block of its array.

The library compares neither: it reads whatever stands in memory behind a block that was cut, and asks for any amount of memory.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from zarr.storage import LocalStore

from workbench.runs.loader import json_of, read_bytes

_HEAD = 16  # bytes before the data of a Blosc block; 4 to 8: the length of what it holds, 12 to 16: of all
LARGEST = 2**28  # bytes of a block whose size is not known
_MORE = 8  # a filter may make values at most so many times wider


class CheckedStore(LocalStore):
    """A local folder; reading a Blosc block that is shorter than it says, or holds far more than a block, raises OSError."""

    async def get(self, key: str, *given: Any, **how: Any) -> Any:
        """The bytes of a document or of a block, or None."""
        found = await super().get(key, *given, **how)
        if found is not None and _is_block(key) and (size := _by_blosc(Path(self.root), key)) is not None:
            head = found.as_numpy_array()[:_HEAD].tobytes()
            if len(head) < _HEAD or int.from_bytes(head[12:16], "little") > len(found):
                raise OSError(f"the block {key} holds {len(found)} bytes, fewer than it says; it is truncated")
            if (holds := int.from_bytes(head[4:8], "little")) > _MORE * size:
                raise OSError(f"the block {key} says that it holds {holds:,} bytes; a block of this array has {size:,}")
        return found


def _is_block(key: str) -> bool:
    return not key.rpartition("/")[2].startswith(".z") and not key.endswith("zarr.json")


def _by_blosc(root: Path, key: str) -> int | None:
    """Bytes of a block of the array if its blocks are packed by Blosc, else None."""
    for folder in (root / key).parents:
        for name in (".zarray", "zarr.json"):
            document = folder / name
            if document.is_file():
                return _says_blosc(document, document.stat().st_mtime_ns)
        if folder == root:
            break
    return None


@lru_cache(maxsize=256)
def _says_blosc(document: Path, changed: int) -> int | None:
    content = json_of(read_bytes(document), document.name)
    packed = content.get("compressor"), *(content.get("codecs") or ())
    named = (c for c in packed if isinstance(c, dict))
    if not any("blosc" in (c.get("id"), c.get("name"), str(c.get("name")).removeprefix("numcodecs.")) for c in named):
        return None
    try:
        shape = content["chunks"] if "chunks" in content else content["chunk_grid"]["configuration"]["chunk_shape"]
        width = np.dtype(content.get("dtype") or content["data_type"]).itemsize
        return math.prod(int(n) for n in shape) * width
    except (KeyError, TypeError, ValueError):
        return LARGEST  # an unusual type: zarr-python will say what it is
