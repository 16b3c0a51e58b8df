"""What can be said of a file that is no text: its type by its first bytes, and where two versions differ."""

from itertools import islice
from typing import Final

from cowfs.runs.content import Content, ranges

_SHOWN: Final = 6  # ranges
_MAGIC: Final = (
    (0, b"\x7fELF", "ELF"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"BZh", "bzip2"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\x89PNG", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
    (0, b"SQLite format 3\0", "SQLite"),
    (0, b"!<arch>\n", "ar"),
    (257, b"ustar", "tar"),
    (0, b"\xde\x12\x04\x95", "message catalogue"),
    (0, b"\0\0\0\0", "data"),
)


def kind_of(content: Content) -> str:
    """The type of a file: "data" where its first bytes are nothing known."""
    head = content.read(0, 512)
    return next((name for offset, magic, name in _MAGIC if head[offset : offset + len(magic)] == magic), "data")


def changed_ranges(left: Content, right: Content, left_size: int, right_size: int) -> str:
    """Where two versions differ, as offsets from 0, the first six ranges. Reads both whole."""
    found = ranges(left, right, left_size, right_size)
    first = [f"{start}-{end - 1}" for start, end in islice(found, _SHOWN)]
    more = sum(1 for _ in found)
    return ", ".join(first) + (f" and {more} more" if more else "")
