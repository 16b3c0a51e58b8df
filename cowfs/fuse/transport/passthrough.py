"""Files whose reads, writes and mmap never come here (Linux 6.9, CAP_SYS_ADMIN).

A *backing id* is the kernel's name for a file that we have open (FUSE_DEV_IOC_BACKING_OPEN). Its rules: while an inode
is open in passthrough, every other open of it must be passthrough to the same id, and cached opens and passthrough
opens of one inode exclude each other; the caller gets EIO for a wrong answer (fs/fuse/iomode.c).
"""

import fcntl
import os
import struct
from typing import Final

from cowfs.fuse.transport import capabilities

_BACKING_OPEN: Final = 0x4010E501  # _IOW(229, 1, struct fuse_backing_map)
_BACKING_CLOSE: Final = 0x4004E502  # _IOW(229, 2, uint32_t)


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

    def probe(self, directory: int) -> None:
        """Try it on a nameless file in ``directory``. Raises OSError where the kernel or the file system refuses."""
        file = os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            self.forget(self.register(file))
        finally:
            os.close(file)
