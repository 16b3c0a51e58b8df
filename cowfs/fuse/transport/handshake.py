"""mount(2) and the INIT request, by us: pyfuse3 can ask for three capabilities only.

    kernel --INIT--> device --read here--> answered here, with the flags below
                                 `--copy--> pipe --> libfuse, which believes that it speaks to the kernel
    while libfuse handles its copy (``Operations.init``) the device takes the pipe's place under the same descriptor

libfuse's own answer then reaches the kernel as one to a request that is done: ENOENT, which libfuse ignores. Structures
and flags: include/uapi/linux/fuse.h.
"""

import contextlib
import ctypes
import errno
import os
import select
import struct
from pathlib import Path
from typing import Final

from cowfs.options import MountOptions

_HEADER: Final = struct.Struct("<IIQQIIIHH")  # struct fuse_in_header, 40 bytes
_INIT_IN: Final = struct.Struct("<IIIII")  # major, minor, max_readahead, flags, flags2
_INIT_OUT: Final = struct.Struct("<IIIIHHIIHHIIH22x")  # struct fuse_init_out, 64 bytes
_OUT_HEADER: Final = struct.Struct("<IiQ")
_MINOR: Final = 40  # the protocol that knows passthrough
_MAX_WRITE: Final = 1 << 20
_INIT_TIMEOUT: Final = 5000  # milliseconds
_MNT_DETACH: Final = 2
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 4096

ASYNC_READ, ATOMIC_O_TRUNC, BIG_WRITES, DONT_MASK = 1 << 0, 1 << 3, 1 << 5, 1 << 6
SPLICES: Final = 7 << 7
AUTO_INVAL_DATA, DO_READDIRPLUS, ASYNC_DIO = 1 << 12, 1 << 13, 1 << 15
PARALLEL_DIROPS, POSIX_ACL, MAX_PAGES, CACHE_SYMLINKS = 1 << 18, 1 << 20, 1 << 22, 1 << 23
HANDLE_KILLPRIV_V2, INIT_EXT, PASSTHROUGH = 1 << 28, 1 << 30, 1 << 37

_WANTED: Final = (
    ASYNC_READ
    | ATOMIC_O_TRUNC
    | BIG_WRITES
    | DONT_MASK
    | DO_READDIRPLUS
    | ASYNC_DIO
    | PARALLEL_DIROPS
    | POSIX_ACL
    | MAX_PAGES
    | CACHE_SYMLINKS
    | HANDLE_KILLPRIV_V2
    | INIT_EXT
)
_NEEDED: Final = DONT_MASK | POSIX_ACL | HANDLE_KILLPRIV_V2 | MAX_PAGES


class HandshakeFailed(Exception):
    """The kernel does not offer what the handshake is for, or no mount could be made this way."""


class Gone(Exception):
    """Nobody waits for the answer to INIT: the mount is gone."""


class Connection:
    """A mount of ours whose INIT was read and not answered yet."""

    __slots__ = ("descriptor", "device", "flags", "readahead", "stack_depth", "unique")

    def __init__(self, device: int, request: bytes, flags: int, stack_depth: int) -> None:
        """``flags``: what we answer, of what the kernel offered; 64 bits. ``stack_depth``: for passthrough: this file
        system's, more than that of any backing file's."""
        self.device = device
        self.flags = flags
        self.stack_depth = stack_depth
        self.unique = _HEADER.unpack_from(request)[2]
        self.readahead = _INIT_IN.unpack_from(request, _HEADER.size)[2]
        # What libfuse reads: a pipe with INIT in it, and after ``answer`` the device; libfuse's to close.
        self.descriptor, write = os.pipe()
        os.write(write, request)
        os.close(write)

    @property
    def path(self) -> str:
        """What pyfuse3.init takes for a mount point."""
        return f"/dev/fd/{self.descriptor}"

    def answer(self) -> None:
        """Answer INIT, and put the device where libfuse reads. To be called by ``Operations.init``.

        Raises Gone where the mount ended before.
        """
        out = _INIT_OUT.pack(
            7,
            _MINOR,
            max(self.readahead, _MAX_WRITE),
            self.flags & 0xFFFFFFFF,
            64,  # max_background
            48,  # congestion_threshold
            _MAX_WRITE,
            1,  # time_gran, nanoseconds
            _MAX_WRITE // os.sysconf("SC_PAGESIZE"),
            0,
            self.flags >> 32,
            self.stack_depth if self.flags & PASSTHROUGH else 0,
            0,
        )
        try:
            os.write(self.device, _OUT_HEADER.pack(_OUT_HEADER.size + len(out), 0, self.unique) + out)
        except FileNotFoundError:
            raise Gone from None
        os.dup2(self.device, self.descriptor, inheritable=False)
        self.close()

    def close(self) -> None:
        """Close what is not libfuse's. The kernel ends the connection when libfuse's descriptor is closed, too."""
        if self.device >= 0:
            os.close(self.device)
            self.device = -1


def connect(options: MountOptions, mountpoint: Path, *, stack_depth: int) -> Connection:
    """Mount and read INIT. ``stack_depth``: for passthrough (``passthrough.stack_depth_above``), 0 to do without.

    Raises HandshakeFailed, or OSError where no other way would do; nothing is mounted then.
    """
    extra = (PASSTHROUGH if stack_depth else 0) | (AUTO_INVAL_DATA if options.live_lower else 0)
    wanted = _WANTED if options.acl else _WANTED & ~POSIX_ACL
    device = _mounted(options, mountpoint)
    try:
        return _read_init(device, wanted | extra, stack_depth)
    except BaseException:
        os.close(device)
        with contextlib.suppress(OSError):
            unmount(mountpoint, lazy=True)
        raise


def _mounted(options: MountOptions, mountpoint: Path) -> int:
    """The device of a new mount."""
    if options.mounter >= 0:
        from cowfs.fuse.transport import outside  # an ordinary user's

        return outside.mounted(options, mountpoint)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        _mount_with(device, options, mountpoint)
    except OSError as failure:
        os.close(device)
        if failure.errno != errno.EPERM:
            raise
        raise HandshakeFailed(f"mount: {failure.strerror}") from None
    return device


def read_ahead(mount: int) -> None:
    """Let the kernel read as far ahead as one request reaches; it starts with its default for disks, 128 KiB.

    ``mount``: its device number. Where sysfs cannot be written it stays so.
    """
    setting = Path(f"/sys/class/bdi/{os.major(mount)}:{os.minor(mount)}/read_ahead_kb")
    with contextlib.suppress(OSError):
        setting.write_text(str(_MAX_WRITE >> 10))


def unmount(mountpoint: Path, *, lazy: bool) -> None:
    """umount2(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mountpoint), _MNT_DETACH if lazy else 0):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fspath(mountpoint))


def forbid_programs(mountpoint: Path, options: MountOptions) -> None:
    """Add noexec to the live mount that was made with ``options``. Raises OSError."""
    _mount(None, mountpoint, _flags(options) | _MS_NOEXEC | _MS_REMOUNT | _MS_BIND, "")


def _mount_with(device: int, options: MountOptions, mountpoint: Path) -> None:
    data = f"fd={device},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()},default_permissions"
    if options.allow_other:
        data += ",allow_other"
    _mount(os.fsencode(options.source), mountpoint, _flags(options), data)


def _flags(options: MountOptions) -> int:
    flags = (0 if options.allow_suid else _MS_NOSUID) | (0 if options.allow_dev else _MS_NODEV)
    return flags | (0 if options.writable else _MS_RDONLY)


def _mount(source: bytes | None, mountpoint: Path, flags: int, data: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source, os.fsencode(mountpoint), b"fuse.cowfs", ctypes.c_ulong(flags), data.encode()):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fspath(mountpoint))


def _read_init(device: int, wanted: int, stack_depth: int) -> Connection:
    poll = select.poll()
    poll.register(device, select.POLLIN)
    if not poll.poll(_INIT_TIMEOUT):
        raise HandshakeFailed("the kernel sent no INIT request")
    request = bytearray(os.read(device, 1 << 21))
    _, opcode, *_ = _HEADER.unpack_from(request)
    _, minor, _, low, high = _INIT_IN.unpack_from(request, _HEADER.size)
    offered = low | (high << 32 if low & INIT_EXT else 0)
    if opcode != 26 or minor < 36 or offered & _NEEDED != _NEEDED:
        raise HandshakeFailed("the kernel is too old (Linux 5.17 or later is needed)")
    # Without splice in what it is offered libfuse reads each request by one system call instead of two.
    struct.pack_into("<I", request, _HEADER.size + 12, low & ~SPLICES & 0xFFFFFFFF)
    return Connection(device, bytes(request), offered & wanted, stack_depth)
