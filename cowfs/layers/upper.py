"""The upper layer's directory, its work directory and its index: every change on disk is made here.

What is built is built in the work directory and published by one rename or link
(Documentation/filesystems/overlayfs.rst, "Permission model" and "index"), so that a kill at any moment leaves the old
or the new state. Layout of ``workdir=``, as the kernel's: ``work/`` for what is being built, emptied at every mount,
and ``index/`` for files whose lower has several links.
"""

import errno
import fcntl
import os
import stat
import time
from itertools import count

from cowfs import ondisk
from cowfs.layers import syscalls
from cowfs.layers.directory import Directory, Layer

_LINK_LIMIT = frozenset({errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP})


class Upper:
    """The only writer of a mount. Not safe for threads; one process per work directory, held by a lock."""

    def __init__(self, layer: Layer, workdir: int, *, patience: float = 0.0) -> None:
        """``workdir`` is a readable descriptor of the directory named by ``workdir=``; this object closes it.

        ``patience``: how many seconds to wait for another mount that is about to leave it. Raises OSError EBUSY where
        another mount uses it, EXDEV where it lies on another file system than the layer.
        """
        self.layer = layer
        self.root = layer.root
        self._workdir = workdir
        if os.fstat(workdir).st_dev != self.root.stat_self().st_dev:
            raise OSError(errno.EXDEV, "the work directory is on another file system than the upper")
        self._take(patience)
        # The work tree is a layer of its own, so that its directories share the descriptor cache and never the merge.
        self._tree = Layer(os.open(b".", os.O_PATH | os.O_CLOEXEC, dir_fd=workdir), 0, layer.marks, layer.cache)
        self.work = self._make(ondisk.WORK)
        self.index = self._make(ondisk.INDEX)
        self._numbers = count()
        self._whiteout: bytes | None = None
        self.indexed = {name for name, _ in self.index.list()}
        self.parts_left = os.path.lexists(self._tree.root.path_of(ondisk.PARTS))  # by a mount that was killed
        self._may_have_parts = self.parts_left
        self.clear(self.work)

    def _take(self, patience: float) -> None:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._workdir, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise OSError(errno.EBUSY, "the work directory is used by another mount") from None
            time.sleep(0.005)

    def _make(self, name: bytes) -> Directory:
        try:
            os.mkdir(name, 0 if os.geteuid() == 0 else 0o700, dir_fd=self._workdir)  # as the kernel's; root gets in
        except FileExistsError:
            pass
        return self._tree.root.child(name)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._workdir)

    def expect_parts(self) -> None:
        """Say on disk that files of the upper may be in parts from here on."""
        if not self._may_have_parts:
            os.close(os.open(ondisk.PARTS, os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._tree.root.fd))
            self._may_have_parts = True

    def all_whole(self) -> None:
        """Take that back."""
        if self._may_have_parts:
            os.unlink(ondisk.PARTS, dir_fd=self._tree.root.fd)
            self._may_have_parts = False

    def temporary(self) -> bytes:
        """A name in the work directory that is free."""
        return b"#%x" % next(self._numbers)

    def publish(self, name: bytes, directory: Directory, target: bytes, flags: int = 0) -> None:
        """Move ``name`` from the work directory to its place: the commit point."""
        if flags:
            syscalls.renameat2(self.work.fd, name, directory.fd, target, flags)
        else:
            os.rename(name, target, src_dir_fd=self.work.fd, dst_dir_fd=directory.fd)

    def discard(self, name: bytes) -> None:
        """Remove what was built and not published; never fails."""
        try:
            self.remove(self.work, name)
        except OSError:
            pass

    # --- whiteouts ----------------------------------------------------------------------------------------

    def whiteout(self, directory: Directory, name: bytes) -> None:
        """Hide ``name`` in the layers below; nothing of that name is in the upper. One link of a shared device."""
        while True:
            fresh = self._whiteout is None
            source = self._shared_whiteout()
            try:
                os.link(source, name, src_dir_fd=self.work.fd, dst_dir_fd=directory.fd, follow_symlinks=False)
                return
            except OSError as error:
                if error.errno not in _LINK_LIMIT or fresh:
                    raise
                os.unlink(source, dir_fd=self.work.fd)
                self._whiteout = None

    def replace_by_whiteout(self, directory: Directory, name: bytes, *, is_directory: bool) -> None:
        """Put a whiteout in the place of an upper entry, in one step; a directory may hold only whiteouts."""
        temporary = self.temporary()
        self.whiteout(self.work, temporary)
        if is_directory:
            self.publish(temporary, directory, name, syscalls.RENAME_EXCHANGE)
            self.discard(temporary)
        else:
            self.publish(temporary, directory, name)

    def _shared_whiteout(self) -> bytes:
        if self._whiteout is None:
            name = self.temporary()
            os.mknod(name, stat.S_IFCHR, ondisk.WHITEOUT_RDEV, dir_fd=self.work.fd)
            self._whiteout = name
        return self._whiteout

    # --- removing -----------------------------------------------------------------------------------------

    def remove(self, directory: Directory, name: bytes) -> None:
        """Remove an entry and, where it is a directory, all that is in it."""
        try:
            os.unlink(name, dir_fd=directory.fd)
        except IsADirectoryError:
            child = directory.child(name)
            self.clear(child)
            child.forget()
            os.rmdir(name, dir_fd=directory.fd)

    def clear(self, directory: Directory) -> None:
        """Empty a directory, without recursion."""
        pending = [(directory, False)]
        while pending:
            current, emptied = pending.pop()
            if emptied:
                current.forget()
                assert current.parent is not None
                os.rmdir(current.name, dir_fd=current.parent.fd)
                continue
            if current is not directory:
                pending.append((current, True))
            for entry in os.scandir(current.path()):
                if entry.is_dir(follow_symlinks=False):
                    pending.append((current.child(entry.name), False))
                else:
                    os.unlink(entry.name, dir_fd=current.fd)
