"""Comparing the bytes of two open regular files, reading only what is not a hole in both.

Used by ``scan``. Neither file is mapped or held in memory; a sparse file of any size costs what it really holds.
"""

import errno
import os
from typing import Final

_CHUNK: Final = 1 << 20


def same(left: int, right: int, size: int) -> bool:
    """True if the first ``size`` bytes behind two descriptors are equal. OSError as pread(2) raises it."""
    position = 0
    while position < size:
        position = min(_next_data(left, position, size), _next_data(right, position, size))
        length = min(_CHUNK, size - position)
        if os.pread(left, length, position) != os.pread(right, length, position):
            return False
        position += length
    return True


def _next_data(descriptor: int, position: int, size: int) -> int:
    """Where the next data at or after ``position`` starts; ``size`` if only a hole follows."""
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        return position
