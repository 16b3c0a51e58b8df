"""The journal's format (docs/format.md): records to bytes and back. Pure, used by the writer and the reader.

    file    MAGIC, then frames
    frame   length and crc32 of what follows (4 bytes each), time in ns since the epoch (8), records
    record  length of it all (2), operation (1), then
            a change: layer (2), time in us since the frame's (4), process (4), directory (4), name with its length (1),
            and what the operation adds
            anything else: what the operation says

Little endian. Processes and directories are numbers that an earlier record of the same mount explains; 0 is nobody and
nowhere. A directory's record names it in another, the root's in none: after a directory moved, all get new numbers. The
name is empty for the root itself.
"""

import struct
from enum import IntEnum
from typing import Final
from zlib import crc32

MAGIC: Final = b"cowfs journal 1\n"
FRAME: Final = struct.Struct("<II")
TIME: Final = struct.Struct("<Q")
HEAD: Final = struct.Struct("<HBHIIIB")  # of a change
SHORT: Final = struct.Struct("<HB")  # of another record

MODE: Final = struct.Struct("<I")  # mkdir
CREATED: Final = struct.Struct("<II")  # create: mode, handle
DEVICE: Final = struct.Struct("<IQ")  # mknod: mode, rdev
PLACE: Final = struct.Struct("<I")  # link: directory of the older name, which follows
RENAMED: Final = struct.Struct("<IHI")  # rename: directory of the new name, layer of what was there, flags; new name
ATTRIBUTES: Final = struct.Struct("<BIIIQ")  # mask, mode, uid, gid, size
OPENED: Final = struct.Struct("<IQ")  # handle, size
CLOSED: Final = struct.Struct("<IQQQ")  # handle, size before and after, bytes written
WRITTEN: Final = struct.Struct("<IQQ")  # handle, offset, bytes
PROCESS: Final = struct.Struct("<IIIIIIQBHHI")  # number, parent, pid, pid inside, uid, gid, start, flags, three lengths
DIRECTORY: Final = struct.Struct("<II")  # number, that of its parent; the name follows
COUNT: Final = struct.Struct("<Q")

NO_LAYER: Final = 0  # there was nothing before
UNKNOWN: Final = (1 << 64) - 1  # bytes written past us: only the sizes tell
UPPER: Final = 0xFFFF  # it was the upper's; all other numbers are those of layers, from the bottom, from 1

EXCHANGE: Final = 2  # of the flags of a rename: RENAME_EXCHANGE

SET_MODE: Final = 1
SET_OWNER: Final = 2
SET_GROUP: Final = 4
SET_SIZE: Final = 8
SET_TIMES: Final = 16

ARGV_CUT: Final = 1  # flags of a process: its arguments were longer than what is kept
ARGV_LIMIT: Final = 16 << 10  # bytes
TEXT_LIMIT: Final = 4096  # bytes of a path or target


class Op(IntEnum):
    """What a record tells."""

    START = 1  # a mount begins; all numbers before are void
    END = 2  # it ended in order
    FULL = 3  # the limit is reached: nothing follows
    PROCESS = 4
    DIRECTORY = 5
    LOST = 6  # so many records could not be written

    CREATE = 16
    MKDIR = 17
    MKNOD = 18
    SYMLINK = 19
    LINK = 20
    UNLINK = 21
    RMDIR = 22
    RENAME = 23
    ATTRIBUTES = 24
    SETXATTR = 25
    REMOVEXATTR = 26
    OPEN = 27  # for writing; no change yet
    CLOSE = 28  # of a handle that was open for writing
    WRITE = 29  # one write, where each is recorded


def frame(time_ns: int, records: list[bytes]) -> bytes:
    """Records that are written at once."""
    payload = TIME.pack(time_ns) + b"".join(records)
    return FRAME.pack(len(payload), crc32(payload)) + payload


def directory(number: int, parent: int, name: bytes) -> bytes:
    """The record that explains a directory; the root has no parent, and no name."""
    return short(Op.DIRECTORY, DIRECTORY.pack(number, parent) + name)


def short(op: Op, body: bytes = b"") -> bytes:
    """A record that is no change."""
    return SHORT.pack(SHORT.size + len(body), op) + body


def process(
    number: int,
    parent: int,
    *,
    pid: int,
    inner_pid: int,
    uid: int,
    gid: int,
    started: int,
    exe: bytes,
    cwd: bytes,
    argv: bytes,
) -> bytes:
    """The record that explains a process; ``argv`` as /proc/PID/cmdline has it, ``started`` in ticks since the boot."""
    cut = ARGV_CUT if len(argv) > ARGV_LIMIT else 0
    exe, cwd, argv = exe[:TEXT_LIMIT], cwd[:TEXT_LIMIT], argv[:ARGV_LIMIT]
    sizes = len(exe), len(cwd), len(argv)
    body = PROCESS.pack(number, parent, pid, inner_pid, uid, gid, started, cut, *sizes)
    return short(Op.PROCESS, body + exe + cwd + argv)
