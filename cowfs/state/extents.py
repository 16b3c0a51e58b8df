"""A set of byte ranges: which parts of a big file were written to the upper already."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Extents:
    """Disjoint ranges [start, end) in bytes, in order; neighbours are joined."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def add(self, start: int, end: int) -> None:
        """Add [start, end)."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def clip(self, end: int) -> None:
        """Drop everything from ``end`` on."""
        keep = bisect_left(self._starts, end)
        del self._starts[keep:], self._ends[keep:]
        if self._ends and self._ends[-1] > end:
            self._ends[-1] = end

    def covers(self, position: int) -> bool:
        """Is the byte at ``position`` in one of the ranges?"""
        index = bisect_right(self._starts, position) - 1
        return index >= 0 and position < self._ends[index]

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """[start, end) cut where ranges begin and end: each piece, and whether it is in the set."""
        index = bisect_right(self._ends, start)
        position = start
        while position < end:
            if index >= len(self._starts) or self._starts[index] >= end:
                yield position, end, False
                return
            if self._starts[index] > position:
                yield position, self._starts[index], False
                position = self._starts[index]
            stop = min(self._ends[index], end)
            yield position, stop, True
            position = stop
            index += 1

    def gaps(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, end) that are in no range."""
        return ((a, z) for a, z, present in self.pieces(start, end) if not present)
