"""System calls that Python has no function for, by ctypes. Used by the steps of the plan and by the launcher.

Each wrapper names its manual page and raises OSError with the kernel's errno. Nothing here decides anything. Imported
by the process that becomes the container's first, so: nothing but ctypes and os.
"""

import ctypes
import os
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

# The same on every architecture since Linux 5.0 (include/uapi/asm-generic/unistd.h).
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_FSOPEN: Final = 430
_SYS_FSCONFIG: Final = 431
_SYS_FSMOUNT: Final = 432
_SYS_CLOSE_RANGE: Final = 436
_SYS_OPENAT2: Final = 437
_SYS_MOUNT_SETATTR: Final = 442
SYS_KEYCTL: Final = {
    "x86_64": 250,
    "i686": 288,
    "aarch64": 219,
    "riscv64": 219,
    "armv7l": 311,
    "ppc64le": 271,
    "s390x": 280,
}

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWCGROUP: Final = 0x02000000

MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MS_SLAVE: Final = 0x80000
MNT_DETACH: Final = 2

MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NOSUID: Final = 2
MOUNT_ATTR_NODEV: Final = 4
MOUNT_ATTR_NOEXEC: Final = 8

RESOLVE_NO_XDEV: Final = 1
RESOLVE_NO_MAGICLINKS: Final = 2
RESOLVE_NO_SYMLINKS: Final = 4
RESOLVE_BENEATH: Final = 8
RESOLVE_IN_ROOT: Final = 16

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 0x4
_MOVE_MOUNT_T_EMPTY_PATH: Final = 0x40
_FSOPEN_CLOEXEC: Final = 1
_FSMOUNT_CLOEXEC: Final = 1
_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_KEYCTL_JOIN_SESSION_KEYRING: Final = 1
_CAPABILITY_VERSION_3: Final = 0x20080522


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags))


def join_namespaces(process: int, flags: int) -> None:
    """setns(2) into namespaces of the process that a pidfd refers to (Linux 5.8), or into the one that is opened."""
    _check(_libc.setns(process, flags))


def set_propagation(flags: int) -> None:
    """mount(2) of ``/`` with MS_PRIVATE or MS_SLAVE and MS_REC. In a chroot, of the root outside of it."""
    root, here = (os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in ("/", "."))
    try:
        leave_chroot()
        _check(_libc.mount(None, b"/", None, flags, None))
    finally:
        os.fchdir(root)
        os.chroot(".")
        os.fchdir(here)
        os.close(root)
        os.close(here)


def leave_chroot() -> None:
    """setns(2) into the mount namespace that we are in: root and working directory are its root from here.

    A chroot whose root is no mount point could neither change propagation nor pivot.
    """
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(namespace, CLONE_NEWNS))
    finally:
        os.close(namespace)


def unmount(path: bytes, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(path, flags))


def pivot_root_here() -> None:
    """pivot_root(2) with both arguments ".": the old root lies on top of the new one afterwards, and is detached."""
    _check(_libc.pivot_root(b".", b"."))
    _check(_libc.umount2(b".", MNT_DETACH))


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """openat2(2): a descriptor, close-on-exec."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    return _check(_syscall(_SYS_OPENAT2, directory, path, ctypes.byref(how), ctypes.sizeof(how)))


def clone_mount(path: bytes, *, recursive: bool = False) -> int:
    """open_tree(2) with OPEN_TREE_CLONE: a detached copy of the mount at ``path``."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _check(_syscall(_SYS_OPEN_TREE, _AT_FDCWD, path, flags))


def clone_mount_at(descriptor: int) -> int:
    """The same for what ``descriptor`` has open, without what is mounted below it."""
    return _check(_syscall(_SYS_OPEN_TREE, descriptor, b"", _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH))


def new_mount(kind: str, attributes: int, data: tuple[tuple[str, str], ...] = ()) -> int:
    """fsopen(2), fsconfig(2), fsmount(2): a detached mount of a new file system."""
    context = _check(_syscall(_SYS_FSOPEN, kind.encode(), _FSOPEN_CLOEXEC))
    try:
        for key, value in (("source", kind), *data):
            _check(_syscall(_SYS_FSCONFIG, context, _FSCONFIG_SET_STRING, key.encode(), value.encode(), 0))
        _check(_syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0))
        return _check(_syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes))
    finally:
        os.close(context)


def attach(mount: int, target: int) -> None:
    """move_mount(2): put a detached mount on what ``target`` has open."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    _check(_syscall(_SYS_MOVE_MOUNT, mount, b"", target, b"", flags))


def set_mount_attributes(mount: int, attributes: int, *, recursive: bool = False) -> None:
    """mount_setattr(2): add ``attributes`` to a mount, by a descriptor of its root."""
    value = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    _check(_syscall(_SYS_MOUNT_SETATTR, mount, b"", flags, ctypes.byref(value), ctypes.sizeof(value)))


def file_system_type(descriptor: int) -> int:
    """The magic number of statfs(2)."""
    answer = (ctypes.c_long * 64)()
    _check(_libc.fstatfs(descriptor, ctypes.byref(answer)))
    return int(answer[0])


def close_from(first: int) -> None:
    """close_range(2): every descriptor from ``first`` on."""
    _check(_syscall(_SYS_CLOSE_RANGE, first, 0xFFFFFFFF, 0))


def die_with_parent(signal_number: int) -> None:
    """prctl(2) PR_SET_PDEATHSIG: lost when credentials change, and says nothing about a parent that is dead already."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0))


def set_dumpable(value: bool) -> None:
    """prctl(2) PR_SET_DUMPABLE."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, int(value), 0, 0, 0))


def set_process_name(name: str) -> None:
    """prctl(2) PR_SET_NAME."""
    _check(_libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0))


def no_new_privileges() -> None:
    """prctl(2) PR_SET_NO_NEW_PRIVS."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


class _FilterProgram(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def set_filter(program: bytes) -> None:
    """prctl(2) PR_SET_SECCOMP: ``program`` is made of struct sock_filter. Needs no_new_privs or CAP_SYS_ADMIN."""
    described = _FilterProgram(len(program) // 8, program)
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(described), 0, 0))


def drop_from_bounding_set(capability: int) -> None:
    """prctl(2) PR_CAPBSET_DROP. Raises EINVAL for a capability that the kernel does not know."""
    _check(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0))


def clear_ambient_set() -> None:
    """prctl(2) PR_CAP_AMBIENT_CLEAR_ALL."""
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))


def set_capabilities(permitted: int) -> None:
    """capset(2): effective and permitted are ``permitted``, a bit mask; inheritable is empty."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = permitted & 0xFFFFFFFF, permitted >> 32
    _check(_libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)(low, low, 0, high, high, 0))))


def join_new_session_keyring() -> None:
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING. Raises ENOSYS where the kernel has no keys."""
    number = SYS_KEYCTL.get(os.uname().machine)
    if number is not None:
        _check(_syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None))
