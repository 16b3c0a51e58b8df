"""What is being built: entries of ``staging``, each under a flock as long as its maker lives.

Nothing in here is listed anywhere. An entry whose lock is free belongs to nobody and may be removed by anybody.
"""

import contextlib
import errno
import os

from cowfs.store.descriptors import DIRECTORY, exchange, is_named, try_lock
from cowfs.store.trees import remove_tree


class Entry:
    """A directory of our own in ``staging``; ``fd`` is its descriptor and holds the lock."""

    def __init__(self, staging_fd: int, name: str, fd: int) -> None:
        self.fd = fd
        self._staging_fd = staging_fd
        self._name = name

    def publish(self, parent_fd: int, name: str) -> None:
        """Give the finished directory its place by one rename. Raises OSError (ENOTEMPTY: it is there already)."""
        os.rename(self._name, name, src_dir_fd=self._staging_fd, dst_dir_fd=parent_fd)
        self._name = ""

    def exchange(self, parent_fd: int, name: str) -> None:
        """Change places with the directory ``name``, which is removed at the end instead. Raises OSError."""
        exchange(self._staging_fd, self._name, parent_fd, name)

    def close(self) -> None:
        """Remove what was not published, and let the lock go."""
        try:
            if self._name:
                remove_tree(self._staging_fd, os.fsencode(self._name))
        finally:
            os.close(self.fd)


def create(staging_fd: int) -> Entry:
    """A new, empty entry."""
    while True:
        name = os.urandom(8).hex()
        os.mkdir(name, 0o700, dir_fd=staging_fd)
        # a sweeper may lock it before we do, and then it is gone
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(name, DIRECTORY, dir_fd=staging_fd)
            if try_lock(fd) and is_named(fd, staging_fd, name):
                return Entry(staging_fd, name, fd)
            os.close(fd)


def take_away(staging_fd: int, parent_fd: int, name: str, fd: int) -> None:
    """Remove the directory ``name`` of ``parent_fd``: unlisted by one rename, and then emptied.

    ``fd`` is its descriptor, exclusively locked; it is closed.
    """
    new = os.urandom(8).hex()
    try:
        os.rename(name, new, src_dir_fd=parent_fd, dst_dir_fd=staging_fd)
    except OSError:
        os.close(fd)
        raise
    Entry(staging_fd, new, fd).close()


def sweep(staging_fd: int) -> None:
    """Remove the entries of makers that died, and what no maker makes: links."""
    for name in os.listdir(staging_fd):
        with contextlib.suppress(FileNotFoundError):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=staging_fd)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                os.unlink(name, dir_fd=staging_fd)
                continue
            try:
                if try_lock(fd) and is_named(fd, staging_fd, name):
                    remove_tree(staging_fd, os.fsencode(name))
            finally:
                os.close(fd)
