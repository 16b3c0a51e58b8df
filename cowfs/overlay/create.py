"""New names: files, directories, links of both kinds (ovl_create_or_link in fs/overlayfs/dir.c)."""

import errno
import os
import stat
from collections.abc import Callable
from typing import Final, NamedTuple

from cowfs import ondisk
from cowfs.layers import syscalls
from cowfs.layers.directory import Directory
from cowfs.layers.marks import get_optional
from cowfs.linux import ACL_DEFAULT
from cowfs.overlay.copy_up import Content, CopyUp
from cowfs.overlay.parts import NAME_MAX, error
from cowfs.rules.create import NewFile, new_file
from cowfs.state.handles import Handle
from cowfs.state.nodes import DirNode, Inherit, Node

_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL_BITS: Final = stat.S_ISUID | stat.S_ISGID


class Caller(NamedTuple):
    """Who asks: the credentials that decide what a new file is and which bits a write takes off."""

    uid: int = 0
    gid: int = 0
    umask: int = 0  # still to be applied; 0 where the kernel did

    @property
    def privileged(self) -> bool:
        """Stands for CAP_FSETID, which the kernel does not tell."""
        return self.uid == 0


ROOT: Final = Caller()


class Create(CopyUp):
    """Makes names."""

    _labels_new: bool | None = None  # does the file system of the upper give attributes to new files?

    caller: Callable[[int, int, int], Caller] = staticmethod(Caller)  # who asks, from what the kernel says

    def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, caller: Caller = ROOT) -> Node:
        """A file of any type but directory and symbolic link.

        Raises EPERM for a character device 0/0, which would be a whiteout, as overlayfs does.
        """
        if stat.S_ISCHR(mode) and rdev == ondisk.WHITEOUT_RDEV:
            raise error(errno.EPERM)

        def make(directory: Directory, entry: bytes, new: NewFile) -> None:
            os.mknod(entry, new.mode, rdev, dir_fd=directory.fd)

        return self._make(parent, name, mode if stat.S_IFMT(mode) else mode | stat.S_IFREG, caller, make)

    def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller = ROOT) -> Node:
        """A symbolic link to ``target``."""

        def make(directory: Directory, entry: bytes, new: NewFile) -> None:
            os.symlink(target, entry, dir_fd=directory.fd)

        return self._make(parent, name, stat.S_IFLNK | 0o777, caller, make)

    def create(self, parent: Node, name: bytes, mode: int, caller: Caller = ROOT) -> Handle:
        """A regular file, opened for reading and writing. Raises EEXIST where the name is taken."""
        opened: list[int] = []

        def make(directory: Directory, entry: bytes, new: NewFile) -> None:
            opened.append(os.open(entry, _CREATE, stat.S_IMODE(new.mode), dir_fd=directory.fd))

        try:
            node = self._make(parent, name, stat.S_IFREG | stat.S_IMODE(mode), caller, make)
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        handle = Handle(node, opened[0], writable=True, on_upper=True, privileged=caller.privileged)
        node.handles = (handle,)
        return handle

    def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller = ROOT) -> DirNode:
        """A directory; it hides one of that name in the lowers."""

        def make(directory: Directory, entry: bytes, new: NewFile) -> None:
            os.mkdir(entry, stat.S_IMODE(new.mode), dir_fd=directory.fd)
            made = stat.S_IMODE(directory.stat(entry).st_mode) if new.mode & stat.S_ISGID else stat.S_ISGID
            if not made & stat.S_ISGID:  # built elsewhere; the default ACL has had its say on the other bits
                os.chmod(entry, made | stat.S_ISGID, dir_fd=directory.fd)

        node = self._make(parent, name, stat.S_IFDIR | stat.S_IMODE(mode), caller, make)
        assert isinstance(node, DirNode)
        return node

    def link(self, node: Node, parent: Node, name: bytes) -> None:
        """One more name for a file. Raises EPERM for a directory, ENOENT for a file that lost its last name."""
        if node.is_dir:
            raise error(errno.EPERM)
        directory, upper_dir = self._room_for(parent, name)
        self.raise_node(node, Content.STAYS)
        if node.data is not None:
            self.set_redirect(node, absolute=True)
        upper = self.writer()
        covered = name in directory.whiteouts
        target, entry = (upper.work, upper.temporary()) if covered else (upper_dir, name)
        if node.anchor >= 0:
            syscalls.link_descriptor(node.anchor, target.fd, entry)
        else:
            assert node.upper is not None
            os.link(node.upper[1], entry, src_dir_fd=node.upper[0].fd, dst_dir_fd=target.fd, follow_symlinks=False)
        if covered:
            upper.publish(entry, upper_dir, name)
        self.mark_impure(upper_dir)
        if node.anchor >= 0 and node.upper is None:
            node.upper = (upper_dir, name)
            node.drop_anchor()
        self._add_alias(node, directory, name)
        if not node.upper_inode:
            self.register_links(node, upper_dir.stat(name).st_ino)
        self._enter_name(directory, name, node)

    # --- common -------------------------------------------------------------------------------------------

    def _room_for(self, parent: Node, name: bytes) -> tuple[DirNode, Directory]:
        """The upper's part of a directory that is about to get a name."""
        if self.find(parent, name) is not None:
            raise error(errno.EEXIST)
        if len(name) > NAME_MAX:
            raise error(errno.ENAMETOOLONG)
        assert isinstance(parent, DirNode)
        if parent.orphan:
            raise error(errno.ENOENT)
        self.writer()
        return parent, self.raise_directory(parent)

    def _make(
        self, parent: Node, name: bytes, mode: int, caller: Caller, make: Callable[[Directory, bytes, NewFile], None]
    ) -> Node:
        directory, upper_dir = self._room_for(parent, name)
        inherit = self._inherit(directory)
        new = new_file(
            mode,
            caller.gid,
            caller.umask if not stat.S_ISLNK(mode) else 0,
            parent_mode=inherit.mode,
            parent_gid=inherit.gid,
            default_acl=inherit.default_acl is not None,
        )
        if name in directory.whiteouts:
            self._make_over_whiteout(directory, upper_dir, name, new, caller, inherit, make)
        else:
            make(upper_dir, name, new)
            given_gid = inherit.gid if inherit.mode & stat.S_ISGID else 0
            self._own(upper_dir, name, new, caller, given_gid)
        status = upper_dir.stat(name)
        if stat.S_ISDIR(mode):
            node: Node = DirNode(self._number(status), directory, name)
            assert isinstance(node, DirNode)
            node.upper_dir = upper_dir.child(name)
            node.entries = {}
        else:
            node = Node(self._number(status), stat.S_IFMT(mode), directory, name)
            node.upper = (upper_dir, name)
        self.table.add(node)
        self._enter_name(directory, name, node)
        if inherit.default_acl is None:
            self._born_bare(node)
        self._status = (node, status)
        return node

    def _born_bare(self, node: Node) -> None:
        """Where the upper's file system gives the first new file no attributes, it gives none to the next (a label)."""
        if self._labels_new is None:
            path, follow = self.operand(node)
            names = self.marks.names(path, follow=follow)
            self._labels_new = any(self.marks.shown(name) is not None for name in names)
        if not self._labels_new:
            self.know_bare(node, True)

    def _make_over_whiteout(
        self,
        directory: DirNode,
        upper_dir: Directory,
        name: bytes,
        new: NewFile,
        caller: Caller,
        inherit: Inherit,
        make: Callable[[Directory, bytes, NewFile], None],
    ) -> None:
        """Build in the work directory, then take the whiteout's place in one step."""
        upper = self.writer()
        room = upper.temporary()  # a directory of its own, so that the file system itself applies the default ACL
        os.mkdir(room, 0o700, dir_fd=upper.work.fd)
        place = upper.work.child(room)
        try:
            if inherit.default_acl is not None:
                os.setxattr(place.path(), ACL_DEFAULT, inherit.default_acl)
            make(place, name, new)
            self._own(place, name, new, caller, 0)
            flags = 0
            if stat.S_ISDIR(new.mode):
                self.marks.set(place.path_of(name), ondisk.OPAQUE, b"y")
                flags = syscalls.RENAME_EXCHANGE
            syscalls.renameat2(place.fd, name, upper_dir.fd, name, flags)
        finally:
            place.forget()
            upper.discard(room)

    def _own(self, directory: Directory, name: bytes, new: NewFile, caller: Caller, given_gid: int) -> None:
        if caller.uid == 0 and new.gid == given_gid:
            return
        os.chown(name, caller.uid, new.gid, dir_fd=directory.fd, follow_symlinks=False)
        if new.mode & _SPECIAL_BITS and not stat.S_ISLNK(new.mode) and not stat.S_ISDIR(new.mode):
            os.chmod(name, stat.S_IMODE(new.mode), dir_fd=directory.fd)  # chown took them off

    def _enter_name(self, directory: DirNode, name: bytes, node: Node) -> None:
        """``name`` is the upper's now, and leads to ``node``."""
        assert directory.entries is not None
        directory.entries[name] = node
        directory.whiteouts.discard(name)
        if directory.lowers:
            directory.add_upper(name)
        self.touch(node, directory)

    def _inherit(self, directory: DirNode) -> Inherit:
        if directory.inherit is None:
            status = self.status(directory)
            path, follow = self.operand(directory)
            directory.inherit = Inherit(status.st_mode, status.st_gid, get_optional(path, ACL_DEFAULT, follow=follow))
        return directory.inherit

    # --- redirects ----------------------------------------------------------------------------------------

    def set_redirect(self, node: Node, *, absolute: bool) -> None:
        """Write where the lower part of a node lies, before its name changes (ovl_set_redirect in fs/overlayfs/dir.c).

        Raises EXDEV where the path is longer than an attribute can hold.
        """
        redirect = node.redirect
        if redirect is None or (absolute and not redirect.startswith(b"/")):
            redirect = self._path_below(node) if absolute else node.name
        if redirect == node.redirect:
            return
        path, follow = self.operand(node)
        try:
            os.setxattr(path, self.marks.name(ondisk.REDIRECT), redirect, follow_symlinks=follow)
        except OSError as failure:
            if failure.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE):
                raise error(errno.EXDEV) from None
            raise
        node.redirect = redirect

    def _path_below(self, node: Node) -> bytes:
        """A node's path in the merge of the lowers alone."""
        components: list[bytes] = []
        current: Node | None = node
        while current is not None and current is not self.root:
            if current.redirect is not None and current.redirect.startswith(b"/"):
                components.append(current.redirect)
                return b"/".join(reversed(components))
            components.append(current.redirect or current.name)
            current = current.parent
        return b"/" + b"/".join(reversed(components))
