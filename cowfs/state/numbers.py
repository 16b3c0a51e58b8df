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
        for device in devices:
            self._index(device)

    def of(self, device: int, inode: int) -> int:
        """The number of an identity."""
        base = self._base.get(device)
        if base is None:
            base = self._index(device)
        if inode >= _LIMIT:
            return self.fresh()
        number = base | inode
        return _ONE if number == ROOT else number

    def fresh(self) -> int:
        """A number that no identity has."""
        self._next += 1
        return self._next

    def _index(self, device: int) -> int:
        return self._base.setdefault(device, len(self._base) << _SHIFT)
