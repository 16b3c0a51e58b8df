"""The C library beside this file: found, loaded before pyfuse3, and given what to do.

It is built with the package where a compiler and libfuse's headers are, and may be absent.
"""

import ctypes
import os
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

_NAME: Final = "_library"

Allocate = Callable[[int, int, int, int], int]  # handle, mode, offset, length -> errno, 0 for done
Seek = Callable[[int, int, int], int]  # handle, offset, whence -> offset, or minus an errno
CopyRange = Callable[[int, int, int, int, int], int]  # from, offset, to, offset, length -> bytes, or minus an errno

_U64, _I64, _INT = ctypes.c_uint64, ctypes.c_int64, ctypes.c_int
_ALLOCATE = ctypes.CFUNCTYPE(_INT, _U64, _INT, _I64, _I64)
_SEEK = ctypes.CFUNCTYPE(_I64, _U64, _I64, _INT)
_COPY_RANGE = ctypes.CFUNCTYPE(_I64, _U64, _I64, _U64, _I64, _U64)


class Library:
    """The loaded library; one per process, for its functions take the place of libfuse's."""

    def __init__(self) -> None:
        """Load it. Raises OSError where it was not built, or cannot be loaded."""
        here = Path(__file__).parent
        built = [here / (_NAME + suffix) for suffix in EXTENSION_SUFFIXES if (here / (_NAME + suffix)).exists()]
        if not built:
            raise FileNotFoundError("the C library was not built (it needs gcc, pkg-config and libfuse3-dev)")
        self._library = ctypes.CDLL(os.fspath(built[0]), mode=ctypes.RTLD_GLOBAL)
        self._callbacks: tuple[object, ...] = ()

    def set_backing(self, handle: int, backing: int) -> None:
        """The next answer to an open of ``handle`` (a descriptor) carries this backing id; 0 for none."""
        self._library.cowfs_set_backing(_U64(handle), ctypes.c_int32(backing))

    def cache_directories(self) -> None:
        """From now on the kernel may keep listings."""
        self._library.cowfs_cache_directories(1)

    def answer(self, allocate: Allocate, seek: Seek, copy_range: CopyRange) -> None:
        """Have three requests answered that pyfuse3 has no handlers for. Before pyfuse3.init."""
        self._callbacks = (_ALLOCATE(allocate), _SEEK(seek), _COPY_RANGE(copy_range))
        self._library.cowfs_set_callbacks(*self._callbacks)

    @property
    def answers(self) -> bool:
        """Did libfuse take the functions given to ``answer``? Known after pyfuse3.init."""
        return bool(self._library.cowfs_intercepted())
