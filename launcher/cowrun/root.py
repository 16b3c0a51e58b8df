"""Paths inside a root that anybody may have filled, by descriptor. Used by the steps of the plan, as root, before the
pivot.

A path never leads out: ``openat2`` resolves it as if the root were ``/``, and magic links of /proc are refused.
"""

import errno
import os
import stat
from typing import Final

from cowfs.errors import BrokenImage
from cowrun import syscalls

_FOLLOW: Final = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_STRICT: Final = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
_PROC_MAGIC: Final = 0x9FA0
_TRIES: Final = 16  # of a resolution that the kernel wants repeated because something was renamed meanwhile
_LINKS: Final = 8  # dangling links in a row
_LARGE: Final = 4 << 20  # bytes


class Root:
    """The root of a container by a descriptor of it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def open(self, path: str, flags: int = os.O_PATH, *, strict: bool = False) -> int:
        """Open ``path``; ``strict``: no symbolic link is followed. Raises OSError."""
        how, relative = (_STRICT, path.lstrip("/") or ".") if strict else (_FOLLOW, path)
        for _ in range(_TRIES):
            try:
                return syscalls.openat2(self.fd, os.fsencode(relative), flags, how)
            except BlockingIOError:
                continue
        raise OSError(errno.EAGAIN, "names change too fast", path)

    def directory(self, path: str, *, strict: bool = False, mode: int = 0o755) -> int:
        """Open the directory ``path``, made with all its parents where it is missing. Raises BrokenImage."""
        try:
            return self._directory(path, strict, mode)
        except OSError as error:
            if strict and error.errno == errno.ELOOP:
                raise BrokenImage(f"{path} is or leads through a symbolic link in this root: refused") from None
            raise _broken(path, error) from None

    def file(self, path: str) -> int:
        """Open the file ``path`` as a place to mount on, made empty where it is missing. Raises BrokenImage."""
        try:
            return self._file(path, _LINKS)
        except OSError as error:
            raise _broken(path, error) from None

    def read(self, path: str) -> bytes:
        """The content of a regular file, nothing where there is none or it is anything else or too large."""
        try:
            fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return b""
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return b""
            data = file.read(_LARGE + 1)
        return data if len(data) <= _LARGE else b""

    def _directory(self, path: str, strict: bool, mode: int) -> int:
        current = self.open("/", strict=strict)
        walked = ""
        for name in path.split("/"):
            if not name:
                continue
            walked += "/" + name
            parent, current = current, -1
            try:
                current = self._enter(parent, walked, name, strict, mode)
            finally:
                os.close(parent)
        return current

    def _enter(self, parent: int, walked: str, name: str, strict: bool, mode: int) -> int:
        try:
            return self.open(walked, os.O_PATH | os.O_DIRECTORY, strict=strict)
        except FileNotFoundError:
            os.mkdir(name, mode, dir_fd=parent)
            return self.open(walked, os.O_PATH | os.O_DIRECTORY, strict=strict)

    def _file(self, path: str, links: int) -> int:
        try:
            return self.open(path)
        except FileNotFoundError:
            if not links:
                raise
        where, _, name = path.rpartition("/")
        parent = self._directory(where, False, 0o755)
        try:
            target = os.readlink(name, dir_fd=parent)
        except FileNotFoundError:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent))
            return self._file(path, 0)
        finally:
            os.close(parent)
        return self._file(target if target.startswith("/") else f"{where}/{target}", links - 1)


def refuse_proc(fd: int, path: str) -> int:
    """``fd``, unless it lies in a proc file system: what is mounted there deceives whoever asks the kernel."""
    if syscalls.file_system_type(fd) == _PROC_MAGIC:
        os.close(fd)
        raise BrokenImage(f"{path} leads into /proc in this root: refused")
    return fd


def _broken(path: str, error: OSError) -> BrokenImage:
    return BrokenImage(f"{path} cannot be set up in this root: {error.strerror}")
