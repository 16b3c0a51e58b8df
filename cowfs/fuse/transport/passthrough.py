"""Files whose reads, writes and mmap never come here (Linux 6.9, CAP_SYS_ADMIN).

A *backing id* is the kernel's name for a file that we have open (FUSE_DEV_IOC_BACKING_OPEN). Its rules: while an inode
is open in passthrough, every other open of it must be passthrough to the same id, and cached opens and passthrough
opens of one inode exclude each other; the caller gets EIO for a wrong answer (fs/fuse/iomode.c).
"""

import ctypes
import fcntl
import os
import struct
from typing import Final

from cowfs.fuse.transport import capabilities

_BACKING_OPEN: Final = 0x4010E501  # _IOW(229, 1, struct fuse_backing_map)
_BACKING_CLOSE: Final = 0x4004E502  # _IOW(229, 2, uint32_t)

_STACKABLE: Final = frozenset({0x794C7630, 0x65735546})  # statfs(2)'s types of overlayfs and FUSE (linux/magic.h)


def stack_depth_above(directory: int) -> int:
    """The depth that a mount with backing files of this directory's file system must have.

    The kernel allows two levels, and takes a backing file from a lower one only (fs/fuse/backing.c). A mount at 2 can
    be no layer of the kernel's overlayfs, so 2 is for where the upper may be stacked itself.
    """
    status = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None).fstatfs(directory, status):
        return 1
    (kind,) = struct.unpack_from("@l", status)
    return 2 if kind & 0xFFFFFFFF in _STACKABLE else 1


class Passthrough:
    """Backing ids of one connection."""

    def __init__(self, device: int) -> None:
        """``device``: the connection's descriptor, after INIT was answered."""
        self._device = device

    def register(self, descriptor: int, *, privileged: bool = True) -> int:
        """A backing id for an open file. Raises OSError.

        Writes to the file happen with the credentials of this moment. Not ``privileged``: without CAP_FSETID, so
        that the file system takes setuid and setgid off a file that is written.
        """
        if not privileged:
            with capabilities.without_fsetid():
                return self.register(descriptor)
        backing: int = fcntl.ioctl(self._device, _BACKING_OPEN, bytearray(struct.pack("<iIQ", descriptor, 0, 0)))
        return backing

    def forget(self, backing: int) -> None:
        """Give an id back; files that were opened with it stay open."""
        fcntl.ioctl(self._device, _BACKING_CLOSE, struct.pack("<I", backing))

    def probe(self, directory: int, name: bytes) -> None:
        """Try it on a file of this free name, unlinked at once. Raises OSError where kernel or file system refuse."""
        file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            os.unlink(name, dir_fd=directory)
            self.forget(self.register(file))
        finally:
            os.close(file)
