"""A new named volume begins with what the root has at its place, as docker does it. Used by the step that mounts it, as
root, before anything of the root runs; everything goes by descriptor, and no link is followed.

Hard links become files of their own; devices, sockets and pipes stay behind.
"""

import contextlib
import os
import stat
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK: Final = 1 << 20
_OURS: Final = ("trusted.", "user.overlay.", "security.selinux")  # attributes that mean something to this machine only


def fill(source: int, target: int) -> None:
    """Copy the directory ``source`` into the directory ``target`` if that is empty; takes neither. Raises OSError."""
    if os.listdir(target):
        return
    _attributes(source, target)
    waiting = [(os.dup(source), os.dup(target))]
    while waiting:
        old, new = waiting.pop()
        try:
            for name in os.listdir(old):
                waiting += _entry(old, new, name)
        finally:
            os.close(old)
            os.close(new)


def _entry(old: int, new: int, name: str) -> list[tuple[int, int]]:
    """Copy one name; of a directory both descriptors, with what is in it still to come."""
    status = os.stat(name, dir_fd=old, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=old), name, dir_fd=new)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=new, follow_symlinks=False)
    elif stat.S_ISREG(status.st_mode):
        _file(os.open(name, _READ, dir_fd=old), os.open(name, _WRITE, 0o600, dir_fd=new))
    elif stat.S_ISDIR(status.st_mode):
        os.mkdir(name, 0o700, dir_fd=new)
        below = os.open(name, _DIRECTORY, dir_fd=old), os.open(name, _DIRECTORY, dir_fd=new)
        _attributes(*below)
        return [below]
    return []


def _file(old: int, new: int) -> None:
    try:
        while data := os.read(old, _CHUNK):
            while data:
                data = data[os.write(new, data) :]
        _attributes(old, new)
    finally:
        os.close(old)
        os.close(new)


def _attributes(old: int, new: int) -> None:
    """The attributes; a change of the owner takes setuid and capabilities away, so it comes first."""
    status = os.fstat(old)
    os.fchown(new, status.st_uid, status.st_gid)
    os.fchmod(new, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(old):
        if not name.startswith(_OURS):
            with contextlib.suppress(OSError):  # the store's file system may have none
                os.setxattr(new, name, os.getxattr(old, name))
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
