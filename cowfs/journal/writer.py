"""The file that a journal is: appended in batches, bounded, closed in order.

A record is in memory until its batch is written: when ``BATCH`` are waiting, when whoever owns the journal says so (it
is told by ``wake`` that records wait), at the end. That is what a kill -9 loses. Nothing is fsynced. What cannot be
written is counted and told once: it never costs an operation.
"""

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path
from time import time_ns
from typing import Final
from zlib import crc32

from cowfs.journal import records
from cowfs.journal.records import Op

log = logging.getLogger(__name__)

BATCH: Final = 512  # records
LIMIT: Final = 1 << 30  # bytes of a journal where nobody says another
_RESERVE: Final = 64  # bytes: room for the record that says it is full
_pack: Final = records.HEAD.pack
_HEAD: Final = records.HEAD.size
_LATEST: Final = 0xFFFFFFFF  # us since a batch began


class Journal:
    """One journal, open for appending. Not safe for threads."""

    def __init__(
        self,
        path: Path,
        limit: int = LIMIT,
        *,
        when_needed: bool = False,
        ended: Callable[[int], None] | None = None,
    ) -> None:
        """Open or make ``path``; what a killed writer left half is cut off. Raises OSError (EAGAIN: it is in use).

        ``when_needed``: only the first change does, and makes the directory; where that fails, nothing is recorded.
        ``ended`` is called with the descriptor when all is written.
        """
        self.wake: Callable[[], None] = lambda: None
        self.lost = 0  # records
        self._limit = limit
        self._ended = ended
        self._waiting: list[bytes] = [records.short(Op.START)]
        self._began = time_ns()
        self._stopped = False
        self._path = path
        self._size = 0
        self._fd = -1
        self._needed = not when_needed
        if self._needed:
            self._open()

    def _open(self) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = _resume(fd)
        except OSError as failure:
            os.close(fd)
            raise OSError(failure.errno, failure.strerror, os.fspath(self._path)) from None
        self._fd = fd

    def _need(self) -> None:
        """Something is to be written, and nothing was so far."""
        self._needed = True
        self._began = time_ns()
        try:
            with contextlib.suppress(FileExistsError):
                self._path.parent.mkdir(mode=0o700)
            self._open()
        except OSError as failure:
            self._stop([], f"cannot be written: {failure.strerror}")
        self.wake()

    @property
    def is_waiting(self) -> bool:
        """Are there records that are to be written?"""
        return self._needed and bool(self._waiting)

    def change(self, op: int, layer: int, process: int, directory: int, name: bytes, rest: bytes = b"") -> None:
        """Record a change."""
        if not self._needed:
            self._need()
        if self._stopped:
            self.lost += 1
            return
        waiting, now = self._waiting, time_ns()
        if not waiting:
            self._began = now
            self.wake()
        since = (now - self._began) // 1000
        if not 0 <= since <= _LATEST:  # the clock was set
            since = 0 if since < 0 else _LATEST
        size = len(name)
        waiting.append(_pack(_HEAD + size + len(rest), op, layer, since, process, directory, size) + name + rest)
        if len(waiting) >= BATCH:
            self.flush()

    def append(self, record: bytes) -> None:
        """Record anything else."""
        if not self._waiting:
            self._began = time_ns()
            self.wake()
        self._waiting.append(record)
        if not self._needed and len(self._waiting) >= BATCH:  # they are not for ever only in memory
            self._need()

    def flush(self) -> None:
        """Write what waits."""
        if not self._needed:
            return
        waiting, self._waiting = self._waiting, []
        if not waiting or self._stopped:
            return
        data = records.frame(self._began, waiting)
        if self._size + len(data) <= self._limit - _RESERVE:
            self._write(data, waiting)
            return
        self._stop(waiting, f"has reached its limit of {self._limit} bytes")
        self._write(records.frame(self._began, [records.short(Op.FULL)]), [])

    def _write(self, data: bytes, waiting: list[bytes]) -> None:
        try:
            written = os.write(self._fd, data)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as failure:
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, self._size, os.SEEK_SET)
            self._stop(waiting, f"cannot be written: {failure.strerror}")
        else:
            self._size += len(data)

    def _stop(self, waiting: list[bytes], why: str) -> None:
        """For good: what follows would speak of processes and directories that were never written."""
        if not self._stopped:
            log.warning("%s %s: further changes are not recorded", self._path, why)
        self._stopped = True
        self.lost += sum(record[2] >= Op.CREATE for record in waiting)

    def close(self) -> None:
        """Write what waits and that it is the end. May be called twice."""
        if self._fd < 0:
            return
        self.flush()
        end = [records.short(Op.END)]
        if self.lost:
            end.insert(0, records.short(Op.LOST, records.COUNT.pack(self.lost)))
        self._write(records.frame(time_ns(), end), [])
        try:
            if self._ended is not None:
                self._ended(self._fd)
        finally:
            os.close(self._fd)
            self._fd = -1


def _resume(fd: int) -> int:
    """Where to go on: behind the last whole frame."""
    size = os.fstat(fd).st_size
    if not size:
        os.write(fd, records.MAGIC)
        return len(records.MAGIC)
    if os.pread(fd, len(records.MAGIC), 0) != records.MAGIC:
        raise OSError(errno.EINVAL, "it is not a journal")
    end = _end(fd, size)
    os.ftruncate(fd, end)
    os.lseek(fd, end, os.SEEK_SET)
    return end


def _end(fd: int, size: int) -> int:
    """Where the last whole frame ends."""
    at = len(records.MAGIC)
    while at + records.FRAME.size <= size:
        length, check = records.FRAME.unpack(os.pread(fd, records.FRAME.size, at))
        after = at + records.FRAME.size + length
        if after > size or crc32(os.pread(fd, length, at + records.FRAME.size)) != check:
            break
        at = after
    return at
