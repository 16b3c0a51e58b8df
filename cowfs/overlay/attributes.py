"""Attributes:

mode, owner, times, size, extended attributes (ovl_setattr in fs/overlayfs/inode.c, fs/overlayfs/xattrs.c).
"""

import errno
import os
import stat
from itertools import islice
from typing import Final, NamedTuple

from cowfs.layers import syscalls
from cowfs.layers.marks import ABSENT
from cowfs.linux import ACL_ACCESS, ACL_DEFAULT, CAPABILITY
from cowfs.overlay.copy_up import Content, Target
from cowfs.overlay.create import ROOT, Caller
from cowfs.overlay.parts import error
from cowfs.overlay.rename import Rename
from cowfs.state.nodes import DirNode, Node

SPECIAL_BITS: Final = stat.S_ISUID | stat.S_ISGID
_ACLS: Final = frozenset({ACL_ACCESS, ACL_DEFAULT})
_NEXT_ONES: Final = 256


class Changes(NamedTuple):
    """The attributes that a setattr sets; None leaves one as it is.

    Times in nanoseconds since the epoch, size in bytes.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


_NOTHING: Final = Changes()


class Attributes(Rename):
    """Changes attributes. No data is copied for anything but a size."""

    def setattr(self, node: Node, changes: Changes, caller: Caller = ROOT, *, by_handle: bool = False) -> None:
        """Apply ``changes``. The order is the kernel's: size, owner (takes setuid off), mode, times.

        ``by_handle``: it is ftruncate(2), not truncate(2).
        """
        if changes.size is not None:
            self.truncate(node, changes.size, caller, by_handle=by_handle)
        nothing = changes == _NOTHING
        if nothing and not node.is_dir:
            self._check_stranger(node, caller)
        self.raise_node(node, Content.STAYS)
        path, follow = self._target(node)
        # Nothing at all to change is what arrives of chown(-1, -1), which takes setuid off all the same.
        if changes.uid is not None or changes.gid is not None or nothing:
            uid = -1 if changes.uid is None else changes.uid
            gid = -1 if changes.gid is None else changes.gid
            self.set_owner(path, uid, gid, follow=follow)
        if changes.mode is not None and not stat.S_ISLNK(node.kind):
            self.set_mode(path, stat.S_IMODE(changes.mode))
            if changes.mode & SPECIAL_BITS:
                for handle in node.handles:
                    handle.kill_privileges = handle.writable and not handle.privileged
        if changes.atime_ns is not None and changes.mtime_ns is not None:
            os.utime(path, ns=(changes.atime_ns, changes.mtime_ns), follow_symlinks=follow)
        elif changes.atime_ns is not None or changes.mtime_ns is not None:
            syscalls.set_times(path, changes.atime_ns, changes.mtime_ns, follow=follow)
        self.attributes_changed(node)

    def _target(self, node: Node) -> tuple[Target, bool]:
        """What chown(2) and its kin take for a node, and whether a link is followed there."""
        descriptor = self.handle_of(node) if node.handles else -1
        return (descriptor, True) if descriptor >= 0 else self.operand(node)

    def attributes_changed(self, node: Node) -> None:
        """Void what was remembered of a node's attributes."""
        self.touch(node)
        if isinstance(node, DirNode):
            node.inherit = None

    def truncate(self, node: Node, size: int, caller: Caller = ROOT, *, by_handle: bool = False) -> None:
        """Set the size. Raises EISDIR, EINVAL as truncate(2).

        To the size that it has: times stay where it is by path, change ``by_handle`` and by O_TRUNC (do_truncate in
        fs/open.c).
        """
        if node.is_dir:
            raise error(errno.EISDIR)
        if not stat.S_ISREG(node.kind):
            raise error(errno.EINVAL)
        changes_size = self.status(node).st_size != size
        self.raise_node(node, Content.COMES if size else Content.DROPPED)
        if by_handle or changes_size:
            descriptor = self.open_upper(node, writable=True)
            try:
                os.ftruncate(descriptor, size)
            finally:
                os.close(descriptor)
        else:
            os.truncate(self.operand(node)[0], size)
        if not caller.privileged:
            self.kill_privileges(node)
        self.touch(node)

    def kill_privileges(self, node: Node) -> None:
        """Take setuid, and setgid of a group-executable file, off (setattr_should_drop_suidgid in fs/attr.c)."""
        mode = self.status(node).st_mode
        drop = _privileges(mode)
        if drop:
            path, _ = self.operand(node)
            self.set_mode(path, stat.S_IMODE(mode & ~drop))
            self.touch(node)

    def _check_stranger(self, node: Node, caller: Caller) -> None:
        """Raise EPERM where somebody else's chown(-1, -1) would take setuid off.

        A write in passthrough arrives as the same request, of a caller who has the file open.
        """
        status = self.status(node)
        writes = any(handle.writable and not handle.privileged for handle in node.handles)
        if caller.uid not in (0, status.st_uid) and _privileges(status.st_mode) and not writes:
            raise error(errno.EPERM)

    def drop_setgid(self, node: Node) -> None:
        """What an ACL set by somebody outside the file's group does (posix_acl_update_mode in fs/posix_acl.c)."""
        mode = self.status(node).st_mode
        if mode & stat.S_ISGID:
            self.set_mode(self.operand(node)[0], stat.S_IMODE(mode & ~stat.S_ISGID))
            self.attributes_changed(node)

    # --- extended attributes ------------------------------------------------------------------------------

    def getxattr(self, node: Node, name: bytes) -> bytes:
        """The value of an attribute. Raises ENODATA where it is absent, or one of our marks."""
        if name == CAPABILITY and self._is_bare(node):
            raise error(errno.ENODATA)
        path, follow = self.operand(node)
        return os.getxattr(path, self.marks.stored(name), follow_symlinks=follow)

    def listxattr(self, node: Node) -> list[bytes]:
        """The names of all attributes, marks left out."""
        if node.bare:
            return []
        path, follow = self.operand(node)
        stored = self.marks.names(path, follow=follow)
        names = [shown for shown in map(self.marks.shown, stored) if shown is not None]
        if node.on_upper or not self.options.live_lower:
            self.know_bare(node, not names)
        return names

    def _is_bare(self, node: Node) -> bool:
        if node.bare is None:
            Attributes.listxattr(self, node)  # not what a view adds to it
            if self.bare_numbers is not None and node.parent is not None:
                self._compare(node.parent)
        return node.bare is True

    def _compare(self, directory: DirNode) -> None:
        """Who asks for attributes of two files of a directory copies or compares it: the next ones' are looked for."""
        if not directory.compared:
            directory.compared = True
            return
        unknown = (
            entry for entry in (directory.entries or {}).values() if isinstance(entry, Node) and entry.bare is None
        )
        for node in islice(unknown, _NEXT_ONES):
            Attributes.listxattr(self, node)

    def setxattr(self, node: Node, name: bytes, value: bytes, flags: int = 0) -> None:
        """Set an attribute; ``flags`` are XATTR_CREATE and XATTR_REPLACE."""
        if not node.on_upper:
            if flags:
                self._check_flags(node, name, flags)
            self.raise_node(node, Content.STAYS)
        path, follow = self.operand(node)
        self.know_bare(node, False)
        os.setxattr(path, self.marks.stored(name), value, flags, follow_symlinks=follow)
        self.attributes_changed(node)

    def _check_flags(self, node: Node, name: bytes, flags: int) -> None:
        try:
            self.getxattr(node, name)
        except OSError as failure:
            if failure.errno not in ABSENT or flags & os.XATTR_REPLACE:
                raise
            return
        if flags & os.XATTR_CREATE:
            raise error(errno.EEXIST)

    def removexattr(self, node: Node, name: bytes) -> None:
        """Remove an attribute. Raises ENODATA where it is absent; then nothing is copied up.

        An ACL that is absent is no error (vfs_remove_acl in fs/posix_acl.c).
        """
        if not node.on_upper:
            try:
                self.getxattr(node, name)
            except OSError as failure:
                if failure.errno == errno.ENODATA and name in _ACLS:
                    return
                raise
            self.raise_node(node, Content.STAYS)
        path, follow = self.operand(node)
        os.removexattr(path, self.marks.stored(name), follow_symlinks=follow)
        self.know_bare(node, None)
        self.attributes_changed(node)


def _privileges(mode: int) -> int:
    """The bits that a stranger's write or a chown takes off: setuid, and setgid of a group-executable file."""
    return mode & (stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0))
