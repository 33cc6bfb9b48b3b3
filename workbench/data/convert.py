"""Any scene to Zarr, block by block: an interrupted conversion can be continued, and cannot be mistaken for a finished one.

    convert("flight.hdr", "flight.zarr")

The blocks go into `flight.zarr.partial`; `flight.zarr.journal` has a line for each block that is on the disk. When
all are written, the folder is renamed. At most one block (`BLOCK` bytes) is in memory.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from workbench.errors import InputError
from workbench.runs.files import writing
from workbench.runs.loader import json_of

if TYPE_CHECKING:
    import xarray as xr

CHUNKS = {
    "band": 16,
    "sar_band": 1,
    "y": 128,
    "x": 128,
}  # 1 MiB of float32: a compromise between reading bands and reading spectra
BLOCK = 64 * 2**20  # bytes read at once
SMALL = 2**16  # values up to which a variable is written whole

Window = tuple[slice, ...]


def convert(
    source: str | Path,
    out: str | Path,
    *,
    chunks: Mapping[str, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **how: Any,
) -> Path:
    """Write the scene as a Zarr group (version 3) and return its path; an interrupted conversion is continued.

    source: a catalogue name or a path; `how` is passed to `open_scene` (truth, keys, ortho).
    chunks: dim -> size of the blocks in the file; default `CHUNKS`.
    progress: called with the number of finished blocks and of all blocks.

    Raises InputError when `out` exists, when the unfinished folder belongs to another conversion or another process is
    writing it, and everything that `open_scene` and reading pixels raise.
    """
    from workbench.data.catalog import open_scene

    out = Path(out).expanduser()
    if out.suffix != ".zarr":
        raise InputError(f"The scene is written as Zarr, so its name must end with .zarr; got {out.name!r}.")
    if out.exists():
        raise InputError(f"{out} exists already; it is not overwritten. Remove it, or give another name.")
    if not out.parent.is_dir():
        raise InputError(f"There is no folder {out.parent}; create it first.")
    scene = open_scene(source, chunks=None, **how)
    sizes = {str(n): _chunks(v, chunks or {}) for n, v in scene.variables.items() if v.ndim >= 2 and v.size > SMALL}
    unknown = set(chunks or {}) - {str(d) for n in sizes for d in scene[n].dims}
    if unknown:
        raise InputError(
            f"No large variable of this scene has the dims {', '.join(sorted(unknown))}; it has {dict(scene.sizes)}."
        )
    blocks = [
        (n, i, w) for n, size in sizes.items() for i, w in enumerate(windows(scene[n].shape, size, scene[n].dtype.itemsize))
    ]
    partial, journal = (out.with_name(out.name + end) for end in (".partial", ".journal"))
    plan = {"of": _identity(source, scene), "how": {k: str(v) for k, v in sorted(how.items()) if v}, "chunks": sizes}

    with (
        writing(out, "the scene", "choose another name; the same command continues after that"),
        journal.open("a+", encoding="utf-8") as log,
    ):
        _lock(log, journal)
        done = _resumed(log, plan, partial)
        if done is None:
            done = set()
            _begin(scene, sizes, partial)
            _line(log, plan)
        for name, number, window in blocks:
            if progress is not None:
                progress(len(done), len(blocks))
            if (name, number) not in done:
                _write(scene[name], partial / name, window)
                done.add((name, number))
                _line(log, [name, number])
        if progress is not None:
            progress(len(blocks), len(blocks))
        os.rename(partial, out)
        os.sync()
        journal.unlink()
    return out


def windows(shape: tuple[int, ...], chunks: tuple[int, ...], itemsize: int) -> Iterator[Window]:
    """The windows in which a variable is copied: as many whole chunks as fit into `BLOCK`; bands first, then columns, then
    rows.

    200 bands of 512 x 512 float32 are 200 MiB: four windows of 128 rows.

    >>> len(list(windows((200, 512, 512), (16, 128, 128), 4)))
    4
    """
    budget = max(1, BLOCK // (math.prod(chunks) * itemsize))
    size = list(chunks)
    for axis in (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2):
        count = min(budget, -(-shape[axis] // chunks[axis]))
        size[axis] = count * chunks[axis]
        budget //= count
    for start in product(*(range(0, n, s) for n, s in zip(shape, size, strict=True))):
        yield tuple(slice(a, min(a + s, n)) for a, s, n in zip(start, size, shape, strict=True))


def _chunks(variable: xr.Variable, wanted: Mapping[str, int]) -> tuple[int, ...]:
    sizes = []
    for dim, n in zip(map(str, variable.dims), variable.shape, strict=True):
        size = wanted.get(dim, CHUNKS.get(dim, n))
        if size < 1 and size != -1:
            raise InputError(
                f"A chunk of {size} along {dim} is not a size; give a whole number of at least 1, or -1 for all."
            )
        sizes.append(n if size == -1 else min(size, n))
    if math.prod(sizes) * variable.dtype.itemsize > 2**30:
        raise InputError(f"Chunks of {sizes} ({', '.join(map(str, variable.dims))}) are above 1 GiB; give smaller ones.")
    return tuple(sizes)


def _identity(source: str | Path, scene: xr.Dataset) -> dict[str, Any]:
    """Fields that must be equal, or the blocks of an earlier attempt are not used."""
    from workbench.data.formats import cube_file

    identity: dict[str, Any] = {
        "id": scene.attrs.get("id", ""),
        "sha256": scene.attrs.get("sha256", ""),
        "sizes": dict(scene.sizes),
    }
    path = Path(source).expanduser()
    if path.exists():
        state = cube_file(path).stat()
        identity |= {"bytes": state.st_size, "changed": state.st_mtime_ns}
    return identity


def _resumed(log: TextIO, plan: dict[str, Any], partial: Path) -> set[tuple[str, int]] | None:
    """The blocks that an earlier attempt finished; None without one. Raises InputError for another conversion."""
    log.seek(0)
    lines = log.read().splitlines(keepends=True)
    whole = [json_of(one, log.name) for one in lines if one.endswith("\n")]
    if not whole or not partial.is_dir():  # the plan is written last when a conversion begins
        log.truncate(0)
        return None
    if whole[0] != json.loads(json.dumps(plan)):
        raise InputError(
            f"{partial} is an unfinished, different conversion (another source, a changed file, or other chunks). Remove it and "
            f"{log.name}, or give another name."
        )
    log.truncate(sum(len(one) for one in lines if one.endswith("\n")))  # remove a line that was written only in part
    return {(str(name), int(number)) for name, number in whole[1:]}


def _begin(scene: xr.Dataset, sizes: Mapping[str, tuple[int, ...]], partial: Path) -> None:
    """The group with all small variables written, and the large ones declared."""
    import dask.array as da

    if partial.exists():
        shutil.rmtree(partial)
    large = {
        n: (scene[n].dims, da.zeros(scene[n].shape, dtype=scene[n].dtype, chunks=size), scene[n].attrs)
        for n, size in sizes.items()
    }
    template = scene.assign_coords({n: v for n, v in large.items() if n in scene.coords}).assign(
        {n: v for n, v in large.items() if n not in scene.coords}
    )
    # load variables that are written whole: a dask array would be delayed with the blocks and never written
    template = template.assign({n: v.compute() for n, v in template.data_vars.items() if n not in sizes and v.chunks})
    for variable in template.variables.values():
        variable.encoding = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns about text coordinates, whose type has no specification yet
        template.to_zarr(
            partial,
            zarr_format=3,
            consolidated=False,
            compute=False,
            encoding={n: {"chunks": size} for n, size in sizes.items()},
        )


def _write(variable: xr.DataArray, folder: Path, window: Window) -> None:
    """Write one block; it is on the disk when this returns."""
    import zarr

    values = np.ascontiguousarray(variable[window].values)
    array: Any = zarr.open_array(folder, mode="r+", zarr_format=3)
    array[window] = values
    os.sync()  # one sync for all chunks of the block; a sync per chunk takes longer than writing them


def _line(log: TextIO, record: Any) -> None:
    log.write(json.dumps(record) + "\n")
    log.flush()
    os.fsync(log.fileno())


def _lock(log: TextIO, journal: Path) -> None:
    """Lock the journal until the process ends, also by a crash."""
    import fcntl

    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InputError(f"Another process is writing this conversion ({journal}); wait for it.") from None
