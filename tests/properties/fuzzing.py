"""How a file is spoiled, and what a reader may do with it: give a result, or raise InputError; in time and in memory."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from workbench.data.formats import open_file
from workbench.errors import InputError

CASES = int(os.environ.get("WORKBENCH_FUZZ", 0))  # spoiled files of each layout; 0: as many as take a second or two
SEED = int(os.environ.get("WORKBENCH_FUZZ_SEED", 0))  # another number: other spoiled files
SECONDS = 10  # of computing for one spoiled file; a good one takes milliseconds
MEMORY = 2**30  # bytes beyond what the process has; the good files hold some kB
NASTY = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63 - 1,
    2**64 - 1,
)
WORDS = (
    "-1", "0", "1", "2", "1e9", "999999999999999", "9999999999999999999999", "-9223372036854775808", "nan", "inf", "-inf", "",
    "{", "}", "{}", "{1, 2", "a", "0x10", "1_0", "٣", "²", "../../etc/passwd", "/etc/passwd", "..\\up", "a\0b", "true", "1.5",
    "1,2", "é", "=", "A" * 3000, " " * 3000, "{" * 500, "\n" * 2000, "UTM, 1, 1, 5, 4, 30, 30, 99, North, WGS-84", "EPSG:0",
)  # fmt: skip


@contextlib.contextmanager
def spoiling(name: str, number: int) -> Iterator[random.Random]:
    """Random numbers for one spoiled file of a layout, the same in each run with this SEED; a failure is noted with the file's number."""
    try:
        yield random.Random(f"{SEED} {name} {number}")
    except BaseException as error:
        error.add_note(f"spoiled file {number} of {name}, WORKBENCH_FUZZ_SEED={SEED}")
        raise


class Hang(BaseException):
    """A reader computed for longer than `SECONDS`."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Within: at most `MEMORY` more address space, and a Hang after `SECONDS` of computing."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, before)


def spoiled(data: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """The bytes with one to three faults of the kinds that damage and malice make; and whether only the end was cut off."""
    if rng.random() < 0.25:
        return data[: rng.randrange(len(data))], True
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        where = rng.randrange(len(out)) if rng.random() < 0.7 else rng.randrange(min(len(out), 600))
        kind = rng.randrange(6)
        if kind == 0:
            out[where] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[where : where + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 8))
        elif kind in (2, 3):
            width = rng.choice((2, 4, 8))
            value = rng.choice(NASTY) % 2 ** (8 * width)
            out[where : where + width] = value.to_bytes(width, rng.choice(("little", "big")))
        elif kind == 4:
            del out[where : where + rng.randint(1, 40)]
        else:
            out[where:where] = out[where : where + rng.randint(1, 40)]
        if not out:
            break
    return bytes(out), False


def reworded(text: str, rng: random.Random) -> str:
    """Text of a header with one to three faults: values exchanged for nasty words, lines gone, doubled or mixed up."""
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif kind == 2:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        else:
            numbered = [i for i, one in enumerate(lines) if any(c.isdigit() for c in one)]
            at = rng.choice(numbered) if numbered and kind > 3 else at
            parts = _split(lines[at])
            if parts:  # numbers more often than names: they are what sizes are made of
                wanted = [i for i, p in enumerate(parts) if p[0].isdigit()] if rng.random() < 0.7 else []
                parts[rng.choice(wanted or range(len(parts)))] = rng.choice(WORDS)
                lines[at] = "".join(parts)
        text = "\n".join(lines) or " "
    return text


def _split(line: str) -> list[str]:
    """Runs of letters, digits and points, and what is between them, as a list that joins to the line."""
    parts: list[str] = []
    for letter in line:
        if parts and (letter.isalnum() or letter in ".-") == (parts[-1][-1].isalnum() or parts[-1][-1] in ".-"):
            parts[-1] += letter
        else:
            parts.append(letter)
    return parts


def case(folder: Path, make: Callable[[Path], Path], spoil: Callable[[Path], bool], good: np.ndarray | None) -> str:
    """Lay out a good file, spoil it, open it and read pixels; "read" or "refused". Any other exception goes through.

    make: lays the good file into an empty folder and returns what to open. spoil: spoils it, and says whether only the end of the
    file was cut off: what is read then must be `good`.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    path = make(folder)
    cut = spoil(path)
    with limited():
        try:
            scene = open_file(path, chunks=None)
            hsi = scene["hsi"]
            assert hsi.dims == ("band", "y", "x")
            assert hsi.dtype == np.float32
            assert min(hsi.shape) > 1
            few = {d: slice(0, n, max(1, n // 8)) for d, n in hsi.sizes.items()}
            values = hsi.values if hsi.size < 100_000 else hsi.isel(few).values
            scene.coords.to_dataset().load()
        except InputError:
            return "refused"
    if cut and good is not None:
        np.testing.assert_array_equal(values, good)
    return "read"


def overwrite(path: Path, data: bytes) -> None:
    """Put other bytes in the place of a file, as another file: what is still open keeps the old one."""
    os.unlink(path)
    path.write_bytes(data)
