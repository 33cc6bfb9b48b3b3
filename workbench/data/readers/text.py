"""Text from other people: the one place where bytes of a file become text.

    decode(content, "labels.txt")                      # byte order mark, UTF-8 or UTF-16, line ends
    decode(content, "flight.hdr", otherwise="latin-1") # for free text of old programs

A byte order mark is removed and decides the encoding; without one the text is UTF-8. Line ends become "\\n".
"""

from __future__ import annotations

import codecs
from pathlib import Path

from workbench.errors import InputError

_MARKS = (  # UTF-32 first: its little-endian mark begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MAX_BYTES = 64 * 2**20  # of a text file


def decode(content: bytes, name: str, otherwise: str | None = None) -> str:
    """The text in these bytes, with "\\n" at the end of each line.

    name: of the file, for the message. otherwise: the encoding of bytes that are not UTF-8 (latin-1 fits any bytes).

    >>> decode(b"\\xef\\xbb\\xbfENVI\\r\\nlines = 5\\r", "a.hdr")
    'ENVI\\nlines = 5\\n'

    Raises InputError with the place of the first byte that is no text, where `otherwise` is None.
    """
    mark, encoding = next(((m, e) for m, e in _MARKS if content.startswith(m)), (b"", _unmarked(content)))
    body = content[len(mark) :]
    try:
        text = body.decode(encoding)
        if otherwise is None and "\0" in text:
            at = text.index("\0")
            raise UnicodeDecodeError(encoding, body, len(text[:at].encode(encoding)), len(body), "a zero byte")
    except UnicodeDecodeError as error:
        if otherwise is None:
            line = body[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
            raise InputError(
                f"{name} is not text in {encoding.upper()}: byte {len(mark) + error.start} (line {line}) is "
                f"0x{body[error.start]:02x}. Save the file as UTF-8 text, or get it again."
            ) from None
        text = body.decode(otherwise)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read(path: str | Path, otherwise: str | None = None) -> str:
    """`decode` of a whole file. InputError also for a file that is absent, empty, or larger than `MAX_BYTES`."""
    from workbench.data.readers.files import first_bytes

    path = Path(path)
    content = first_bytes(path, MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InputError(
            f"{path} is larger than {MAX_BYTES // 2**20} MiB; a text file of this kind is small. Check the path."
        )
    return decode(content, str(path), otherwise)


def lines(path: str | Path) -> list[str]:
    """The lines of a text file, without their ends."""
    return read(path).split("\n")


def _unmarked(content: bytes) -> str:
    """The encoding of text without a byte order mark: UTF-16 where every second of the first bytes is zero, else UTF-8."""
    first, second = content[0:64:2], content[1:64:2]
    if len(content) >= 4 and not any(second) and all(first):
        return "utf-16-le"
    if len(content) >= 4 and not any(first) and all(second):
        return "utf-16-be"
    return "utf-8"
