"""Random operations as data: a step is a name and its arguments, so that a run can be repeated, cut down and kept.

``apply`` does a step on one file system and says what a program got from it.
"""

import contextlib
import ctypes
import mmap
import os
import stat
from collections.abc import Callable
from typing import Any

from tests.behaviour.fs import File, Fs, Listed, Status
from tests.behaviour.syscalls import check, libc

Step = tuple[Any, ...]
Slots = dict[int, tuple[File, int]]  # open files with their flags, as a program would hold them


def pattern(fill: int, length: int) -> bytes:
    """The bytes that a step writes."""
    return bytes([fill]) * length


class _Unsuitable(Exception):
    """A file that a step does not open."""


def _status(status: Status) -> tuple[int, int, int, int, int]:
    return status.mode, status.uid, status.gid, status.nlink, status.size


def _listing(listed: list[Listed]) -> list[tuple[bytes, int]]:
    return sorted((entry.name, entry.kind) for entry in listed)


def _opened(fs: Fs, path: bytes, flags: int, mode: int = 0o644) -> File:
    """Open a file, but nothing that would wait for a peer, and no directory: both are unsuitable."""
    with contextlib.suppress(OSError):
        kind = stat.S_IFMT(fs.stat(path).mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR) or (
            kind == stat.S_IFDIR and not flags & (os.O_ACCMODE | os.O_CREAT)
        ):
            raise _Unsuitable
    return fs.open(path, flags, mode)


def _create(fs: Fs, slots: Slots, path: bytes, flags: int, mode: int, fill: int, length: int) -> object:
    file = _opened(fs, path, os.O_CREAT | flags, mode)
    try:
        return file.pwrite(pattern(fill, length), 0) if length else 0
    finally:
        file.close()


def _write(fs: Fs, slots: Slots, path: bytes, offset: int, fill: int, length: int) -> object:
    file = _opened(fs, path, os.O_WRONLY)
    try:
        return file.pwrite(pattern(fill, length), offset)
    finally:
        file.close()


def _read(fs: Fs, slots: Slots, path: bytes) -> object:
    file = _opened(fs, path, os.O_RDONLY)
    try:
        return file.status().size, file.pread(1 << 17, 0)
    finally:
        file.close()


def _open(fs: Fs, slots: Slots, slot: int, path: bytes, flags: int, mode: int) -> None:
    file = _opened(fs, path, flags, mode)
    if slot in slots:
        slots.pop(slot)[0].close()
    slots[slot] = (file, flags)


def _close(fs: Fs, slots: Slots, slot: int) -> None:
    if slot in slots:
        slots.pop(slot)[0].close()


def _on_slot(action: Callable[..., object]) -> Callable[..., object]:
    def apply_to(fs: Fs, slots: Slots, slot: int, *arguments: Any) -> object:
        return action(slots[slot][0], *arguments) if slot in slots else None

    return apply_to


def _map(file: Any, offset: int, fill: int, length: int) -> object:
    """Write through a shared mapping, and set the times: tmpfs, which says what is right, leaves them as they are."""
    size = file.status().size
    if not length or offset + length > size:
        raise _Unsuitable
    with mmap.mmap(file.fd, size) as view:
        before = view[offset : offset + length]
        view[offset : offset + length] = pattern(fill, length)
        view.flush()
    os.utime(file.fd)
    return before


def _allocate(file: Any, mode: int, offset: int, length: int) -> None:
    check(libc.fallocate(file.fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


def _copy(fs: Fs, slots: Slots, path: bytes, slot: int, offset: int, target_offset: int, length: int) -> object:
    """copy_file_range(2) until there is no more."""
    if slot not in slots:
        return None
    target: Any = slots[slot][0]
    source: Any = _opened(fs, path, os.O_RDONLY)
    done = 0
    try:
        while count := os.copy_file_range(source.fd, target.fd, length - done, offset + done, target_offset + done):
            done += count
            if done == length:
                break
    finally:
        source.close()
    return done


ACTIONS: dict[str, Callable[..., object]] = {
    "create": _create,
    "write": _write,
    "read": _read,
    "lstat": lambda fs, slots, path: _status(fs.lstat(path))[:3],
    "listdir": lambda fs, slots, path: _listing(fs.listdir(path)),
    "readlink": lambda fs, slots, path: fs.readlink(path),
    "truncate": lambda fs, slots, path, size: fs.truncate(path, size),
    "mkdir": lambda fs, slots, path, mode: fs.mkdir(path, mode),
    "rmdir": lambda fs, slots, path: fs.rmdir(path),
    "unlink": lambda fs, slots, path: fs.unlink(path),
    "rename": lambda fs, slots, old, new, flags: fs.rename(old, new, flags),
    "link": lambda fs, slots, old, new: fs.link(old, new),
    "symlink": lambda fs, slots, target, path: fs.symlink(target, path),
    "mknod": lambda fs, slots, path, mode, rdev: fs.mknod(path, mode, rdev),
    "chmod": lambda fs, slots, path, mode: fs.chmod(path, mode),
    "chown": lambda fs, slots, path, uid, gid: fs.chown(path, uid, gid),
    "utimens": lambda fs, slots, path, atime, mtime: fs.utimens(path, atime, mtime),
    "setxattr": lambda fs, slots, path, name, value, flags: fs.setxattr(path, name, value, flags),
    "removexattr": lambda fs, slots, path, name: fs.removexattr(path, name),
    "getxattr": lambda fs, slots, path, name: fs.getxattr(path, name),
    "open": _open,
    "close": _close,
    "slot_read": _on_slot(lambda file, size, offset: file.pread(size, offset)),
    "slot_pwrite": _on_slot(lambda file, offset, fill, length: file.pwrite(pattern(fill, length), offset)),
    "slot_write": _on_slot(lambda file, fill, length: file.write(pattern(fill, length))),
    "slot_truncate": _on_slot(lambda file, size: file.truncate(size)),
    "slot_chmod": _on_slot(lambda file, mode: file.chmod(mode)),
    "slot_status": _on_slot(lambda file: _status(file.status())),
    "slot_map": _on_slot(_map),
    "slot_allocate": _on_slot(_allocate),
    "slot_copy": _copy,
    "slot_fsync": _on_slot(lambda file: file.fsync()),
}


def apply(fs: Fs, slots: Slots, step: Step) -> object:
    """Do it. The answer is ``("errno", N)`` or what the call returned, in a form that can be compared."""
    name, *arguments = step
    try:
        if name == "umask":
            mask, inner = arguments
            with fs.umask(mask):
                return ACTIONS[inner[0]](fs, slots, *inner[1:])
        if name == "as":
            uid, gid, inner = arguments
            with fs.caller(uid, gid):
                return ACTIONS[inner[0]](fs, slots, *inner[1:])
        return ACTIONS[name](fs, slots, *arguments)
    except OSError as failure:
        return ("errno", failure.errno)
    except _Unsuitable:
        return "unsuitable"


def close_all(slots: Slots) -> None:
    """What a program does when it ends."""
    for file, _ in slots.values():
        file.close()
    slots.clear()
