"""Whether a directory can be mounted on or unmounted from, said in words before anything is tried."""

import os
from pathlib import Path

from cowfs.errors import MountError, PrivilegeError, UsageError

TYPE = "fuse.cowfs"


def check_mountpoint(mountpoint: Path, *, empty: bool) -> None:
    """Raise MountError or UsageError where ``mountpoint`` is no directory, or, if asked, not empty."""
    try:
        entries = os.scandir(mountpoint)
    except FileNotFoundError:
        raise MountError(f"{mountpoint}: no such directory; make it first") from None
    except NotADirectoryError:
        raise MountError(f"{mountpoint}: not a directory") from None
    except OSError as failure:
        raise MountError(f"{mountpoint}: {failure.strerror}") from None
    with entries:
        if empty and any(True for _ in entries):
            raise UsageError(f"{mountpoint}: not empty; what is in it would be hidden")


def check_root() -> None:
    """Raise PrivilegeError where the caller cannot mount."""
    if os.geteuid() != 0:
        raise PrivilegeError("mounting needs root: run it with sudo")


def check_mounted(mountpoint: Path) -> None:
    """Raise MountError where ``mountpoint`` is not a mount of ours."""
    wanted = os.fsencode(os.path.realpath(mountpoint))
    for line in Path("/proc/self/mounts").read_bytes().splitlines():
        _, where, kind, *_ = line.split(b" ")
        if kind == TYPE.encode() and _unescaped(where) == wanted:
            return
    raise MountError(f"{mountpoint}: no cowfs mount there")


def _unescaped(field: bytes) -> bytes:
    """A field of /proc/mounts: space, tab, newline and backslash are octal there (getmntent(3))."""
    for character in b" \t\n\\":
        field = field.replace(b"\\%03o" % character, bytes([character]))
    return field
