"""Origins: which lower file an upper one was copied up from, as overlayfs encodes it.

The value of the ``origin`` mark, and in hexadecimal the name of an index entry, is ``struct ovl_fb``
(fs/overlayfs/overlayfs.h): version 0, magic 0xfb, length, flags, handle type, the file system's uuid (16 bytes), and
the file handle of name_to_handle_at(2).
"""

import os
import struct
import sys
from typing import Final, NamedTuple

from cowfs.layers import syscalls

_HEADER: Final = struct.Struct("=BBBBB16s")
_MAGIC: Final = 0xFB
_BIG_ENDIAN: Final = 1
_ANY_ENDIAN: Final = 2
_FLAGS: Final = _BIG_ENDIAN if sys.byteorder == "big" else 0


class Origin(NamedTuple):
    """A file handle and the file system it belongs to."""

    uuid: bytes
    handle_type: int
    handle: bytes


def encode(origin: Origin) -> bytes:
    """The bytes of the mark."""
    length = _HEADER.size + len(origin.handle)
    return _HEADER.pack(0, _MAGIC, length, _FLAGS, origin.handle_type, origin.uuid) + origin.handle


def decode(value: bytes) -> Origin | None:
    """What a mark says; None for an empty one (overlayfs writes that where it knows none) and for what is not ours."""
    if len(value) <= _HEADER.size:
        return None
    version, magic, length, flags, handle_type, uuid = _HEADER.unpack_from(value)
    if version != 0 or magic != _MAGIC or length != len(value):
        return None
    if not flags & _ANY_ENDIAN and flags & _BIG_ENDIAN != _FLAGS:
        return None
    return Origin(uuid, handle_type, value[_HEADER.size :])


def origin_of(directory: int, name: bytes, uuid: bytes) -> Origin | None:
    """The origin that an entry would be for its copy; None where the file system has no handles."""
    try:
        handle_type, handle = syscalls.name_to_handle_at(directory, name)
    except OSError:
        return None
    return Origin(uuid, handle_type, handle)


def locate(origin: Origin, mount: int) -> os.stat_result | None:
    """The status of the file that an origin names, None where it is gone.

    ``mount``: any descriptor on its file system.
    """
    try:
        found = syscalls.open_by_handle_at(mount, origin.handle_type, origin.handle, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.fstat(found)
    finally:
        os.close(found)
