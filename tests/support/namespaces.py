"""A mount namespace of one's own: ``tests/conftest.py`` puts each process of pytest in one.

Tests that run beside each other see no mount of each other, and take no copy of it into a namespace of their own, where
it would outlive its umount. Whatever is mounted ends with the process.
"""

import ctypes
import os
from pathlib import Path

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def own_mounts() -> None:
    """A private mount namespace for this thread, with our root as its root.

    The root of a chroot need not be a mount, and unshare(1) cannot make that private; and nobody in a chroot gets a
    user namespace. So we go to the namespace's root, where setns(2) leads, make everything private, and come back to
    our root, bound over itself and put in the other's place.
    """
    check(libc.unshare(CLONE_NEWNS))
    root, here = os.open("/", os.O_PATH), os.getcwd()
    namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    check(libc.setns(namespace, CLONE_NEWNS))
    check(libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
    is_chroot = not os.path.samestat(os.stat("/"), os.fstat(root))
    os.fchdir(root)
    os.chroot(".")
    if not any(line.split(" ")[4] == "/" for line in Path("/proc/thread-self/mountinfo").read_text().splitlines()):
        check(libc.mount(b"/", b"/", None, ctypes.c_ulong(MS_BIND | MS_REC), None))
        os.chroot("/..")  # "/" is what lies below the new mount, ".." looks at what is mounted
    if is_chroot:
        ours = os.open("/", os.O_PATH)
        check(libc.setns(namespace, CLONE_NEWNS))  # the root that is to go must be the one that we are in
        os.fchdir(ours)
        check(libc.pivot_root(b".", b"."))  # pivot_root(2): the old root lies on the new one
        check(libc.umount2(b".", MNT_DETACH))
        os.close(ours)
    os.chdir(here)
    os.close(root)
    os.close(namespace)
