"""Who owns a file, where a mount shows other numbers than the disk has, or keeps them in an attribute. Pure.

    disk (or attribute)                     inside
    first on disk + n     -- ranges -->     first shown + n
    any other             -- ranges -->     the overflow number (65534)
    any                   -- squash -->     that one number
    first on disk + n     <-- ranges --     first shown + n
    any                   <-- squash only   the same

Ranges that overlap: the last one counts, as with fuse-overlayfs. Squashing is for looking only: what somebody inside
is or asks for is kept as it is, where the disk takes it.

The attribute is "uid:gid:mode", the mode in octal with or without its type bits; what follows a fourth colon
(containers/storage writes the type there) says nothing new.
"""

import stat
from collections.abc import Iterable
from typing import NamedTuple


class Ids(NamedTuple):
    """The numbers of users, or of groups. ``ranges``: first on disk, first shown, how many; None: all as they are."""

    ranges: tuple[tuple[int, int, int], ...] | None = None
    squash: int | None = None
    overflow: int = 65534

    def shown(self, number: int) -> int:
        """What a number on the disk is inside."""
        if self.squash is not None:
            return self.squash
        if self.ranges is None:
            return number
        return _translate(number, ((disk, inside, count) for disk, inside, count in reversed(self.ranges)), self)

    def stored(self, number: int) -> int:
        """How a number from inside is kept."""
        if self.ranges is None:
            return number
        return _translate(number, ((inside, disk, count) for disk, inside, count in reversed(self.ranges)), self)


def _translate(number: int, ranges: Iterable[tuple[int, int, int]], ids: Ids) -> int:
    for first, other, count in ranges:
        if first <= number < first + count:
            return other + number - first
    return ids.overflow


class Kept(NamedTuple):
    """What the attribute says; ``mode`` without type bits."""

    uid: int
    gid: int
    mode: int


def read_kept(value: bytes) -> Kept | None:
    """The attribute's value; None for one that is no such thing."""
    uid, _, rest = value.partition(b":")
    gid, _, rest = rest.partition(b":")
    mode = rest.partition(b":")[0]
    if not (uid.isdigit() and gid.isdigit() and mode):
        return None
    try:
        return Kept(int(uid), int(gid), stat.S_IMODE(int(mode, 8)))
    except ValueError:
        return None


def write_kept(uid: int, gid: int, mode: int) -> bytes:
    """The attribute's value; ``mode`` with its type bits."""
    return b"%d:%d:%o" % (uid, gid, mode)
