"""The effective capabilities of this thread, one taken away for a moment (capset(2); Python has no call for it)."""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final

_VERSION: Final = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_HEADER: Final = struct.pack("<Ii", _VERSION, 0)
_SETS: Final = struct.Struct("<6I")  # effective, permitted, inheritable: low words, then high words
_CAP_FSETID: Final = 1 << 4

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def without_fsetid() -> Iterator[None]:
    """Inside, a write takes setuid and setgid off. Raises OSError."""
    sets = bytearray(_SETS.size)
    _check(_libc.capget(_HEADER, (ctypes.c_char * len(sets)).from_buffer(sets)))
    before = bytes(sets)
    effective, *others = _SETS.unpack(before)
    _check(_libc.capset(_HEADER, _SETS.pack(effective & ~_CAP_FSETID, *others)))
    try:
        yield
    finally:
        _check(_libc.capset(_HEADER, before))


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
