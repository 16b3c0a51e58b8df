"""Who waits for a file to change: an inotify watch, and when a program that follows a file has got that far."""

import ctypes
import os
import select
import struct
import time
from pathlib import Path

from tests.behaviour.syscalls import check, libc

MODIFY = 0x2
_EVENT = struct.Struct("iIII")
_PATIENCE = 10.0  # seconds: more than anything here takes
_SILENCE = 0.3  # seconds after which nothing comes any more


class Watch:
    """A watch of one path."""

    def __init__(self, path: bytes, mask: int) -> None:
        self.fd = check(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        check(libc.inotify_add_watch(self.fd, path, ctypes.c_uint32(mask)))

    def events(self) -> list[int]:
        """The masks of what happened since the last time. Events are queued before the write returns."""
        found, position = [], 0
        try:
            queued = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        while position < len(queued):
            _, mask, _, length = _EVENT.unpack_from(queued, position)
            found.append(mask)
            position += _EVENT.size + length
        return found

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def readable(fd: int, timeout: float = _PATIENCE) -> bool:
    """Is there something to read, after some time at most?"""
    return bool(select.select([fd], [], [], timeout)[0])


def wait_until_reads(pid: int, path: bytes) -> None:
    """Until a process has opened the file and is past its end: what it does next is to wait for more."""
    end = time.monotonic() + _PATIENCE
    size = os.stat(path).st_size
    while time.monotonic() < end:
        for fd in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                if os.readlink(fd) == os.fsdecode(path) and _position(pid, fd.name) >= size:
                    return
            except FileNotFoundError:
                continue
        time.sleep(0.01)
    raise AssertionError("the program did not open the file")


def _position(pid: int, fd: str) -> int:
    return int(Path(f"/proc/{pid}/fdinfo/{fd}").read_text().split()[1])
