"""Copying the bytes of one file into another:

shared extents where possible, holes kept, never through a cache of ours.
"""

import errno
import os
from collections.abc import Iterator
from typing import Final

from cowfs.layers import syscalls

_CHUNK: Final = 8 << 20
_NO_REFLINK: Final = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ETXTBSY, errno.ENOSYS})
_NO_COPY_RANGE: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ETXTBSY})


def copy(source: int, target: int, size: int) -> None:
    """Give ``target`` (empty) the first ``size`` bytes of ``source``: by reflink, else extent by extent.

    Raises OSError as the writes do: ENOSPC, EDQUOT, EIO; ESTALE where the source changed meanwhile.
    """
    if not size:
        return
    before = os.fstat(source)
    if not _reflinked(source, target):
        for start, end in extents(source, size):
            _copy_range(source, target, start, end)
        os.ftruncate(target, size)
    after = os.fstat(source)
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or after.st_size != size:
        raise OSError(errno.ESTALE, "the lower file changed while it was copied up")


def copy_ranges(source: int, target: int, ranges: list[tuple[int, int]]) -> None:
    """Copy some ranges, holes left out. Raises as ``copy``."""
    before = os.fstat(source)
    for start, end in ranges:
        for first, last in extents(source, end, start):
            _copy_range(source, target, first, last)
    after = os.fstat(source)
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise OSError(errno.ESTALE, "the lower file changed while it was copied up")


def _reflinked(source: int, target: int) -> bool:
    try:
        syscalls.reflink(source, target)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
        return False
    return True


def extents(source: int, size: int, position: int = 0) -> Iterator[tuple[int, int]]:
    """The ranges of [position, size) that hold data (SEEK_DATA), all of it where the file system cannot tell."""
    while position < size:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
            end = min(os.lseek(source, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            start, end = position, size
        if start >= size:
            return
        yield start, end
        position = end


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(source, target, min(end - start, _CHUNK), start, start)
        except OSError as error:
            if error.errno not in _NO_COPY_RANGE:
                raise
            done = os.pwrite(target, os.pread(source, min(end - start, 1 << 20), start), start)
        if not done:  # the source shrank underneath
            return
        start += done
