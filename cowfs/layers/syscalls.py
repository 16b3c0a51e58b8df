"""System calls that Python 3.11 has no function for, by ctypes.

Each wrapper takes descriptors and bytes, raises OSError with the kernel's errno, and names its manual page. Nothing
here decides anything.
"""

import ctypes
import fcntl
import os
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

AT_FDCWD: Final = -100
AT_SYMLINK_FOLLOW: Final = 0x400
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000
RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2
RENAME_WHITEOUT: Final = 4

# Numbers since Linux 5.2 are the same on every architecture (include/uapi/asm-generic/unistd.h).
_SYS_OPEN_TREE: Final = 428
_SYS_MOUNT_SETATTR: Final = 442
_OPEN_TREE_CLONE: Final = 1
_OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
_MOUNT_ATTR_RDONLY: Final = 0x1
_MOUNT_ATTR_NOATIME: Final = 0x10
_MOUNT_ATTR_ATIME: Final = 0x70
_MS_PRIVATE: Final = 1 << 18
_FICLONE: Final = 0x40049409
_FS_IOC_GETFSUUID: Final = 0x80111500
_MAX_HANDLE_SZ: Final = 128


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def renameat2(old_dir: int, old: bytes, new_dir: int, new: bytes, flags: int) -> None:
    """renameat2(2)."""
    _check(_libc.renameat2(old_dir, old, new_dir, new, flags))


class _FileHandle(ctypes.Structure):
    _fields_ = (
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("f_handle", ctypes.c_ubyte * _MAX_HANDLE_SZ),
    )


def name_to_handle_at(directory: int, name: bytes, flags: int = 0) -> tuple[int, bytes]:
    """name_to_handle_at(2): the file handle's type and bytes. A link is not followed."""
    handle = _FileHandle(_MAX_HANDLE_SZ)
    mount_id = ctypes.c_int()
    _check(_libc.name_to_handle_at(directory, name, ctypes.byref(handle), ctypes.byref(mount_id), flags))
    return handle.handle_type, bytes(handle.f_handle[: handle.handle_bytes])


def open_by_handle_at(mount: int, handle_type: int, handle: bytes, flags: int) -> int:
    """open_by_handle_at(2): a descriptor. Needs CAP_DAC_READ_SEARCH."""
    value = _FileHandle(len(handle), handle_type)
    ctypes.memmove(value.f_handle, handle, len(handle))
    return _check(_libc.open_by_handle_at(mount, ctypes.byref(value), flags))


def clone_read_only(path: bytes, *, recursive: bool) -> int:
    """A private, read-only, noatime copy of the mount at ``path``: an O_PATH descriptor of its root.

    open_tree(2) and mount_setattr(2); needs CAP_SYS_ADMIN. overlayfs clones its layers the same way
    (fs/overlayfs/super.c, ovl_get_layers), so that a lower can be neither written nor touched by reading.
    """
    recurse = AT_RECURSIVE if recursive else 0
    tree = _check(_syscall(_SYS_OPEN_TREE, AT_FDCWD, path, _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | recurse))
    # Private, too: what is mounted below it later, ours among it, must not come into it.
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOATIME, _MOUNT_ATTR_ATIME, _MS_PRIVATE, 0)
    try:
        _check(
            _syscall(
                _SYS_MOUNT_SETATTR,
                tree,
                b"",
                AT_EMPTY_PATH | recurse,
                ctypes.byref(attributes),
                ctypes.sizeof(attributes),
            )
        )
    except OSError:
        os.close(tree)
        raise
    return tree


def reflink(source: int, target: int) -> None:
    """ioctl_ficlone(2): share all extents of ``source`` with ``target``."""
    fcntl.ioctl(target, _FICLONE, source)


def filesystem_uuid(descriptor: int) -> bytes:
    """The 16 bytes that the kernel knows as s_uuid (FS_IOC_GETFSUUID, Linux 6.9); zeros where it does not tell."""
    answer = bytearray(17)
    try:
        fcntl.ioctl(descriptor, _FS_IOC_GETFSUUID, answer)
    except OSError:
        return bytes(16)
    return bytes(answer[1:17])


def link_descriptor(descriptor: int, directory: int, name: bytes) -> None:
    """linkat(2) of an open file by its descriptor. ENOENT where its last name is gone."""
    _check(_libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % descriptor, directory, name, AT_SYMLINK_FOLLOW))


UTIME_OMIT: Final = (1 << 30) - 2
AT_SYMLINK_NOFOLLOW: Final = 0x100


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


def set_times(file: bytes | int, atime_ns: int | None, mtime_ns: int | None, *, follow: bool) -> None:
    """utimensat(2) of a path, or futimens(3), in nanoseconds since the epoch; None leaves a time as it is."""
    times = (_Timespec * 2)()
    for slot, value in zip(times, (atime_ns, mtime_ns), strict=True):
        slot.tv_sec, slot.tv_nsec = (0, UTIME_OMIT) if value is None else divmod(value, 1_000_000_000)
    if isinstance(file, int):
        _check(_libc.futimens(file, times))
    else:
        _check(_libc.utimensat(AT_FDCWD, file, times, 0 if follow else AT_SYMLINK_NOFOLLOW))


def fallocate(descriptor: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2) with its modes."""
    _check(_libc.fallocate(descriptor, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))
