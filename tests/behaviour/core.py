"""The core in process: what the kernel does above a file system, done here by hand, over ``cowfs.overlay.Overlay``.

Path walks, symbolic links, the access mode of open files, O_APPEND: the part of the VFS that a mount relies
on. Like the kernel it counts the look-ups of nodes, and ``drop_caches`` forgets them all. It checks no permissions.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cowfs.model import Attr
from cowfs.overlay import ROOT, Caller, Changes, Handle, Node, Overlay
from tests.behaviour.fs import Listed, Status
from tests.behaviour.merged import Scene
from tests.behaviour.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE

_LINKS = 40  # as MAXSYMLINKS


def _failure(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _status(attr: Attr) -> Status:
    return Status(*attr)


class CoreFile:
    """An open file of the core."""

    def __init__(self, fs: "CowfsCore", handle: Handle, flags: int) -> None:
        self._fs, self._handle, self._flags, self._position = fs, handle, flags, 0

    def _check(self, wanted: int) -> None:
        if self._flags & os.O_ACCMODE not in (wanted, os.O_RDWR):
            raise _failure(errno.EBADF)

    def pread(self, size: int, offset: int) -> bytes:
        self._check(os.O_RDONLY)
        return self._fs.overlay.read(self._handle, offset, size)

    def pwrite(self, data: bytes, offset: int) -> int:
        self._check(os.O_WRONLY)
        if self._flags & os.O_APPEND:
            offset = self.status().size
        return self._fs.overlay.write(self._handle, offset, data)

    def write(self, data: bytes) -> int:
        self._check(os.O_WRONLY)
        if self._flags & os.O_APPEND:
            self._position = self.status().size
        done = self._fs.overlay.write(self._handle, self._position, data)
        self._position += done
        return done

    def truncate(self, size: int) -> None:
        if self._flags & os.O_ACCMODE == os.O_RDONLY:
            raise _failure(errno.EINVAL)
        self._fs.overlay.setattr(self._handle.node, Changes(size=size), self._fs.who, by_handle=True)

    def status(self) -> Status:
        return _status(self._fs.overlay.attr(self._handle.node))

    def fsync(self) -> None:
        self._fs.overlay.fsync(self._handle, data_only=False)

    def chmod(self, mode: int) -> None:
        self._fs.overlay.setattr(self._handle.node, Changes(mode=mode), self._fs.who)

    def close(self) -> None:
        self._fs.overlay.release(self._handle)


class CowfsCore:
    """Our merge without a mount."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.who: Caller = ROOT
        self._open()

    def _open(self) -> None:
        before = os.umask(0)
        self.overlay = Overlay(self.scene.options)
        os.umask(before)
        self._known: Counter[int] = Counter()

    # --- life ---------------------------------------------------------------------------------------------

    def remount(self) -> None:
        self.close()
        self._open()

    def rotate(self) -> None:
        self.close()
        self.scene.rotate()
        self._open()

    def drop_caches(self) -> None:
        known, self._known = self._known, Counter()
        for number, count in known.items():
            node = self.overlay.table.get(number)
            if node is not None:
                self.overlay.forget(node, count)

    def close(self) -> None:
        self.overlay.close()

    # --- walking ------------------------------------------------------------------------------------------

    def _hold(self, node: Node) -> Node:
        if not node.lookups:
            node.lookups += 1
            self._known[node.number] += 1
        return node

    def _step(self, parent: Node, name: bytes) -> Node:
        return self._hold(self.overlay.lookup(parent, name))

    def _walk(self, path: bytes, *, follow: bool, start: Node | None = None, budget: int = _LINKS) -> Node:
        node = start or self.overlay.root
        components = [name for name in path.split(b"/") if name not in (b"", b".")]
        while components:
            name = components.pop(0)
            if name == b"..":
                if not node.is_dir:
                    raise _failure(errno.ENOTDIR)
                node = node.parent or self.overlay.root
                continue
            parent, node = node, self._step(node, name)
            if stat.S_ISLNK(node.kind) and (components or follow):
                if not budget:
                    raise _failure(errno.ELOOP)
                budget -= 1
                target = self.overlay.readlink(node)
                components = [n for n in target.split(b"/") if n not in (b"", b".")] + components
                node = self.overlay.root if target.startswith(b"/") else parent
        return node

    def _parent(self, path: bytes) -> tuple[Node, bytes]:
        above, _, name = path.rpartition(b"/")
        parent = self._walk(above, follow=True)
        if not parent.is_dir:
            raise _failure(errno.ENOTDIR)
        return parent, name

    # --- the protocol -------------------------------------------------------------------------------------

    def lstat(self, path: bytes) -> Status:
        return _status(self.overlay.attr(self._walk(path, follow=False)))

    def stat(self, path: bytes) -> Status:
        return _status(self.overlay.attr(self._walk(path, follow=True)))

    def listdir(self, path: bytes) -> list[Listed]:
        directory = self._walk(path, follow=True)
        found = []
        for name in self.overlay.listing(directory, 0).names:
            if name not in (b".", b".."):
                try:
                    node = self._step(directory, name)
                except OSError:  # as the mount does: what is wrong with one name keeps no other from being listed
                    found.append(Listed(name, 0, 0))
                else:
                    found.append(Listed(name, node.number, node.kind))
        return found

    def mkdir(self, path: bytes, mode: int = 0o755) -> None:
        parent, name = self._parent(path)
        self._hold(self.overlay.mkdir(parent, name, mode & 0o1777, self.who))

    def rmdir(self, path: bytes) -> None:
        parent, name = self._parent(path)
        self.overlay.rmdir(parent, name)

    def open(self, path: bytes, flags: int, mode: int = 0o644) -> CoreFile:
        creating = flags & os.O_CREAT
        follow = not (flags & os.O_NOFOLLOW or (creating and flags & os.O_EXCL))
        try:
            node = self._walk(path, follow=follow)
        except FileNotFoundError:
            if not creating:
                raise
            return self._create(path, flags, mode)
        if creating and flags & os.O_EXCL:
            raise _failure(errno.EEXIST)
        if stat.S_ISLNK(node.kind):
            raise _failure(errno.ELOOP)
        if node.is_dir and (creating or flags & os.O_ACCMODE != os.O_RDONLY):
            raise _failure(errno.EISDIR)
        if flags & os.O_DIRECTORY and not node.is_dir:
            raise _failure(errno.ENOTDIR)
        return CoreFile(self, self.overlay.open(node, flags, self.who), flags)

    def _create(self, path: bytes, flags: int, mode: int) -> CoreFile:
        parent, name = self._parent(path)
        found = self.overlay.find(parent, name)
        if found is not None:  # a link that leads nowhere: make what it names
            target = self.overlay.readlink(found)
            where = target if target.startswith(b"/") else path.rpartition(b"/")[0] + b"/" + target
            return self._create(where.strip(b"/"), flags, mode)
        handle = self.overlay.create(parent, name, mode & 0o7777, self.who)
        self._hold(handle.node)
        return CoreFile(self, handle, flags)

    def unlink(self, path: bytes) -> None:
        parent, name = self._parent(path)
        self.overlay.unlink(parent, name)

    def rename(self, old: bytes, new: bytes, flags: int = 0) -> None:
        source, target = self._parent(old), self._parent(new)
        self.overlay.lookup(*source)
        if flags & RENAME_NOREPLACE and self.overlay.find(*target) is not None:
            raise _failure(errno.EEXIST)  # the kernel looks for loops only after these two
        if flags & RENAME_EXCHANGE and self.overlay.find(*target) is None:
            raise _failure(errno.ENOENT)
        self.overlay.rename(*source, *target, flags)

    def link(self, old: bytes, new: bytes) -> None:
        node = self._walk(old, follow=False)
        parent, name = self._parent(new)
        if self.overlay.find(parent, name) is not None:
            raise _failure(errno.EEXIST)
        self.overlay.link(node, parent, name)

    def symlink(self, target: bytes, path: bytes) -> None:
        parent, name = self._parent(path)
        self._hold(self.overlay.symlink(parent, name, target, self.who))

    def readlink(self, path: bytes) -> bytes:
        return self.overlay.readlink(self._walk(path, follow=False))

    def mknod(self, path: bytes, mode: int, rdev: int = 0) -> None:
        parent, name = self._parent(path)
        self._hold(self.overlay.mknod(parent, name, mode, rdev, self.who))

    def chmod(self, path: bytes, mode: int) -> None:
        self.overlay.setattr(self._walk(path, follow=True), Changes(mode=mode), self.who)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        node = self._walk(path, follow=False)
        mode = self.overlay.attr(node).mode
        killed = stat.S_IMODE(mode) & ~(stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0))
        changes = Changes(
            uid=None if uid < 0 else uid,
            gid=None if gid < 0 else gid,
            mode=None if node.is_dir or killed == stat.S_IMODE(mode) else killed,  # chown_common in fs/open.c
        )
        self.overlay.setattr(node, changes, self.who)

    def truncate(self, path: bytes, size: int) -> None:
        self.overlay.setattr(self._walk(path, follow=True), Changes(size=size), self.who)

    def utimens(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
        self.overlay.setattr(self._walk(path, follow=False), Changes(atime_ns=atime_ns, mtime_ns=mtime_ns), self.who)

    def getxattr(self, path: bytes, name: bytes) -> bytes:
        return self.overlay.getxattr(self._walk(path, follow=False), name)

    def listxattr(self, path: bytes) -> list[bytes]:
        return self.overlay.listxattr(self._walk(path, follow=False))

    def _attributed(self, path: bytes, name: bytes) -> Node:
        node = self._walk(path, follow=False)
        if name.startswith(b"user.") and node.kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise _failure(errno.EPERM)  # xattr_permission in fs/xattr.c
        return node

    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int = 0) -> None:
        self.overlay.setxattr(self._attributed(path, name), name, value, flags)

    def removexattr(self, path: bytes, name: bytes) -> None:
        self.overlay.removexattr(self._attributed(path, name), name)

    def statvfs(self) -> os.statvfs_result:
        return self.overlay.statfs()

    @contextmanager
    def caller(self, uid: int, gid: int, groups: Sequence[int] = (), umask: int = 0) -> Iterator[None]:
        before, self.who = self.who, Caller(uid, gid, umask)
        try:
            yield
        finally:
            self.who = before

    @contextmanager
    def umask(self, mask: int) -> Iterator[None]:
        before, self.who = self.who, self.who._replace(umask=mask)
        try:
            yield
        finally:
            self.who = before
