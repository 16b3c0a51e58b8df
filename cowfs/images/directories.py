"""The directories of a layer that is being unpacked, by descriptor.

A path is walked component by component and never through a symbolic link. Descriptors are kept for the directories that
were used last. Making a name in a directory changes its times, so they are put right when its descriptor is let go; one
that is opened again is asked for its times first. So every change in a directory goes through here.
"""

import os
import stat
from dataclasses import dataclass

from cowfs import userns
from cowfs.images import limits
from cowfs.images.tarheader import BadTar
from cowfs.ondisk import OPAQUE, OVERLAY_TRUSTED, OVERLAY_USER, WHITEOUT_RDEV

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 64  # descriptors
_IMPLICIT_MODE = 0o755


@dataclass(slots=True)
class Directory:
    """An open directory of the layer, and the times it is to have."""

    fd: int
    atime_ns: int
    mtime_ns: int

    def close(self) -> None:
        """Put the times right and let the descriptor go."""
        try:
            os.utime(self.fd, ns=(self.atime_ns, self.mtime_ns))
        finally:
            os.close(self.fd)


class Directories:
    """All directories of one layer, the root included. Paths are as cowfs.images.paths.normalize returns them."""

    def __init__(self, root_fd: int) -> None:
        self._open: dict[bytes, Directory] = {}  # the one used last is at the end
        self._root = Directory(os.dup(root_fd), 0, 0)
        self._implicit: set[bytes] = {b""}  # made up, as no entry for them was seen yet
        self._remembered = 0
        self._made_up = 0

    @property
    def made_up(self) -> int:
        """How many directories were made that no entry had asked for."""
        return self._made_up

    def close(self) -> None:
        """Put all times right and let all descriptors go."""
        while self._open:
            self._evict()
        self._root.close()

    def abandon(self) -> None:
        """Let all descriptors go; the tree will be removed."""
        for directory in (*self._open.values(), self._root):
            os.close(directory.fd)
        self._open.clear()

    def date_root(self, time_ns: int) -> None:
        """The time of the root, should no entry be there for it: like that of every directory that is made up."""
        self._root.atime_ns = self._root.mtime_ns = time_ns

    def existing(self, path: bytes) -> Directory:
        """The directory ``path``. Raises BadTar if the layer has none there."""
        return self._reach(path, None)

    def needed(self, path: bytes, time_ns: int) -> Directory:
        """The directory ``path``, made up with what is missing above it. Raises BadTar if something else is there.

        A directory that no entry describes gets 0755, root, and the time of the entry that needed it: the same
        layer always becomes the same tree.
        """
        return self._reach(path, time_ns)

    def make(self, parent: Directory, path: bytes, name: bytes) -> Directory:
        """The directory of an entry for ``path``: new, or the one that was made up. Raises BadTar for a second."""
        if path in self._implicit:
            self._implicit.discard(path)
            return self._root if not path else self._reach(path, None)
        if not path or not self._mkdir(parent, name):
            raise BadTar(f"{shown(path)} is there twice")
        return self._keep(path, Directory(os.open(name, _OPEN, dir_fd=parent.fd), 0, 0))

    # --- inside

    def _reach(self, path: bytes, time_ns: int | None) -> Directory:
        if not path:
            return self._root
        found = self._open.pop(path, None)
        if found is not None:
            self._open[path] = found
            return found
        # up to the nearest directory that is open, and down again
        missing = []
        above, name = path, b""
        directory: Directory | None = None
        while directory is None:
            above, _, name = above.rpartition(b"/")
            missing.append(name)
            directory = self._open.get(above) if above else self._root
        for name in reversed(missing):
            above = above + b"/" + name if above else name
            directory = self._enter(directory, above, name, time_ns)
        return directory

    def _enter(self, parent: Directory, path: bytes, name: bytes, time_ns: int | None) -> Directory:
        try:
            fd = os.open(name, _OPEN, dir_fd=parent.fd)
        except (FileNotFoundError, NotADirectoryError):
            if time_ns is None or not self._mkdir(parent, name):
                raise BadTar(f"{shown(path)} is not a directory of the layer") from None
            fd = os.open(name, _OPEN, dir_fd=parent.fd)
            os.fchmod(fd, _IMPLICIT_MODE)
            os.fchown(fd, 0, 0)
            self._remember(path)
            return self._keep(path, Directory(fd, time_ns, time_ns))
        found = os.fstat(fd)
        return self._keep(path, Directory(fd, found.st_atime_ns, found.st_mtime_ns))

    def _mkdir(self, parent: Directory, name: bytes) -> bool:
        """Make the directory. In the place of a whiteout it becomes opaque, which is what both together mean."""
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        except FileExistsError:
            if not is_whiteout(parent.fd, name):
                return False
            os.unlink(name, dir_fd=parent.fd)
            os.mkdir(name, 0o700, dir_fd=parent.fd)
            fd = os.open(name, _OPEN, dir_fd=parent.fd)
            try:
                set_opaque(fd)
            finally:
                os.close(fd)
        return True

    def _remember(self, path: bytes) -> None:
        self._implicit.add(path)
        self._made_up += 1
        self._remembered += len(path) + 100
        if self._remembered > limits.REMEMBERED:
            raise BadTar("too many directories have no entry")

    def _keep(self, path: bytes, directory: Directory) -> Directory:
        self._open[path] = directory
        if len(self._open) > _KEPT:
            self._evict()
        return directory

    def _evict(self) -> None:
        self._open.pop(next(iter(self._open))).close()


def is_whiteout(parent_fd: int, name: bytes) -> bool:
    """True if we put a whiteout there: no entry may make a device 0/0."""
    found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == WHITEOUT_RDEV


def set_opaque(fd: int) -> None:
    """Mark a directory opaque, as overlayfs does.

    Whiteouts in it have nothing left to delete. They must go: overlayfs lists a directory that merges with nothing as
    it is (ovl_iterate_real), and shows names that no lookup finds.
    """
    os.setxattr(fd, _opaque(), b"y")
    with os.scandir(fd) as entries:
        devices = [os.fsencode(entry.name) for entry in entries if not entry.is_dir(follow_symlinks=False)]
    for name in devices:
        if is_whiteout(fd, name):
            os.unlink(name, dir_fd=fd)


def is_opaque(fd: int) -> bool:
    """True if the directory is marked."""
    return os.fsdecode(_opaque()) in os.listxattr(fd)


def _opaque() -> bytes:
    return (OVERLAY_TRUSTED if userns.is_root_of_machine() else OVERLAY_USER) + OPAQUE


def shown(path: bytes) -> str:
    """A path of a layer for a message."""
    return repr(path[:200].decode("utf-8", "backslashreplace"))
