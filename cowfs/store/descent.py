"""Reaching the directories of a tree by descriptor and single names: no symbolic link is followed, no path is too long.

Used for reading the trees of layers (cowfs.store.treedigest, cowfs.images.skeleton). Directories that were used lately
stay open. Paths are names joined by "/", without one in front; "" is the root.
"""

import os
import stat
from types import TracebackType

from cowfs.store.descriptors import DIRECTORY

_BLOCK = 512  # bytes, the unit of st_blocks
_KEPT = 64  # descriptors


class Descent:
    """The directories below ``root_fd``, which stays the caller's."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._open: dict[bytes, int] = {}  # the one used last is at the end

    def directory(self, path: bytes) -> int:
        """A descriptor of the directory ``path``, good until the next call. Raises OSError."""
        if not path:
            return self._root_fd
        fd = self._open.pop(path, -1)
        if fd < 0:
            fd = self._reach(path)
        self._open[path] = fd
        if len(self._open) > _KEPT:
            os.close(self._open.pop(next(iter(self._open))))
        return fd

    def _reach(self, path: bytes) -> int:
        """From the nearest directory above that is open."""
        above, missing = path, []
        while above and above not in self._open:
            above, _, name = above.rpartition(b"/")
            missing.append(name)
        fd, ours = (self._open[above] if above else self._root_fd), False
        for name in reversed(missing):
            try:
                below = os.open(name, DIRECTORY, dir_fd=fd)
            finally:
                if ours:
                    os.close(fd)
            fd, ours = below, True
        return fd

    def close(self) -> None:
        """Let all descriptors go."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> "Descent":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def disk_usage(root_fd: int) -> int:
    """Bytes on the disk of all that is below a directory; what vanishes meanwhile does not count."""
    used = 0
    seen: set[int] = set()  # files with several names
    with Descent(root_fd) as descent:
        waiting = [b""]
        while waiting:
            path = waiting.pop()
            try:
                with os.scandir(descent.directory(path)) as entries:
                    found = [(os.fsencode(entry.name), entry.stat(follow_symlinks=False)) for entry in entries]
            except (FileNotFoundError, NotADirectoryError):
                continue
            for name, status in found:
                if status.st_nlink == 1 or status.st_ino not in seen:
                    used += status.st_blocks * _BLOCK
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(path + b"/" + name if path else name)
                elif status.st_nlink > 1:
                    seen.add(status.st_ino)
    return used
