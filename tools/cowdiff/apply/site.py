"""One directory tree of the host, by descriptors: nothing in a path is followed, all steps are single system calls.

Used by ``perform``. Where the record of an application lies on another file system than a path, what is moved there and
back is copied whole, and appears under its name by one rename.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cowdiff.extract import Extraction, dress, link
from cowfs import userns
from cowfs.layers import syscalls
from cowfs.layers.directory import DescriptorCache, Layer
from cowfs.layers.marks import Marks
from cowfs.options import MountOptions
from cowfs.runs.changes import Version, Xattrs
from cowfs.runs.places import Place
from cowfs.runs.trees import Tree
from cowfs.store.trees import remove_tree

_ROOT: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LISTING: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NOREPLACE: Final = 1  # RENAME_NOREPLACE
_PART: Final = b".part"  # the end of the name of what is still being copied
_ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class Site:
    """The tree at ``top``. Close it after use. Paths are absolute in it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._cache = DescriptorCache()
        self._layer = Layer(os.open(top, _ROOT), 0, Marks(userxattr=not userns.is_root_of_machine()), self._cache)

    def close(self) -> None:
        """Close all descriptors."""
        self._cache.close()

    def place(self, path: bytes) -> Place:
        """The directory of a path and its last name. It is opened anew: it may be another one than before."""
        *parents, name = path.split(b"/")[1:]
        directory = self._layer.root
        if not name:
            return directory, b"."
        for parent in parents:
            directory = directory.child(parent)
        return directory, name

    def status(self, path: bytes) -> os.stat_result | None:
        """lstat of a path, None where nothing is."""
        directory, name = self.place(path)
        try:
            return directory.stat(name)
        except _ABSENT:
            return None

    def version(self, path: bytes) -> Version:
        """What is at a path. Raises FileNotFoundError."""
        directory, name = self.place(path)
        status = directory.stat(name)
        at = directory.path_of(name)
        target = os.readlink(name, dir_fd=directory.fd) if stat.S_ISLNK(status.st_mode) else b""
        xattrs: Xattrs = tuple(
            (os.fsencode(attribute), os.getxattr(at, attribute, follow_symlinks=False))
            for attribute in sorted(os.listxattr(at, follow_symlinks=False))
        )
        return Version.of_status(status, target, xattrs)

    def dress(self, path: bytes, version: Version) -> None:
        """Give a path the attributes and the time of ``version``."""
        dress(self.place(path), version, everything=True)

    def rename(self, path: bytes, new: bytes, *, replace: bool) -> None:
        """One rename in the tree. Raises FileExistsError without ``replace``."""
        source, target = self.place(path), self.place(new)
        syscalls.renameat2(source[0].fd, source[1], target[0].fd, target[1], 0 if replace else _NOREPLACE)

    def take(self, path: bytes, record: "Site", name: bytes, aside: bytes) -> None:
        """Move a path into ``record``: from another file system as a copy, and by one rename to ``aside``."""
        try:
            self._move(self.place(path), record.place(name))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copied(path, record, name, lambda part: record.rename(part, name, replace=False))
            self.rename(path, aside, replace=False)
            self.remove(aside)

    def keep(self, path: bytes, record: "Site", name: bytes) -> None:
        """As ``take``, and leave it where it is: for what is replaced. Not for directories."""
        try:
            link(self.place(path), record.place(name))
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
            self._copied(path, record, name, lambda part: record.rename(part, name, replace=False))

    def give_back(self, record: "Site", name: bytes, path: bytes, aside: bytes) -> None:
        """Move what ``record`` took or kept to its path, over what is there."""
        try:
            self._move(record.place(name), self.place(path))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            record._copied(name, self, aside, lambda part: self.rename(part, path, replace=True))
        record.remove(name)  # also where it was still the same file: then rename(2) does nothing

    def remove(self, path: bytes) -> None:
        """Remove a path with all that is below it; that it is not there is no error."""
        directory, name = self.place(path)
        try:
            listing = os.open(b".", _LISTING, dir_fd=directory.fd)
        except _ABSENT:
            return
        try:
            remove_tree(listing, name)
        except FileNotFoundError:
            pass
        finally:
            os.close(listing)

    def remove_empty(self, path: bytes) -> None:
        """Remove a file, or a directory if it is empty."""
        directory, name = self.place(path)
        if stat.S_ISDIR(directory.stat(name).st_mode):
            os.rmdir(name, dir_fd=directory.fd)
        else:
            os.unlink(name, dir_fd=directory.fd)

    def names(self, path: bytes) -> set[bytes]:
        """The names in a directory."""
        directory, name = self.place(path)
        with os.scandir(directory.path_of(name) + b"/.") as listing:
            return {os.fsencode(entry.name) for entry in listing}

    def set_mtime(self, path: bytes, mtime_ns: int) -> None:
        """Give a directory back the time that it had before its entries changed."""
        directory, name = self.place(path)
        syscalls.set_times(directory.path_of(name), None, mtime_ns, follow=False)

    def _move(self, source: Place, target: Place) -> None:
        os.rename(source[1], target[1], src_dir_fd=source[0].fd, dst_dir_fd=target[0].fd)

    def _copied(self, path: bytes, other: "Site", name: bytes, publish: Callable[[bytes], None]) -> None:
        """Make a whole copy of a path in ``other`` under a name of its own, and ``publish`` that."""
        part = name + _PART
        other.remove(part)
        source, target = self.place(path), other.place(part)
        tree = Tree(MountOptions(lowers=(Path(os.fsdecode(source[0].path())),)))
        try:
            node = tree.walk(b"/" + source[1])
            if node is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(path))
            parent = Path(os.fsdecode(target[0].path()))
            Extraction(tree, everything=True).run(node, path, parent, target[1])
        finally:
            tree.close()
        publish(part)
