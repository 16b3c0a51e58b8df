"""The C library beside this file: found, loaded before pyfuse3, and given what to do.

It is built with the package where a compiler and libfuse's headers are, and may be absent.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, Final, cast

_NAME: Final = "_library"
HANDLES: Final = 1 << 20  # the size of the tables in library.c

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
        # By handle, which is a descriptor: the backing id that answers to opens carry, 0 for none; and 1 where all of
        # the file's data is behind the descriptor, so that threads of the library's own may read it.
        self.backing = self._table("cowfs_backing", ctypes.c_int32, "i")
        self.whole = self._table("cowfs_whole", ctypes.c_uint8, "B")
        # Once ``take_requests`` was called: [0] says how often the device is read before it counts as drained; [0] is 1
        # when it is, and to be set to 0 by whoever slept.
        self.looks = self._table("cowfs_looks", ctypes.c_int32, "i", 1)
        self.drained = self._table("cowfs_drained", ctypes.c_int32, "i", 1)

    def _table(
        self, name: str, kind: type[ctypes.c_int32] | type[ctypes.c_uint8], code: str, size: int = HANDLES
    ) -> memoryview:
        try:
            array = (kind * size).in_dll(self._library, name)
        except ValueError:
            raise OSError("the C library was built for another version of cowfs") from None
        return memoryview(array).cast("B").cast(code)  # type: ignore[call-overload, no-any-return]

    def keep_listings(self) -> None:
        """Have directories read without being opened, by their nodes' numbers, and kept. Before pyfuse3.init."""
        self._library.cowfs_keep_listings()

    def sync_files(self) -> None:
        """Have fsync of files in passthrough done by threads of the library's own. Before pyfuse3.init."""
        self._library.cowfs_sync_files()

    def read_files(self) -> None:
        """Have files that are ``whole`` read by the library, by threads where it may wait. Before pyfuse3.init."""
        self._library.cowfs_read_files()

    def take_requests(self, *, answers: bool) -> None:
        """Have the device, which does not block, read so from now on; ``answers``: and do what needs no Python."""
        self._library.cowfs_take(_INT(answers))

    def answer_attributes(self) -> "BareNumbers":
        """Have attributes answered of files that are said to have none. Before pyfuse3.init."""
        self._library.cowfs_answer_attributes()
        return BareNumbers(self._library)

    def close_later(self, descriptor: int) -> None:
        """Close the last descriptor of a file without names in a thread: freeing what it had takes its time."""
        self._library.cowfs_close_later(_INT(descriptor))

    def share_numbers(self) -> None:
        """Show ``st_rdev`` of what is no device, where it has one, as its number. Before pyfuse3.init."""
        self._library.cowfs_share_numbers()

    def wait_for_reads(self) -> None:
        """Until no thread reads. A sync under way, which the disk may take long for, is not waited for."""
        self._library.cowfs_wait_for_reads()

    def wait_for_threads(self) -> None:
        """Until those threads have nothing to do. Before pyfuse3.close."""
        self._library.cowfs_wait_for_threads()

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


class BareNumbers:
    """Numbers of files that have no extended attributes, as a set of which only the library asks what is in it."""

    __slots__ = ("add", "discard")

    def __init__(self, library: ctypes.CDLL) -> None:
        self.add: Callable[[int], None] = _of_number(library.cowfs_bare)
        self.discard: Callable[[int], None] = _of_number(library.cowfs_not_bare)


def _of_number(function: Any) -> Callable[[int], None]:
    function.argtypes, function.restype = (_U64,), None
    return cast(Callable[[int], None], function)
