"""The bytes of open regular files: reading, copying, comparing. Holes are not read, and no file is held whole.

Used by ``trees``, ``scan`` and whoever shows content. How much two versions differ is counted place by place: bytes
that are not the same at the same offset, and what one has beyond the other's end.
"""

import errno
import os
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from cowfs.layers import data
from cowfs.state.partial import Partial

_CHUNK: Final = 1 << 20
_SMALL: Final = 64 << 10
_GAP: Final = 16  # bytes
_RUN: Final = re.compile(rb"[^\0]+(?:\0{1,%d}[^\0]+)*" % (_GAP - 1))


class Content(NamedTuple):
    """One file that is open as ``descriptor``; with ``parts``, that has the written parts of it alone."""

    descriptor: int
    parts: Partial | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``, less only at the end. OSError as pread(2) raises it."""
        if self.parts is not None:
            return self.parts.read(self.descriptor, offset, size)
        return os.pread(self.descriptor, size, offset)

    def chunks(self) -> Iterator[bytes]:
        """All of it, piece by piece."""
        position = 0
        while chunk := self.read(position, _CHUNK):
            yield chunk
            position += len(chunk)

    def copy(self, target: int, size: int) -> None:
        """Give the empty file ``target`` the first ``size`` bytes. OSError as reading and writing raise it."""
        if self.parts is None:
            data.copy(self.descriptor, target, size)
            return
        position = 0
        while position < size:
            piece = self.read(position, min(_CHUNK, size - position))
            if not piece:
                raise OSError(errno.ESTALE, "the file became shorter while it was copied")
            position += os.pwrite(target, piece, position)

    def next_data(self, position: int, size: int) -> int:
        """Where the next data at or after ``position`` starts; ``size`` if only a hole follows."""
        if self.parts is not None:
            return position
        try:
            return min(os.lseek(self.descriptor, position, os.SEEK_DATA), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return size
            return position


def same(left: Content, right: Content, size: int) -> bool:
    """True if the first ``size`` bytes of both are equal. OSError as pread(2) raises it."""
    return next(_unequal(left, right, size), None) is None


def differing(left: Content, right: Content, left_size: int, right_size: int) -> int:
    """How many bytes differ. OSError as pread(2) raises it."""
    common = min(left_size, right_size)
    unequal = sum(len(delta) - delta.count(0) for _, delta in _unequal(left, right, common))
    return unequal + abs(left_size - right_size)


def ranges(left: Content, right: Content, left_size: int, right_size: int) -> Iterator[tuple[int, int]]:
    """Where they differ, in order: offsets, the end exclusive. Ranges that are less than ``_GAP`` apart are one.

    OSError as pread(2) raises it.
    """
    common = min(left_size, right_size)
    start = end = -_GAP
    for offset, delta in _unequal(left, right, common):
        for match in _RUN.finditer(delta):
            if offset + match.start() - end >= _GAP:
                if end > start:
                    yield start, end
                start = offset + match.start()
            end = offset + match.end()
    longest = max(left_size, right_size)
    if longest > common:
        if common - end >= _GAP:
            if end > start:
                yield start, end
            start = common
        end = longest
    if end > start:
        yield start, end


def _unequal(left: Content, right: Content, size: int) -> Iterator[tuple[int, bytes]]:
    """The pieces in which the first ``size`` bytes differ: an offset, and the exclusive or of both."""
    position = 0
    while position < size:
        if size > _SMALL:  # a hole in what is small costs less to read than to look for
            position = min(left.next_data(position, size), right.next_data(position, size))
        length = min(_CHUNK, size - position)
        one, other = left.read(position, length), right.read(position, length)
        if one != other:
            if len(one) != len(other):  # one of them became shorter meanwhile
                length = max(len(one), len(other))
                one, other = one.ljust(length, b"\0"), other.ljust(length, b"\0")
            delta = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
            yield position, delta.to_bytes(length, "little")
        position += length
