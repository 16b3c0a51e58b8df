"""Whether a directory can be mounted on or unmounted from, said in words before anything is tried; what is mounted."""

import ctypes
import os
import struct
from pathlib import Path
from typing import Final, NamedTuple

from cowfs import userns
from cowfs.errors import MountError, PrivilegeError, UsageError

TYPE = "fuse.cowfs"
_AT_FDCWD: Final = -100
_AT_NO_AUTOMOUNT, _AT_STATX_DONT_SYNC = 0x800, 0x4000
_STATX_MNT_ID_UNIQUE: Final = 0x4000
_STATX_SIZE, _STX_MNT_ID = 256, 144  # of struct statx, and where stx_mnt_id is in it


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
    if os.geteuid() != 0 or userns.entered():
        raise PrivilegeError("mounting where others see it needs root: run it with sudo (cowrun works without)")


def check_mounted(mountpoint: Path) -> None:
    """Raise MountError where ``mountpoint`` is not a mount of ours, alive or dead."""
    kind, _ = _topmost(Path(os.path.realpath(mountpoint)))
    if kind != TYPE.encode():
        raise MountError(f"{mountpoint}: no cowfs mount there")


def device_at(mountpoint: Path) -> int | None:
    """The device number of the mount on ``mountpoint``, which has no symbolic links in it; None where there is none.

    Asks the kernel's table: a stat would ask the mount, which may be dead, or ourselves.
    """
    _, device = _topmost(mountpoint)
    return device


def identity_at(mountpoint: Path) -> int | None:
    """The number of the mount on ``mountpoint`` that no other mount ever has; None before Linux 6.8.

    A device number is given to the next mount as soon as this one is gone. The file system there is not asked.
    """
    answer = ctypes.create_string_buffer(_STATX_SIZE)
    flags = _AT_STATX_DONT_SYNC | _AT_NO_AUTOMOUNT
    if ctypes.CDLL(None).statx(_AT_FDCWD, os.fsencode(mountpoint), flags, _STATX_MNT_ID_UNIQUE, answer):
        return None
    (mask,) = struct.unpack_from("=I", answer, 0)
    (identity,) = struct.unpack_from("=Q", answer, _STX_MNT_ID)
    return identity if mask & _STATX_MNT_ID_UNIQUE else None


class Mounted(NamedTuple):
    """One mount of ours."""

    mountpoint: Path
    source: str
    access: str  # "ro" or "rw"


def mounted() -> list[Mounted]:
    """The mounts of ours that this process sees, the oldest first."""
    return [
        Mounted(Path(os.fsdecode(line.where)), os.fsdecode(line.source), "rw" if b"rw" in line.options else "ro")
        for line in _table()
        if line.kind == TYPE.encode()
    ]


def places() -> list[Path]:
    """Where anything is mounted, as far as this process sees."""
    return [Path(os.fsdecode(line.where)) for line in _table()]


def _topmost(mountpoint: Path) -> tuple[bytes, int | None]:
    """File system type and device number of the mount that hides the others on ``mountpoint``."""
    wanted = os.fsencode(mountpoint)
    for line in reversed(_table()):
        if line.where == wanted:
            major, minor = line.device.split(b":")
            return line.kind, os.makedev(int(major), int(minor))
    return b"", None


class _Line(NamedTuple):
    """One of the kernel's table of mounts (proc_pid_mountinfo(5))."""

    device: bytes
    where: bytes
    kind: bytes
    source: bytes
    options: list[bytes]  # the file system's, not the mount's


def _table() -> list[_Line]:
    lines = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        _, _, device, _, where, *_ = before.split(b" ")
        kind, source, options, *_ = after.split(b" ")
        lines.append(_Line(device, _unescaped(where), kind, _unescaped(source), options.split(b",")))
    return lines


def _unescaped(field: bytes) -> bytes:
    """A field of mountinfo: space, tab, newline and backslash are octal there (proc(5))."""
    for character in b" \t\n\\":
        field = field.replace(b"\\%03o" % character, bytes([character]))
    return field
