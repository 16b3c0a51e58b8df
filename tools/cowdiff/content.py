"""The bytes of open regular files: reading, copying, comparing. Holes are not read, and no file is held whole.

Used by ``trees``, ``scan`` and the commands that show content.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cowfs.layers import data
from cowfs.state.partial import Partial

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
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
    position = 0
    while position < size:
        position = min(left.next_data(position, size), right.next_data(position, size))
        length = min(_CHUNK, size - position)
        if left.read(position, length) != right.read(position, length):
            return False
        position += length
    return True
