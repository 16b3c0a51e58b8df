"""Inode numbers: one for life, the same after copy-up, rename and remount.

A number is made of the *identity* of a file: device and inode of the lower file it was copied up from, else its own.
As overlayfs's ``xino`` (Documentation/filesystems/overlayfs.rst, "Inode properties") the device becomes an index in the
high bits, counted from the bottom layer, so that a new layer on top changes no number:

    bits 63..48  index of the file system, 0 for the lowest layer's
    bits 47..0   st_ino there

A kernel number is a node id of FUSE as well, so two rules more: 1 is the root's and nobody else's; identities that do
not fit (inode numbers of 2^48 and up, a second file that claims the same identity) get numbers from a range of their
own, good for this mount.
"""

from typing import Final

ROOT: Final = 1
_SHIFT: Final = 48
_LIMIT: Final = 1 << _SHIFT
_ONE: Final = 0xFFFE << _SHIFT  # st_ino 1 on the lowest file system: tmpfs's root has it
_OWN_RANGE: Final = 0xFFFF << _SHIFT


class Numbers:
    """The numbering of one mount."""

    def __init__(self, devices: list[int]) -> None:
        """``devices``: st_dev of each layer, the lowest first."""
        self._base: dict[int, int] = {}
        self._next = _OWN_RANGE
        self._odd: dict[int, tuple[int, int]] = {}  # identities of the numbers above
        for device in devices:
            self._index(device)

    def of(self, device: int, inode: int) -> int:
        """The number of an identity."""
        base = self._base.get(device)
        if base is None:
            base = self._index(device)
        if inode >= _LIMIT:
            return self.fresh(device, inode)
        number = base | inode
        return _ONE if number == ROOT else number

    def fresh(self, device: int, inode: int) -> int:
        """A number for an identity that does not fit or has its number given away. ``forget`` it in the end."""
        self._next += 1
        self._odd[self._next] = (device, inode)
        return self._next

    def forget(self, number: int) -> None:
        """Nobody uses the number any more."""
        self._odd.pop(number, None)

    def is_of(self, number: int, device: int, inode: int) -> bool:
        """Was the number made of this identity?"""
        odd = self._odd.get(number)
        if odd is not None:
            return odd == (device, inode)
        return inode < _LIMIT and self.of(device, inode) == number

    def _index(self, device: int) -> int:
        return self._base.setdefault(device, len(self._base) << _SHIFT)
