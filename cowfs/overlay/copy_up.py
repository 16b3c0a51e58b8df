"""Copy up: a lower file becomes the upper's, so that it can change.

Parents first; each is built in the work directory and published by one rename. Attributes and data move apart: a chmod
brings a *metacopy* file whose bytes stay in the lower, the first write fills it. Data comes before owner, owner before
attributes (chown takes capabilities off), mode after them, times last (ovl_copy_up_one in fs/overlayfs/copy_up.c).

The long part, the bytes of a big file, is a ``Fill`` that another thread can run while the overlay goes on.
"""

import errno
import os
import stat
from enum import Enum
from typing import Final

from cowfs import ondisk
from cowfs.layers import data, origin, syscalls
from cowfs.layers.directory import Directory
from cowfs.layers.marks import get_optional
from cowfs.layers.upper import Upper
from cowfs.linux import CAPABILITY
from cowfs.overlay.parts import error
from cowfs.overlay.status import Status
from cowfs.state.nodes import DirNode, Node, Place
from cowfs.state.partial import Partial

Target = bytes | int  # a path, or a descriptor

_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Content(Enum):
    """What of a regular file's bytes comes along."""

    STAYS = "stays"  # a metacopy: the lower keeps supplying them
    COMES = "comes"
    DROPPED = "dropped"  # it is about to be truncated


class Fill:
    """The bytes of a file on their way into its metacopy. ``run`` may be called in another thread, nothing else."""

    def __init__(self, node: Node, source: int, target: int, size: int) -> None:
        self.node = node
        self.target = target
        self._source = source
        self._size = size

    def run(self) -> None:
        """Copy. Raises OSError: the metacopy is as valid as before, whatever was written."""
        partial = self.node.partial
        if partial is None:
            data.copy(self._source, self.target, self._size)
        else:
            data.copy_ranges(self._source, self.target, partial.missing())

    def close(self) -> None:
        """Close both files."""
        os.close(self._source)
        os.close(self.target)


class CopyUp(Status):
    """Makes nodes the upper's."""

    def writer(self) -> Upper:
        """The upper. Raises EROFS where there is none."""
        if self.upper is None:
            raise error(errno.EROFS)
        return self.upper

    # --- directories --------------------------------------------------------------------------------------

    def raise_directory(self, node: DirNode) -> Directory:
        """The upper's part of a directory, made with those of its ancestors where it is missing."""
        if node.upper_dir is not None:
            return node.upper_dir
        self.writer()
        missing: list[DirNode] = []
        current: DirNode | None = node
        while current is not None and current.upper_dir is None:
            if current.orphan:
                raise error(errno.ENOENT)
            missing.append(current)
            current = current.parent
        for directory in reversed(missing):
            self._copy_directory(directory)
        assert node.upper_dir is not None
        return node.upper_dir

    def _copy_directory(self, node: DirNode) -> None:
        upper = self.writer()
        parent = node.parent
        assert parent is not None
        assert parent.upper_dir is not None
        source = node.lowers[0]
        status = source.stat_self()
        name = upper.temporary()
        os.mkdir(name, 0o700, dir_fd=upper.work.fd)
        try:
            target = upper.work.path_of(name)
            self._copy_attributes(source.path(), True, target, status)
            assert source.parent is not None
            self._set_origin(target, (source.parent, source.name), status)
            self._set_mode_and_times(target, status)
            self._publish(name, parent, node.name)
        except BaseException:
            upper.discard(name)
            raise
        node.upper_dir = parent.upper_dir.child(node.name)
        node.quiet = (parent.upper_dir.stat(node.name).st_ctime_ns, self.shown_ctime(node, status))
        parent.add_upper(node.name)
        self.touch(node, parent)

    def _publish(self, name: bytes, parent: DirNode, target: bytes) -> None:
        """Move a finished copy to its place; that a copy came is no change of the directory, so its times stay."""
        directory = parent.upper_dir
        assert directory is not None
        before = directory.stat_self()
        shown = self.shown_ctime(parent, before)
        self.mark_impure(directory)
        self.writer().publish(name, directory, target)
        syscalls.set_times(directory.path(), before.st_atime_ns, before.st_mtime_ns, follow=True)
        parent.quiet = (directory.stat_self().st_ctime_ns, shown)

    def mark_impure(self, directory: Directory) -> None:
        """Say on disk that a directory may hold files with an origin."""
        if not directory.marks().impure:
            self.marks.set_self(directory.path(), ondisk.IMPURE, b"y")
            directory.forget_marks()

    # --- files --------------------------------------------------------------------------------------------

    def raise_node(self, node: Node, content: Content = Content.STAYS) -> None:
        """Make a node the upper's; a no-op where it is. Regular files bring of their bytes what ``content`` says."""
        if isinstance(node, DirNode):
            self.raise_directory(node)
            return
        if not node.on_upper:
            self._copy_file(node, content)
        elif node.data is not None and content is not Content.STAYS:
            self._complete(node, content)

    def _copy_file(self, node: Node, content: Content) -> None:
        upper = self.writer()
        if node.lower is None:
            raise error(errno.ESTALE)
        if node.parent is not None:
            self.raise_directory(node.parent)
        status = node.lower[0].stat(node.lower[1])
        name = upper.temporary()
        try:
            self._build(node, name, status, content)
            self._place(node, name, status)
        except BaseException:
            upper.discard(name)
            raise
        self._copied(node, content, status)

    def _copied(self, node: Node, content: Content, status: os.stat_result) -> None:
        """A copy was published."""
        if (
            content is not Content.STAYS
            or not stat.S_ISREG(node.kind)
            or not status.st_size
            or node.partial is not None
        ):
            node.data = None
            node.drop_partial()
            self._switch_handles(node)
        else:
            node.data = node.data or node.lower
            self.check_data(node, status.st_size)
        if node.parent is not None:
            self.touch(node.parent)
        self.touch(node)

    def _build(self, node: Node, name: bytes, status: os.stat_result, content: Content) -> None:
        """Make the copy in the work directory."""
        upper = self.writer()
        assert node.lower is not None
        target = upper.work.path_of(name)
        if stat.S_ISREG(node.kind):
            self._build_regular(node, name, status, content)
        elif stat.S_ISLNK(node.kind):
            os.symlink(self.readlink(node), name, dir_fd=upper.work.fd)
        else:
            os.mknod(name, node.kind | 0o600, status.st_rdev, dir_fd=upper.work.fd)
        self._dress(node, target, status)

    def _dress(self, node: Node, target: bytes, status: os.stat_result) -> None:
        """Give a copy all but the data: that comes before."""
        assert node.lower is not None
        self._copy_attributes(node.lower[0].path_of(node.lower[1]), False, target, status)
        self._set_origin(target, node.lower, status)
        self._set_mode_and_times(target, status)

    def _build_regular(self, node: Node, name: bytes, status: os.stat_result, content: Content) -> None:
        upper = self.writer()
        target = os.open(name, _CREATE, 0o600, dir_fd=upper.work.fd)
        try:
            if node.partial is not None and content is not Content.DROPPED:
                self._gather(node, node.partial, target, status.st_size)
            elif content is Content.COMES and status.st_size:
                source = self._open_data(node)
                try:
                    data.copy(source, target, status.st_size)
                finally:
                    os.close(source)
            elif content is Content.STAYS and status.st_size:
                os.ftruncate(target, status.st_size)
                os.setxattr(target, self.marks.name(ondisk.METACOPY), b"")
        finally:
            os.close(target)

    def _gather(self, node: Node, partial: Partial, target: int, size: int) -> None:
        """Put a file together that a layer has in parts: the upper of a mount that was killed."""
        place = node.lower
        assert place is not None
        parts = os.open(place[1], _READ, dir_fd=place[0].fd)
        try:
            data.copy_ranges(partial.lower, target, partial.missing())
            data.copy_ranges(parts, target, [(start, min(end, size)) for start, end in partial.extents])
        finally:
            os.close(parts)
        os.ftruncate(target, size)

    def _place(self, node: Node, name: bytes, status: os.stat_result) -> None:
        """Publish a finished copy: at the node's name, through the index where the lower file has several."""
        upper = self.writer()
        assert node.lower is not None
        links, node.links_diff = status.st_nlink + node.links_diff, 0
        index_name = self._index_name(node.lower) if links > 1 else None
        if node.parent is None:
            node.anchor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=upper.work.fd)
            os.unlink(name, dir_fd=upper.work.fd)
            return
        assert node.parent.upper_dir is not None
        if index_name is None:
            self._publish(name, node.parent, node.name)
            node.upper = (node.parent.upper_dir, node.name)
            node.parent.add_upper(node.name)
            return
        raw = index_name.encode()
        copy = upper.work.stat(name)
        node.links_diff = links - copy.st_nlink
        self._write_links(upper.work.path_of(name), node.links_diff)
        upper.publish(name, upper.index, raw)
        upper.indexed.add(raw)
        node.upper, node.index_name = (upper.index, raw), index_name
        self.register_links(node, copy.st_ino)
        self.link_name(node.parent, node.name, node)

    def _index_name(self, lower: Place) -> str | None:
        found = origin.origin_of(lower[0].fd, lower[1], lower[0].layer.uuid_of(lower[0]))
        return origin.encode(found).hex() if found else None

    def link_name(self, parent: DirNode, name: bytes, node: Node) -> None:
        """Give an indexed file this visible name in the upper, where only a lower has it so far."""
        if node.index_name is None or parent.in_upper(name) or node.upper is None:
            return
        self.raise_directory(parent)
        temporary = self.writer().temporary()
        source = node.upper
        os.link(source[1], temporary, src_dir_fd=source[0].fd, dst_dir_fd=self.writer().work.fd, follow_symlinks=False)
        self._publish(temporary, parent, name)
        self.count_links(node, -1)
        parent.add_upper(name)

    def count_links(self, node: Node, change: int) -> None:
        """The merged link count of an indexed file changes by ``change`` against the upper one's."""
        if node.index_name is None or node.upper is None:
            return
        node.links_diff += change
        self._write_links(node.upper[0].path_of(node.upper[1]), node.links_diff)
        self.touch(node)

    def _write_links(self, path: bytes, diff: int) -> None:
        self.marks.set(path, ondisk.NLINK, b"U%+d" % diff)

    # --- data ---------------------------------------------------------------------------------------------

    def data_place(self, node: Node) -> Place:
        """Where the bytes of a regular file that has a name are."""
        place = node.data or node.upper or node.lower
        if place is None:
            raise error(errno.ESTALE)
        if node.data is not None and node.on_upper and self.options.live_lower:
            self.check_data(node, self.status(node).st_size)
        return place

    def _open_data(self, node: Node) -> int:
        if node.data is None and node.anchor >= 0:
            return os.open(b"/proc/self/fd/%d" % node.anchor, os.O_RDONLY | os.O_CLOEXEC)
        place = self.data_place(node)
        return os.open(place[1], _READ, dir_fd=place[0].fd)

    def open_upper(self, node: Node, *, writable: bool) -> int:
        """Open the upper's copy of a regular file. Not for a metacopy's data."""
        if node.anchor >= 0:
            access = os.O_RDWR if writable else os.O_RDONLY
            return os.open(b"/proc/self/fd/%d" % node.anchor, access | os.O_CLOEXEC)
        assert node.upper is not None
        return os.open(node.upper[1], _WRITE if writable else _READ, dir_fd=node.upper[0].fd)

    def start_fill(self, node: Node) -> Fill:
        """Prepare to bring the data of a file:

        it gets its attributes first. The file must not be in the upper whole.
        """
        self.raise_node(node, Content.STAYS)
        source = self._open_data(node)
        try:
            return Fill(node, source, self.open_upper(node, writable=True), os.fstat(source).st_size)
        except BaseException:
            os.close(source)
            raise

    def finish_fill(self, fill: Fill, before: os.stat_result, capability: bytes | None) -> None:
        """Commit a fill that ran: from here on the upper has the data. ``before``: the attributes when it began."""
        node = fill.node
        if capability is not None:
            os.setxattr(fill.target, CAPABILITY, capability)
        os.utime(fill.target, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.removexattr(fill.target, self.marks.name(ondisk.METACOPY))
        self._whole(node)

    def _whole(self, node: Node) -> None:
        """The upper has all of a file's data now."""
        if node.partial is not None:
            path, follow = self.operand(node)
            os.removexattr(path, self.marks.name(ondisk.PARTIAL), follow_symlinks=follow)
            node.drop_partial()
        node.data = None
        self._switch_handles(node)
        self.touch(node)

    def _complete(self, node: Node, content: Content) -> None:
        """Turn a metacopy into a whole file, at once."""
        if content is Content.DROPPED:
            target = self.open_upper(node, writable=True)
            try:
                os.ftruncate(target, 0)
                os.removexattr(target, self.marks.name(ondisk.METACOPY))
            finally:
                os.close(target)
            self._whole(node)
            return
        before, capability = self.status(node), self.capability(node)
        fill = self.start_fill(node)
        try:
            fill.run()
            self.finish_fill(fill, before, capability)
        finally:
            fill.close()

    def capability(self, node: Node) -> bytes | None:
        """The file capabilities of a node, which writing to the file takes off."""
        path, follow = self.operand(node)
        return get_optional(path, CAPABILITY, follow=follow)

    def _switch_handles(self, node: Node) -> None:
        """Put the upper's file behind every handle that was opened on the lower: readers see what is written next."""
        for handle in node.handles:
            if handle.on_upper:
                continue
            replacement = self.open_upper(node, writable=handle.writable)
            os.dup2(replacement, handle.fd, inheritable=False)
            os.close(replacement)
            handle.on_upper = True

    # --- attributes ---------------------------------------------------------------------------------------

    def operand(self, node: Node) -> tuple[bytes, bool]:
        """A path for a node's attributes, and whether its last component is a link that must be followed."""
        if node.anchor >= 0:
            return b"/proc/self/fd/%d" % node.anchor, True
        if isinstance(node, DirNode):
            return node.parts[0].path(), True
        place = node.upper or node.lower
        if place is None:
            raise error(errno.ESTALE)
        return place[0].path_of(place[1]), False

    def _copy_attributes(self, source: bytes, follow: bool, target: bytes, status: os.stat_result) -> None:
        """Owner, then attributes: chown drops security.capability. Marks are not copied."""
        try:
            self.set_owner(target, status.st_uid, status.st_gid, follow=False)
        except OSError as failure:
            if failure.errno != errno.EINVAL:  # an owner whom our user namespace does not have: it becomes ours
                raise
        for raw in os.listxattr(source, follow_symlinks=follow):
            name = os.fsencode(raw)
            if self.marks.shown(name) is None:
                continue
            value = os.getxattr(source, name, follow_symlinks=follow)
            try:
                os.setxattr(target, name, value, follow_symlinks=False)
            except OSError as failure:
                if failure.errno != errno.EOPNOTSUPP:
                    raise

    def _set_origin(self, target: bytes, place: Place, status: os.stat_result) -> None:
        found = origin.origin_of(place[0].fd, place[1], place[0].layer.uuid_of(place[0]))
        try:
            self.marks.set(target, ondisk.ORIGIN, origin.encode(found) if found else b"")
        except PermissionError:  # marks in the users' namespace are for files and directories (xattr(7))
            if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                raise

    def _set_mode_and_times(self, target: bytes, status: os.stat_result) -> None:
        if not stat.S_ISLNK(status.st_mode):
            self.set_mode(target, stat.S_IMODE(status.st_mode))
        syscalls.set_times(target, status.st_atime_ns, status.st_mtime_ns, follow=False)

    def set_owner(self, path: Target, uid: int, gid: int, *, follow: bool) -> None:
        """chown(2) of a file of the upper; -1 leaves a number as it is. How it is kept is decided here alone."""
        os.chown(path, uid, gid, follow_symlinks=follow)

    def set_mode(self, path: Target, mode: int) -> None:
        """chmod(2) of a file of the upper that is no symbolic link; likewise."""
        os.chmod(path, mode)
