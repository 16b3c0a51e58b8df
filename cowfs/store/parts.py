"""Half-downloaded blobs: ``blobs/sha256/<hex>.part``, so that a download that was cut goes on where it was.

Whoever writes one holds its flock. What it holds is never trusted: it may come from before a power cut, and counts only
once the digest of the whole is right. It goes when its layer is published; what nobody went on with, after a while.
"""

import contextlib
import os
import time
from types import TracebackType

from cowfs.ondisk import PART
from cowfs.store.descriptors import is_named, try_lock, wait_for_lock
from cowfs.store.records import digest_hex

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Part:
    """The beginning of a blob, ``size`` bytes of it, locked until :meth:`close`."""

    def __init__(self, blobs_fd: int, name: str, fd: int) -> None:
        self._blobs_fd = blobs_fd
        self._name = name
        self._fd = fd
        self.size = os.fstat(fd).st_size

    def read(self, at: int, size: int) -> bytes:
        """At most ``size`` bytes from ``at`` on."""
        return os.pread(self._fd, min(size, self.size - at), at)

    def append(self, data: bytes) -> None:
        """What came next."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self.size)
            view = view[written:]
            self.size += written

    def clear(self) -> None:
        """Begin again."""
        os.ftruncate(self._fd, 0)
        self.size = 0

    def close(self) -> None:
        """Let it go, for somebody to go on with."""
        try:
            if not self.size:
                os.unlink(self._name, dir_fd=self._blobs_fd)
        finally:
            os.close(self._fd)

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def open_part(blobs_fd: int, digest: str, seconds: float) -> Part:
    """What there is of the blob ``digest``, maybe nothing. Raises TimeoutError if another command has it so long."""
    name = _name(digest)
    while True:
        fd = os.open(name, _FLAGS | os.O_CREAT, 0o600, dir_fd=blobs_fd)
        try:
            if not wait_for_lock(fd, seconds=seconds):
                raise TimeoutError(f"another command goes on downloading {digest}")
            if is_named(fd, blobs_fd, name):
                return Part(blobs_fd, name, fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def remove_part(blobs_fd: int, digest: str) -> None:
    """Its layer is complete, or it is no longer wanted. One that somebody works on stays."""
    _remove(blobs_fd, _name(digest), time.time())


def sweep_parts(blobs_fd: int, seconds: float, *, dry_run: bool = False) -> dict[str, int]:
    """Remove those that nobody works on, and did not for ``seconds``: their hex digits and sizes."""
    now = time.time()
    names = [name for name in os.listdir(blobs_fd) if name.endswith(PART)]
    sizes = {name.removesuffix(PART): _remove(blobs_fd, name, now - seconds, dry_run=dry_run) for name in names}
    return {name: size for name, size in sizes.items() if size is not None}


def _remove(blobs_fd: int, name: str, not_since: float, *, dry_run: bool = False) -> int | None:
    """The size of what went; None if it stays."""
    try:
        fd = os.open(name, _FLAGS, dir_fd=blobs_fd)
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(fd)
        if found.st_mtime > not_since or not try_lock(fd):
            return None
        if not dry_run:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=blobs_fd)
        return found.st_size
    finally:
        os.close(fd)


def _name(digest: str) -> str:
    return digest_hex(digest) + PART
