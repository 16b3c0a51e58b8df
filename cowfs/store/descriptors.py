"""Directory descriptors, flocks and small files: what the modules of the store have in common. Raises OSError."""

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_RENAME_EXCHANGE = 2
_POLL = 0.05  # seconds between two tries of a lock that somebody else holds

_libc = ctypes.CDLL(None, use_errno=True)


def open_directory(parent_fd: int, name: str) -> int:
    """Open the directory ``name`` (a single component) in ``parent_fd``."""
    return os.open(name, DIRECTORY, dir_fd=parent_fd)


@contextlib.contextmanager
def opened_directory(path: Path | str, parent_fd: int | None = None) -> Iterator[int]:
    """A descriptor of the directory ``path``, seen from ``parent_fd``, for a block."""
    fd = os.open(path, DIRECTORY, dir_fd=parent_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def make_directory(parent_fd: int, name: str) -> int:
    """Open the directory ``name`` in ``parent_fd``, made 0700 where there is none."""
    try:
        return open_directory(parent_fd, name)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    except FileExistsError:  # somebody else was faster
        pass
    return open_directory(parent_fd, name)


def read_file(parent_fd: int, name: str, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes. Raises EFBIG, and EINVAL for other kinds of files."""
    fd = os.open(name, _FILE, dir_fd=parent_fd)
    with open(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        parts: list[bytes] = []
        room = limit + 1
        while room > 0 and (part := file.read(min(room, 1 << 20))):
            parts.append(part)
            room -= len(part)
    if room <= 0:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", name)
    return b"".join(parts)


def write_file(parent_fd: int, name: str, data: bytes) -> None:
    """Make the new file ``name`` with ``data``, 0600 and durable. Only for names that nobody lists yet."""
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent_fd)
    with open(fd, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(fd)


def sync_file_system(fd: int) -> None:
    """syncfs(2): everything of this file system is on disk, or OSError says what could not be written."""
    if _libc.syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def exchange(one_fd: int, one: str, two_fd: int, two: str) -> None:
    """renameat2(2): two names change places in one step."""
    if _libc.renameat2(one_fd, os.fsencode(one), two_fd, os.fsencode(two), _RENAME_EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), two)


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take the flock of ``fd`` if nobody holds it the other way."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_lock(fd: int, *, shared: bool = False, seconds: float) -> bool:
    """Take the flock of ``fd``, trying for ``seconds``; False if it stayed taken."""
    deadline = time.monotonic() + seconds
    while not try_lock(fd, shared=shared):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True


def is_named(fd: int, parent_fd: int, name: str) -> bool:
    """True if ``name`` in ``parent_fd`` is the very file that ``fd`` is: a lock says nothing about removed files."""
    try:
        there = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(fd))
