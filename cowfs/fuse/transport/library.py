"""The C library beside this file: found, loaded before pyfuse3, and given what to do.

It is built with the package where a compiler and libfuse's headers are, and may be absent.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

_NAME: Final = "_library"

Request = int  # libfuse's, a pointer
LATER: Final = -(1 << 63)  # no answer yet: the request comes back through ``allocated`` or ``copied``

# Each answers minus an errno, or what it found.
Allocate = Callable[[Request, int, int, int, int], int]  # request, handle, mode, offset, length -> 0, LATER
Seek = Callable[[int, int, int], int]  # handle, offset, whence -> offset
CopyRange = Callable[[Request, int, int, int, int, int], int]  # request, from, offset, to, offset, length

_REQUEST, _U64, _I64, _INT = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int64, ctypes.c_int
_ALLOCATE = ctypes.CFUNCTYPE(_I64, _REQUEST, _U64, _INT, _I64, _I64)
_SEEK = ctypes.CFUNCTYPE(_I64, _U64, _I64, _INT)
_COPY_RANGE = ctypes.CFUNCTYPE(_I64, _REQUEST, _U64, _I64, _U64, _I64, _U64)


_came_first = False  # loaded before pyfuse3 in this process, or in one that it was forked from


class Library:
    """The loaded library; one per process, for its functions take the place of libfuse's."""

    def __init__(self) -> None:
        """Load it. Raises OSError where it was not built, or comes too late: pyfuse3 is bound to libfuse already."""
        global _came_first
        _came_first = _came_first or "pyfuse3" not in sys.modules
        if not _came_first:
            raise OSError("pyfuse3 was imported before it")
        here = Path(__file__).parent
        built = [here / (_NAME + suffix) for suffix in EXTENSION_SUFFIXES if (here / (_NAME + suffix)).exists()]
        if not built:
            raise FileNotFoundError("the C library was not built (it needs gcc, pkg-config and libfuse3-dev)")
        self._library = ctypes.CDLL(os.fspath(built[0]), mode=ctypes.RTLD_GLOBAL)
        self._callbacks: tuple[object, ...] = ()

    def set_backing(self, handle: int, backing: int) -> None:
        """The next answer to an open of ``handle`` (a descriptor) carries this backing id; 0 for none."""
        self._library.cowfs_set_backing(_U64(handle), ctypes.c_int32(backing))

    def keep_listings(self) -> None:
        """Have directories read without being opened, by their nodes' numbers, and kept. Before pyfuse3.init."""
        self._library.cowfs_keep_listings()

    def sync_files(self) -> None:
        """Have fsync of files in passthrough done by threads of the library's own. Before pyfuse3.init."""
        self._library.cowfs_sync_files()

    def share_numbers(self) -> None:
        """Show a file's or link's ``st_rdev``, where it has one, as its number. Before pyfuse3.init."""
        self._library.cowfs_share_numbers()

    def wait_for_syncs(self) -> None:
        """Until those threads are done. Before pyfuse3.close."""
        self._library.cowfs_wait_for_syncs()

    def answer(self, allocate: Allocate, seek: Seek, copy_range: CopyRange) -> None:
        """Have three requests answered that pyfuse3 has no handlers for. Before pyfuse3.init."""
        self._callbacks = (_ALLOCATE(allocate), _SEEK(seek), _COPY_RANGE(copy_range))
        self._library.cowfs_set_callbacks(*self._callbacks)

    def allocated(self, request: Request, result: int) -> None:
        """Answer a request whose ``Allocate`` said LATER."""
        self._library.cowfs_allocated(_REQUEST(request), _I64(result))

    def copied(self, request: Request, result: int) -> None:
        """Answer a request whose ``CopyRange`` said LATER."""
        self._library.cowfs_copied(_REQUEST(request), _I64(result))

    @property
    def answers(self) -> bool:
        """Did libfuse take the functions asked for? Known after pyfuse3.init."""
        return bool(self._library.cowfs_intercepted())
