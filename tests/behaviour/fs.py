"""What a file system must offer to be run through the behaviour suite, and the implementation by real system calls.

Paths are bytes below the root of the file system under test, with no leading slash; ``b""`` is the root. Every failure
is an OSError with an errno. Used by the suite and by the random operations; knows nothing of layers (see ``merged``).
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, Protocol

from tests.behaviour import syscalls


class Status(NamedTuple):
    """``struct stat``, times in nanoseconds."""

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int

    @property
    def permissions(self) -> int:
        """The mode without its type."""
        return stat.S_IMODE(self.mode)


class Listed(NamedTuple):
    """One entry of a listing: the name, d_ino, and the type bits that d_type stands for."""

    name: bytes
    ino: int
    kind: int


class File(Protocol):
    """An open file."""

    def pread(self, size: int, offset: int) -> bytes: ...
    def pwrite(self, data: bytes, offset: int) -> int: ...
    def write(self, data: bytes) -> int: ...
    def truncate(self, size: int) -> None: ...
    def status(self) -> Status: ...
    def fsync(self) -> None: ...
    def chmod(self, mode: int) -> None: ...
    def close(self) -> None: ...


class Fs(Protocol):
    """A file system by path. Only ``open``, ``stat``, ``chmod``, ``truncate`` follow a link at the path's end."""

    def lstat(self, path: bytes) -> Status: ...
    def stat(self, path: bytes) -> Status: ...
    def listdir(self, path: bytes) -> list[Listed]: ...
    def mkdir(self, path: bytes, mode: int = 0o755) -> None: ...
    def rmdir(self, path: bytes) -> None: ...
    def open(self, path: bytes, flags: int, mode: int = 0o644) -> File: ...
    def unlink(self, path: bytes) -> None: ...
    def rename(self, old: bytes, new: bytes, flags: int = 0) -> None: ...
    def link(self, old: bytes, new: bytes) -> None: ...
    def symlink(self, target: bytes, path: bytes) -> None: ...
    def readlink(self, path: bytes) -> bytes: ...
    def mknod(self, path: bytes, mode: int, rdev: int = 0) -> None: ...
    def chmod(self, path: bytes, mode: int) -> None: ...
    def chown(self, path: bytes, uid: int, gid: int) -> None: ...
    def truncate(self, path: bytes, size: int) -> None: ...
    def utimens(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None: ...
    def getxattr(self, path: bytes, name: bytes) -> bytes: ...
    def listxattr(self, path: bytes) -> list[bytes]: ...
    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int = 0) -> None: ...
    def removexattr(self, path: bytes, name: bytes) -> None: ...
    def statvfs(self) -> os.statvfs_result: ...
    def caller(
        self, uid: int, gid: int, groups: Sequence[int] = (), umask: int = 0
    ) -> AbstractContextManager[None]: ...
    def umask(self, mask: int) -> AbstractContextManager[None]: ...


def read_all(fs: Fs, path: bytes) -> bytes:
    """The whole content of a file."""
    file = fs.open(path, os.O_RDONLY)
    try:
        content = bytearray()
        while chunk := file.pread(1 << 20, len(content)):
            content += chunk
        return bytes(content)
    finally:
        file.close()


def write_all(fs: Fs, path: bytes, content: bytes, flags: int = os.O_CREAT | os.O_TRUNC, mode: int = 0o644) -> None:
    """Replace, or with other flags overwrite the beginning of, the content of a file."""
    file = fs.open(path, os.O_WRONLY | flags, mode)
    try:
        if content:
            file.pwrite(content, 0)
    finally:
        file.close()


def names(fs: Fs, path: bytes = b"") -> set[bytes]:
    """The names in a directory; each must be listed once."""
    listed = [entry.name for entry in fs.listdir(path)]
    assert len(listed) == len(set(listed)), listed
    return set(listed)


def exists(fs: Fs, path: bytes) -> bool:
    """Does lstat find the path?"""
    try:
        fs.lstat(path)
    except FileNotFoundError:
        return False
    return True


def errno_of(function: Callable[..., object], *arguments: object, **keywords: object) -> int:
    """The errno that a call fails with, 0 where it does not fail."""
    try:
        result = function(*arguments, **keywords)
    except OSError as failure:
        return failure.errno or errno.EIO
    if hasattr(result, "close"):
        result.close()
    return 0


def as_status(found: os.stat_result) -> Status:
    """From Python's words to ours."""
    return Status(
        found.st_ino,
        found.st_mode,
        found.st_nlink,
        found.st_uid,
        found.st_gid,
        found.st_rdev,
        found.st_size,
        found.st_blocks,
        found.st_atime_ns,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


class Descriptor:
    """An open file as a file descriptor."""

    def __init__(self, fd: int, opened: "set[Descriptor]") -> None:
        self.fd = fd
        self._opened = opened
        opened.add(self)

    def pread(self, size: int, offset: int) -> bytes:
        return os.pread(self.fd, size, offset)

    def pwrite(self, data: bytes, offset: int) -> int:
        return os.pwrite(self.fd, data, offset)

    def write(self, data: bytes) -> int:
        return os.write(self.fd, data)

    def truncate(self, size: int) -> None:
        os.ftruncate(self.fd, size)

    def status(self) -> Status:
        return as_status(os.fstat(self.fd))

    def fsync(self) -> None:
        os.fsync(self.fd)

    def chmod(self, mode: int) -> None:
        os.fchmod(self.fd, mode)

    def close(self) -> None:
        self._opened.remove(self)
        os.close(self.fd)


class SyscallFs:
    """Whatever is visible below a directory, by the system calls of this process."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self._opened: set[Descriptor] = set()

    def close_files(self) -> None:
        """Close what a test that failed left open."""
        for file in list(self._opened):
            file.close()

    def path(self, path: bytes) -> bytes:
        """The path that the kernel gets."""
        return self.root + b"/" + path if path else self.root

    def lstat(self, path: bytes) -> Status:
        return as_status(os.lstat(self.path(path)))

    def stat(self, path: bytes) -> Status:
        return as_status(os.stat(self.path(path)))

    def listdir(self, path: bytes) -> list[Listed]:
        fd = os.open(self.path(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            return [Listed(*entry[:3]) for entry in syscalls.entries(fd) if entry.name not in (b".", b"..")]
        finally:
            os.close(fd)

    def mkdir(self, path: bytes, mode: int = 0o755) -> None:
        os.mkdir(self.path(path), mode)

    def rmdir(self, path: bytes) -> None:
        os.rmdir(self.path(path))

    def open(self, path: bytes, flags: int, mode: int = 0o644) -> Descriptor:
        return Descriptor(os.open(self.path(path), flags | os.O_CLOEXEC, mode), self._opened)

    def unlink(self, path: bytes) -> None:
        os.unlink(self.path(path))

    def rename(self, old: bytes, new: bytes, flags: int = 0) -> None:
        syscalls.renameat2(self.path(old), self.path(new), flags)

    def link(self, old: bytes, new: bytes) -> None:
        os.link(self.path(old), self.path(new), follow_symlinks=False)

    def symlink(self, target: bytes, path: bytes) -> None:
        os.symlink(target, self.path(path))

    def readlink(self, path: bytes) -> bytes:
        return os.readlink(self.path(path))

    def mknod(self, path: bytes, mode: int, rdev: int = 0) -> None:
        os.mknod(self.path(path), mode, rdev)

    def chmod(self, path: bytes, mode: int) -> None:
        os.chmod(self.path(path), mode)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        os.lchown(self.path(path), uid, gid)

    def truncate(self, path: bytes, size: int) -> None:
        os.truncate(self.path(path), size)

    def utimens(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
        syscalls.set_times(self.path(path), atime_ns, mtime_ns)

    def getxattr(self, path: bytes, name: bytes) -> bytes:
        return os.getxattr(self.path(path), name, follow_symlinks=False)

    def listxattr(self, path: bytes) -> list[bytes]:
        return [os.fsencode(name) for name in os.listxattr(self.path(path), follow_symlinks=False)]

    def setxattr(self, path: bytes, name: bytes, value: bytes, flags: int = 0) -> None:
        os.setxattr(self.path(path), name, value, flags, follow_symlinks=False)

    def removexattr(self, path: bytes, name: bytes) -> None:
        os.removexattr(self.path(path), name, follow_symlinks=False)

    def statvfs(self) -> os.statvfs_result:
        return os.statvfs(self.root)

    def umask(self, mask: int) -> AbstractContextManager[None]:
        return syscalls.umask(mask)

    @contextmanager
    def caller(self, uid: int, gid: int, groups: Sequence[int] = (), umask: int = 0) -> Iterator[None]:
        with syscalls.umask(umask), syscalls.credentials(uid, gid, groups):
            yield
