"""System calls that Python has no function for, by number, for this thread alone, with the kernel's own answers."""

import ctypes
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

libc = ctypes.CDLL(None, use_errno=True)

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4
FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2
AT_FDCWD = -100

_INTEL = os.uname().machine == "x86_64"  # other machines use the asm-generic numbers
_SYS_GETDENTS64 = 217 if _INTEL else 61
_SYS_SETRESUID, _SYS_SETRESGID, _SYS_SETGROUPS = (117, 119, 116) if _INTEL else (147, 149, 159)
_AT_SYMLINK_NOFOLLOW = 0x100
_UTIME_OMIT = (1 << 30) - 2
_CLONE_NEWNS = 0x20000
_MS_REMOUNT, _MS_REC, _MS_PRIVATE = 0x20, 0x4000, 0x40000
_MNT_DETACH = 2


def check(result: int) -> int:
    """The result of a libc function, an OSError where it is negative."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def renameat2(old: bytes, new: bytes, flags: int) -> None:
    """renameat2(2) by path."""
    check(libc.renameat2(AT_FDCWD, old, AT_FDCWD, new, flags))


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def set_times(path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
    """utimensat(2), no link followed; None leaves a time as it is."""
    times = (_Timespec * 2)()
    for slot, value in zip(times, (atime_ns, mtime_ns), strict=True):
        slot.seconds, slot.nanoseconds = (0, _UTIME_OMIT) if value is None else divmod(value, 10**9)
    check(libc.utimensat(AT_FDCWD, path, times, _AT_SYMLINK_NOFOLLOW))


# --- credentials ------------------------------------------------------------------------------------------


def _raw(number: int, *arguments: int) -> None:
    check(libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments)))


def _set_groups(groups: Sequence[int]) -> None:
    array = (ctypes.c_uint * max(1, len(groups)))(*groups)
    _raw(_SYS_SETGROUPS, len(groups), ctypes.addressof(array))


@contextmanager
def credentials(uid: int, gid: int, groups: Sequence[int]) -> Iterator[None]:
    """Act as somebody else: this thread alone, and only in its effective ids, so that the way back is open."""
    before = os.getgroups()
    _set_groups(groups)
    _raw(_SYS_SETRESGID, -1, gid, -1)
    _raw(_SYS_SETRESUID, -1, uid, -1)
    try:
        yield
    finally:
        _raw(_SYS_SETRESUID, -1, 0, -1)
        _raw(_SYS_SETRESGID, -1, 0, -1)
        _set_groups(before)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Another umask for this process."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


# --- listings ---------------------------------------------------------------------------------------------

_HEAD = struct.Struct("=QqHB")  # d_ino, d_off, d_reclen, d_type
_KINDS = {
    kind >> 12: kind
    for kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR, stat.S_IFBLK, stat.S_IFREG, stat.S_IFLNK, stat.S_IFSOCK)
}


class Dirent(NamedTuple):
    """One entry. ``cookie`` is the position after it, good for lseek(2) on the descriptor."""

    name: bytes
    ino: int
    kind: int
    cookie: int


def batch(fd: int, size: int = 32768) -> list[Dirent]:
    """What one getdents64 returns; empty at the end."""
    buffer = ctypes.create_string_buffer(size)
    length = check(libc.syscall(ctypes.c_long(_SYS_GETDENTS64), ctypes.c_long(fd), buffer, ctypes.c_ulong(size)))
    found, position, raw = [], 0, buffer.raw
    while position < length:
        ino, cookie, record, kind = _HEAD.unpack_from(raw, position)
        name = raw[position + _HEAD.size : raw.index(0, position + _HEAD.size)]
        found.append(Dirent(name, ino, _KINDS.get(kind, 0), cookie))
        position += record
    return found


def entries(fd: int, size: int = 32768) -> Iterator[Dirent]:
    """All entries from the descriptor's position on, "." and ".." included."""
    while found := batch(fd, size):
        yield from found


# --- mounts -----------------------------------------------------------------------------------------------


def mount(source: bytes, target: bytes, kind: bytes, flags: int = 0, data: bytes = b"") -> None:
    """mount(2)."""
    check(libc.mount(source, target, kind, ctypes.c_ulong(flags), data))


def unmount(target: bytes, *, lazy: bool = False) -> None:
    """umount2(2)."""
    check(libc.umount2(target, _MNT_DETACH if lazy else 0))


def shrink(target: bytes) -> None:
    """Drop the names that the kernel remembers of a mount and that nobody uses: what a remount without options does."""
    mount(b"none", target, b"none", _MS_REMOUNT)


@contextmanager
def private_mounts() -> Iterator[None]:
    """A mount namespace for this thread: whatever is mounted in it ends with it, also when the process is killed.

    setns(2) moves root and working directory to the namespace's root. In a chroot that is outside, so both are put
    back; inside, it is where the mounts can be made private, as the root of a chroot need not be a mount.
    """
    with _namespace() as outside, _place() as place_outside:
        check(libc.unshare(_CLONE_NEWNS))
        try:
            with _namespace() as inside, _place() as place_inside:
                check(libc.setns(inside, _CLONE_NEWNS))
                mount(b"none", b"/", b"none", _MS_REC | _MS_PRIVATE)
                _go(place_inside)
            yield
        finally:
            check(libc.setns(outside, _CLONE_NEWNS))
            _go(place_outside)


@contextmanager
def _namespace() -> Iterator[int]:
    fd = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _place() -> Iterator[tuple[int, int]]:
    """Root and working directory."""
    fds = os.open("/", os.O_PATH | os.O_CLOEXEC), os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def _go(place: tuple[int, int]) -> None:
    root, directory = place
    os.fchdir(root)
    os.chroot(".")
    os.fchdir(directory)
