"""The order in which a directory's names are given out, so that a reader can go on from where it was.

POSIX asks that whoever reads a directory while it changes gets each name that was there all the time exactly once. The
kernel keeps no handle of a directory that it reads, only the last number: so a name keeps its number as long as it is
there, and new names get higher ones.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import chain


class Listing:
    """Names and their numbers, ascending; "." and ".." are the first two."""

    __slots__ = ("_free", "names", "numbers")

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.numbers = array("Q")
        self._free = 0

    def follow(self, visible: Iterable[bytes]) -> None:
        """The directory has these names now, "." and ".." not among them. For who begins to read it."""
        now = [b".", b"..", *visible]
        if now == self.names:
            return
        if not self.names:  # the first time: a directory may have very many names, and no copy of them is wanted
            self.names, self.numbers = now, array("Q", range(len(now)))
            self._free = len(now)
            return
        there = set(now)
        kept = [(name, number) for name, number in zip(self.names, self.numbers, strict=True) if name in there]
        there.difference_update(name for name, _ in kept)
        new = [name for name in now if name in there]
        self.names = [*(name for name, _ in kept), *new]
        self.numbers = array("Q", chain((number for _, number in kept), range(self._free, self._free + len(new))))
        self._free += len(new)

    def position(self, number: int) -> int:
        """Where the first name with this number or a higher one is."""
        return bisect_left(self.numbers, number)
