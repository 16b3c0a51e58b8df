"""Tar headers and pax records as values: bytes in, values out, no I/O (POSIX pax, ustar; GNU tar's base-256).

Strict where readers differ: what one tool reads as a file and another as something else is refused. Used by
:mod:`cowfs.images.tarstream` alone. Raises BadTar.
"""

import re
from struct import Struct
from typing import NamedTuple

from cowfs.images import limits

BLOCK = 512
ZEROS = bytes(BLOCK)

_FIELDS = Struct("100s8s8s8s12s12s8sc100s8s32x32x8s8s155s12x")
_OCTAL = re.compile(rb" *([0-7]*)[ \0]*")
_CHECKSUM = slice(148, 156)
_MAGIC_USTAR = b"ustar\x0000"
_MAGIC_GNU = b"ustar  \x00"
_MAGIC_V7 = bytes(8)
_SIZE_FULL = 0o77777777777  # some writers leave this where the pax header has the size


class BadTar(ValueError):
    """The stream is not a tar that every reader would read alike."""


class Header(NamedTuple):
    """One header block. ``name`` includes ustar's prefix."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int  # seconds
    type: bytes
    link: bytes
    major: int
    minor: int


def parse_header(block: bytes) -> Header:
    """The header in ``block``, its checksum verified."""
    name, mode, uid, gid, size, mtime, checksum, kind, link, magic, major, minor, prefix = _FIELDS.unpack(block)
    if number(checksum, "checksum") != sum(block) - sum(checksum) + 8 * 0x20:
        raise BadTar("the checksum of a header is wrong")
    if magic == _MAGIC_USTAR and prefix[0]:
        name = _text(prefix) + b"/" + _text(name)
    elif magic not in (_MAGIC_USTAR, _MAGIC_GNU, _MAGIC_V7):
        raise BadTar(f"an unknown kind of header: {magic!r}")
    device = kind in (b"3", b"4")
    return Header(
        name=_text(name),
        mode=number(mode, "mode") & 0o7777,
        uid=number(uid, "uid"),
        gid=number(gid, "gid"),
        size=number(size, "size"),
        mtime=number(mtime, "mtime"),
        type=kind,
        link=_text(link),
        major=number(major, "device") if device else 0,
        minor=number(minor, "device") if device else 0,
    )


def number(field: bytes, what: str) -> int:
    """A numeric field: octal digits, or GNU's base-256 with the top bit set. Only times may be negative."""
    match = _OCTAL.fullmatch(field)
    if match is not None:
        return int(match[1] or b"0", 8)
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    if field[0] == 0xFF and what == "mtime":
        return int.from_bytes(field, "big", signed=True)
    raise BadTar(f"the {what} of an entry is not a number")


def parse_pax(data: bytes) -> list[tuple[bytes, bytes]]:
    """The records of a pax header, in order: ``"%d %s=%s\\n"``, the number being the length of it all."""
    records = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 8)
        digits = data[position:space] if space > 0 else b""
        if not digits.isdigit():
            raise BadTar("a pax record has no length")
        end = position + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= space + 1 or data[end - 1 : end] != b"\n" or not equals or not key:
            raise BadTar("a pax record is malformed")
        records.append((key, value))
        position = end
    return records


def pax_number(value: bytes, what: str) -> int:
    """A decimal number that is not negative."""
    if not value.isdigit() or len(value) > 20:
        raise BadTar(f"the {what} of an entry is not a number")
    return int(value)


def pax_time(value: bytes) -> int:
    """A pax time in nanoseconds; digits beyond them are cut."""
    match = re.fullmatch(rb"(-?)([0-9]{1,20})(?:\.([0-9]*))?", value)
    if match is None:
        raise BadTar("the time of an entry is not a number")
    nanoseconds = int(match[2]) * 1_000_000_000 + int((match[3] or b"")[:9].ljust(9, b"0"))
    return -nanoseconds if match[1] else nanoseconds


def pax_size(value: bytes, header_size: int) -> int:
    """The size that a pax record gives. A header that contradicts it makes two different archives of one."""
    size = pax_number(value, "size")
    if header_size not in (0, size, _SIZE_FULL):
        raise BadTar("an entry has two sizes")
    return size


def pax_text(value: bytes) -> bytes:
    """A path or link target."""
    if b"\0" in value:
        raise BadTar("a name holds a NUL")
    if len(value) > limits.PATH:
        raise BadTar(f"a name is longer than {limits.PATH} bytes")
    return value


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
