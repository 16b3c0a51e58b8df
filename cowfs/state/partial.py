"""A big file of which only some parts were written: the rest still comes from the lower.

    offset     0        written blocks            size of the lower      end of file
    upper      hole     data                      hole                   hole
    read from  lower    upper                     zeros                  -

The upper's file is sparse, and its blocks are the record of what was written (SEEK_DATA), so a kill loses nothing. A
block is written whole: what a write leaves of it comes from the lower first. Bytes of the lower beyond ``lower_end``,
cut off by a truncate once, never come back.
"""

import os
from typing import Final

from cowfs.state.extents import Extents

BLOCK: Final = 4096


class Partial:
    """The parts of one file. ``lower`` is a descriptor of the lower file that this object closes."""

    __slots__ = ("extents", "lower", "lower_end")

    def __init__(self, lower: int, lower_end: int, extents: Extents) -> None:
        self.lower = lower
        self.lower_end = lower_end
        self.extents = extents

    def close(self) -> None:
        """Close the lower file."""
        os.close(self.lower)

    def read(self, upper: int, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset`` of the file whose upper part is open as ``upper``."""
        end = min(offset + size, os.fstat(upper).st_size)
        pieces = [
            os.pread(upper, stop - start, start) if written else self._from_lower(start, stop)
            for start, stop, written in self.extents.pieces(offset, end)
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, upper: int, offset: int, data: bytes) -> int:
        """Write ``data`` at ``offset``: the number of bytes written. Raises OSError; what was there stays readable."""
        if not data:
            return 0
        first = offset // BLOCK * BLOCK
        last = (offset + len(data) - 1) // BLOCK * BLOCK
        self._bring_block(upper, first, offset, offset + len(data))
        if last != first:
            self._bring_block(upper, last, offset, offset + len(data))
        done = os.pwrite(upper, data, offset)
        self.extents.add(first, -(-(offset + done) // BLOCK) * BLOCK)
        return done

    def truncate(self, upper: int, size: int) -> None:
        """Set the size; ``lower_end`` must have been lowered, here and on disk, before."""
        os.ftruncate(upper, size)
        self.extents.clip(-(-size // BLOCK) * BLOCK)

    def missing(self) -> list[tuple[int, int]]:
        """The ranges that only the lower has."""
        return list(self.extents.gaps(0, self.lower_end))

    def _from_lower(self, start: int, stop: int) -> bytes:
        data = os.pread(self.lower, max(0, min(stop, self.lower_end) - start), start)
        return data.ljust(stop - start, b"\0")

    def _bring_block(self, upper: int, block: int, start: int, stop: int) -> None:
        """Before [start, stop) is written: bring the rest of a block that is not in the upper yet."""
        whole = start <= block and stop >= block + BLOCK
        if whole or block >= self.lower_end or self.extents.covers(block):
            return
        data = os.pread(self.lower, min(BLOCK, self.lower_end - block), block)
        os.pwrite(upper, data, block)
        self.extents.add(block, block + BLOCK)
