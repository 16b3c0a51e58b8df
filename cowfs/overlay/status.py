"""What a node looks like: attributes, link targets, the file system's own figures."""

import errno
import os
import stat

from cowfs.model import Attr
from cowfs.overlay.live import Live
from cowfs.overlay.parts import error
from cowfs.state.nodes import DirNode, Node, Place


class Status(Live):
    """Reads attributes."""

    attributes_by_handle = True  # an open file of the upper has the attributes that are shown

    def handle_of(self, node: Node) -> int:
        """The descriptor of a handle through which a node's attributes are read and set, without a path; -1: none."""
        if self.attributes_by_handle:
            for handle in node.handles:
                if handle.on_upper:
                    return handle.fd
        return -1

    def status(self, node: Node) -> os.stat_result:
        """``struct stat`` of the layer's file that supplies a node's attributes."""
        if node.anchor >= 0:
            return os.fstat(node.anchor)
        if node.handles and (descriptor := self.handle_of(node)) >= 0:
            return os.fstat(descriptor)
        if isinstance(node, DirNode):
            top = node.parts[0]
            return top.stat_self() if top.parent is None else top.parent.stat(top.name)
        place = node.upper or node.lower
        if place is None:
            raise error(errno.ESTALE)  # a live lower took the file away
        return place[0].stat(place[1])

    def touch(self, *nodes: Node) -> None:
        """These nodes changed: what was read of them is void."""
        self._status = None
        for node in nodes:
            node.reply = None

    def attr(self, node: Node) -> Attr:
        """The attributes of a node: at most one system call, none right after it was found."""
        seen, self._status = self._status, None
        status = seen[1] if seen is not None and seen[0] is node else self.status(node)
        blocks = status.st_blocks if node.data is None else self._blocks_below(node.data)
        return Attr(
            node.number,
            status.st_mode,
            self._links(node, status),
            status.st_uid if status.st_uid < self.ids else 0,
            status.st_gid if status.st_gid < self.ids else 0,
            status.st_rdev,
            status.st_size,
            blocks,
            status.st_atime_ns,
            status.st_mtime_ns,
            self.shown_ctime(node, status),
        )

    def _blocks_below(self, data: Place) -> int:
        try:
            return data[0].stat(data[1]).st_blocks
        except FileNotFoundError:
            if not self.options.live_lower:
                raise
            return 0  # a live lower took the data away; an open says so

    def shown_ctime(self, node: Node, status: os.stat_result) -> int:
        """The ctime of a node, nanoseconds. That a copy came into a directory is no change: tar would complain."""
        ctime = status.st_ctime_ns
        if isinstance(node, DirNode) and node.quiet is not None and node.quiet[0] == ctime:
            return node.quiet[1]
        return ctime

    def _links(self, node: Node, status: os.stat_result) -> int:
        if node.orphan and node.anchor < 0:
            return 0
        if isinstance(node, DirNode):
            # As overlayfs: the children of a merged directory are counted nowhere (ovl_getattr in
            # fs/overlayfs/inode.c).
            return 1 if len(node.parts) > 1 else 0 if node.orphan else status.st_nlink
        return status.st_nlink + node.links_diff

    def path_of(self, node: Node) -> bytes:
        """A path of a node below the root, without a leading slash."""
        names: list[bytes] = []
        current: Node | None = node
        while current is not None and current is not self.root:
            names.append(current.name)
            current = current.parent
        return b"/".join(reversed(names))

    def readlink(self, node: Node) -> bytes:
        """The target of a symbolic link. Raises EINVAL on anything else."""
        if not stat.S_ISLNK(node.kind):
            raise error(errno.EINVAL)
        if node.anchor >= 0:
            return os.readlink(b"", dir_fd=node.anchor)
        place = node.upper or node.lower
        if place is None:
            raise error(errno.ESTALE)
        return os.readlink(place[1], dir_fd=place[0].fd)

    def statfs(self) -> os.statvfs_result:
        """statvfs of the file system that takes the writes, else of the top lower."""
        top = self.root.parts[0]
        listing = top.open_listing()
        try:
            return os.fstatvfs(listing)
        finally:
            os.close(listing)
