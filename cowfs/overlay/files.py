"""Open files and directories (fs/overlayfs/file.c, readdir.c).

Opening a lower file for writing changes nothing: its handle stays on the lower until the first write, which copies up
and puts the upper's file behind every handle of the node, the readers' too. So a handle's number never changes and a
reader sees what is written after it opened. Who relies on overlayfs's copy-up at open asks for it by an option.
"""

import errno
import os
from typing import Final

from cowfs.layers import syscalls
from cowfs.overlay.attributes import SPECIAL_BITS
from cowfs.overlay.copy_up import Content
from cowfs.overlay.create import ROOT, Caller
from cowfs.overlay.partial import PartialCopyUp
from cowfs.overlay.parts import error
from cowfs.state.handles import Handle
from cowfs.state.listing import Listing
from cowfs.state.nodes import DirNode, Node

_OPEN_LOWER: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_COPY_LIMIT: Final = 16 << 20  # bytes copied by one request, so that others get their turn


class Files(PartialCopyUp):
    """Opens, reads, writes."""

    def open(self, node: Node, flags: int, caller: Caller = ROOT) -> Handle:
        """Open a regular file.

        Of ``flags`` the access mode and O_TRUNC count; O_APPEND and the like are the kernel's business.
        """
        if node.is_dir:
            raise error(errno.EISDIR)
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        if writable:
            self.writer()
        if flags & os.O_TRUNC:  # with O_RDONLY, too: Linux truncates then
            self.truncate(node, 0, caller, by_handle=True)
        elif writable and self.options.copy_up_on_open:
            self.raise_node(node, Content.COMES)
        on_upper = node.on_upper and (node.data is None or node.partial is not None)
        if on_upper:
            fd = self.open_upper(node, writable=writable)
        else:
            # Of a file in parts, the layer that has the parts: its holes are read from the data's place.
            place = node.lower if node.partial is not None and node.lower is not None else self.data_place(node)
            fd = os.open(place[1], _OPEN_LOWER, dir_fd=place[0].fd)
        handle = Handle(node, fd, writable=writable, on_upper=on_upper, privileged=caller.privileged)
        if not on_upper and self.options.live_lower:
            handle.same_version = self.is_same_version(node, os.fstat(fd))
        if writable:
            handle.kill_privileges = not caller.privileged and bool(self.status(node).st_mode & SPECIAL_BITS)
            node.reply = None
        node.handles += (handle,)
        return handle

    def release(self, handle: Handle) -> None:
        """Close a handle; the last one of a nameless file frees it."""
        node = handle.node
        (self.close_removed if node.orphan else os.close)(handle.fd)
        node.handles = tuple(other for other in node.handles if other is not handle)
        if node.lookups <= 0 and not node.handles:
            self.drop_unused(node)

    def prepare_write(self, handle: Handle) -> None:
        """Must come before a write through ``handle``: the data is the upper's from here on, privileges are off."""
        if not handle.on_upper:
            if self.comes_in_parts(handle.node):
                self.start_partial(handle.node)
            else:
                self.raise_node(handle.node, Content.COMES)
        if handle.kill_privileges:
            self.kill_privileges(handle.node)
            handle.kill_privileges = False

    def read(self, handle: Handle, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``."""
        if handle.node.partial is not None:
            return self.read_parts(handle, offset, size)
        return os.pread(handle.fd, size, offset)

    def write(self, handle: Handle, offset: int, data: bytes) -> int:
        """Write at ``offset``: the number of bytes written."""
        if not handle.on_upper or handle.kill_privileges:
            self.prepare_write(handle)
        self.touch(handle.node)
        if handle.node.partial is not None:
            return self.write_parts(handle, offset, data)
        return os.pwrite(handle.fd, data, offset)

    def allocate(self, handle: Handle, mode: int, offset: int, length: int) -> None:
        """fallocate(2): ``mode`` are its FALLOC_FL flags."""
        self.raise_node(handle.node, Content.COMES)
        self.prepare_write(handle)
        syscalls.fallocate(handle.fd, mode, offset, length)
        self.touch(handle.node)

    def seek(self, handle: Handle, offset: int, whence: int) -> int:
        """lseek(2) with SEEK_DATA or SEEK_HOLE: the position found. Raises ENXIO beyond the end."""
        if handle.node.partial is not None:
            return self.seek_parts(handle, offset, whence)
        return os.lseek(handle.fd, offset, whence)

    def copy_range(self, source: Handle, offset: int, target: Handle, target_offset: int, length: int) -> int:
        """copy_file_range(2): the number of bytes copied, which may be less than ``length``.

        Raises EOPNOTSUPP where one of the files is in parts: the kernel then reads and writes.
        """
        self.prepare_write(target)
        if source.node.partial is not None or target.node.partial is not None:
            raise error(errno.EOPNOTSUPP)
        done = os.copy_file_range(source.fd, target.fd, min(length, _COPY_LIMIT), offset, target_offset)
        self.touch(target.node)
        return done

    def fsync(self, handle: Handle, *, data_only: bool) -> None:
        """Bring a file to the disk, unless the mount is volatile."""
        if handle.on_upper and not self.options.volatile:
            (os.fdatasync if data_only else os.fsync)(handle.fd)

    # --- directories --------------------------------------------------------------------------------------

    def listing(self, node: Node, start: int) -> Listing:
        """The names in a directory; ``start`` 0 looks which there are, any other number goes on from there.

        Raises ENOTDIR.
        """
        if not isinstance(node, DirNode):
            raise error(errno.ENOTDIR)
        if node.listing is None or start == 0:
            node.listing = node.listing or Listing()
            node.listing.follow(self.names(node))
        return node.listing

    def fsyncdir(self, node: DirNode) -> None:
        """Bring a directory's names to the disk, unless the mount is volatile."""
        if node.upper_dir is None or self.options.volatile:
            return
        listing = node.upper_dir.open_listing()
        try:
            os.fsync(listing)
        finally:
            os.close(listing)
