"""Who asks: the process behind a request, read from /proc while it waits for the answer, and remembered.

A number never names the wrong process:

    what may have happened            how it is known
    --------------------------------  ------------------------------------------------------------------------------
    the thread ended, another has     its comm file was opened when it was read: reading it again fails then
    its number
    the thread executed a program     its comm differs, or the program (or its loader) was opened for execution before:
                                      ``executing``
    another user                      the request says which, and it is part of what is remembered

What is left is a process that had changed something, and then executes a static program of the same first 15 letters
that is not on the mount: it is taken for what it was before.

Nothing here waits for the process. Its arguments are read from its memory, which the kernel does without asking us for
pages (FOLL_ANON, CVE-2018-1120).
"""

import contextlib
import os
from collections.abc import Callable
from typing import Final, NamedTuple

from cowfs.journal import records

_READ: Final = os.O_RDONLY | os.O_CLOEXEC
_ENTRIES: Final = 512  # threads whose comm file is open
_PROCESSES: Final = 8192  # processes that are remembered
_FACES: Final = 64  # programs and users of one process
_DEPTH: Final = 64  # generations
_COMM: Final = 64  # bytes
_STATUS: Final = 16 << 10  # bytes: the groups of a process may be many
_NOBODY: Final = 0
_pread: Final = os.pread


class Process:
    """One process, from its start to its end; ``number`` is that of what it executes now."""

    __slots__ = ("executing", "known", "number", "numbers", "parent", "started")

    def __init__(self, started: int) -> None:
        self.started = started
        self.parent = _NOBODY  # as it was when the process was first seen: later it may be whoever adopted it
        self.number = _NOBODY
        self.executing = False  # it is about to be something else
        self.known: dict[tuple[bytes, bytes, int, int], int] = {}  # numbers by comm, program and user
        self.numbers: dict[tuple[bytes, bytes, int, int], int] = {}  # numbers by arguments, program and user


class _Thread:
    __slots__ = ("comm", "comm_fd", "number", "process", "uid")

    def __init__(self, process: Process, comm_fd: int, comm: bytes, uid: int, number: int) -> None:
        self.process = process
        self.comm_fd = comm_fd
        self.comm = comm
        self.uid = uid
        self.number = number


class _Status(NamedTuple):
    leader: int
    parent: int
    inner: int
    level: int  # pid namespaces above it, as far as we see them
    uid: int
    gid: int


class Processes:
    """The processes that asked, by the number of the thread (``ctx.pid``). ``write`` gets the records of new ones."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._threads: dict[int, _Thread] = {}
        self._processes: dict[int, Process] = {}
        self._executing: set[int] = set()
        self._count = 0
        self._level = _read_status(os.getpid()).level

    def close(self) -> None:
        """Close all files."""
        for thread in self._threads.values():
            os.close(thread.comm_fd)
        self._threads.clear()

    def number_of(self, pid: int, uid: int, gid: int) -> int:
        """The number of the process of a thread that waits for us; 0 where it cannot be seen."""
        thread = self._threads.get(pid)
        if thread is not None and thread.uid == uid and pid not in self._executing:  # as _is_unchanged: this is hot
            try:
                if _pread(thread.comm_fd, _COMM, 0) == thread.comm:
                    return thread.number
            except OSError:
                pass
        return self._look(pid, uid, gid)

    def _is_unchanged(self, pid: int, thread: _Thread) -> bool:
        if pid in self._executing:
            return False
        try:
            return os.pread(thread.comm_fd, _COMM, 0) == thread.comm
        except OSError:  # ESRCH: it ended
            return False

    def process_of(self, pid: int) -> Process | None:
        """The process of a thread for which ``number_of`` was just asked."""
        thread = self._threads.get(pid)
        return None if thread is None else thread.process

    def executing(self, pid: int) -> None:
        """A thread opens a program in order to execute it: soon it is something else."""
        if len(self._executing) >= _PROCESSES:  # programs that opened nothing: most of them ended
            self._executing = {one for one in self._executing if os.path.exists(f"/proc/{one}")}
        self._executing.add(pid)
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            self._meet(_read_status(pid), 0)[0].executing = True

    def opened(self, pid: int, uid: int, gid: int) -> None:
        """A thread opens a file: the first after it executed a program shows what it is now, and of whom."""
        if pid in self._executing:
            self._look(pid, uid, gid)

    # --- reading ------------------------------------------------------------------------------------------

    def _look(self, pid: int, uid: int, gid: int) -> int:
        self._executing.discard(pid)
        old = self._threads.pop(pid, None)
        if old is not None:
            os.close(old.comm_fd)
        if pid <= 0:
            return _NOBODY
        try:
            comm_fd = os.open(f"/proc/{pid}/comm", _READ)
        except OSError:
            return _NOBODY
        try:
            comm = os.pread(comm_fd, _COMM, 0)
            status = _read_status(pid)
            process = self._process(status, uid, gid, 0)
            os.pread(comm_fd, 1, 0)  # it is the same still
        except (OSError, ValueError, KeyError, IndexError):
            os.close(comm_fd)
            return _NOBODY
        if len(self._threads) >= _ENTRIES:
            os.close(self._threads.pop(next(iter(self._threads))).comm_fd)
            self._executing &= self._threads.keys()
        self._threads[pid] = _Thread(process, comm_fd, comm, uid, process.number)
        return process.number

    def _process(self, status: _Status, uid: int, gid: int, depth: int) -> Process:
        """A process with the number of what it executes now."""
        process, comm = self._meet(status, depth)
        exe = _link(status.leader, "exe")
        known = None if process.executing else process.known.get((comm, exe, uid, gid))
        if known is None:
            known = self._number(process, status, exe, uid, gid)
            process.known[comm, exe, uid, gid] = known
            process.executing = False
        process.number = known
        return process

    def _is_inside(self, pid: int) -> bool:
        try:
            return _read_status(pid).level > self._level
        except (OSError, ValueError, KeyError):
            return False

    def _number(self, process: Process, status: _Status, exe: bytes, uid: int, gid: int) -> int:
        """By its arguments. To read them takes a lock of its memory, which its other threads may hold while they wait
        for us: so it is done once for each program that it executes, when there are no others yet."""
        argv = _read(f"/proc/{status.leader}/cmdline", records.ARGV_LIMIT + 1)
        known = process.numbers.get((argv, exe, uid, gid))
        if known is not None:
            return known
        if len(process.numbers) >= _FACES:
            process.numbers.clear()
            process.known.clear()
        self._count += 1
        process.numbers[argv, exe, uid, gid] = self._count
        record = records.process(
            self._count,
            process.parent,
            pid=status.leader,
            inner_pid=status.inner,
            uid=uid,
            gid=gid,
            started=process.started,
            exe=exe,
            cwd=_link(status.leader, "cwd"),
            argv=argv,
        )
        self._write(record)
        return self._count

    def _meet(self, status: _Status, depth: int) -> tuple[Process, bytes]:
        """A process and its comm, and now if not before its parent: later that may have ended."""
        comm, started = _read_stat(status.leader)
        process = self._processes.get(status.leader)
        if process is None or process.started != started:
            process = Process(started)
            process.parent = self._parent(status, depth)
            self._processes.pop(status.leader, None)
            self._processes[status.leader] = process
            if len(self._processes) > _PROCESSES:
                del self._processes[next(iter(self._processes))]
        return process, comm

    def _parent(self, status: _Status, depth: int) -> int:
        """The number of the parent; nobody's where that is outside the container that the process is in."""
        if status.parent <= 0 or depth >= _DEPTH:
            return _NOBODY
        if status.level > self._level and not self._is_inside(status.parent):
            return _NOBODY
        thread = self._threads.get(status.parent)
        if thread is not None and self._is_unchanged(status.parent, thread):
            return thread.number
        try:
            above = _read_status(status.parent)
            return self._process(above, above.uid, above.gid, depth + 1).number
        except (OSError, ValueError, KeyError, IndexError):  # it ended this moment
            return _NOBODY


def _read_status(pid: int) -> _Status:
    text = _read(f"/proc/{pid}/status", _STATUS)
    leader, parent = _field(text, b"Tgid"), _field(text, b"PPid")
    uid, gid = _field(text, b"Uid").split()[3], _field(text, b"Gid").split()[3]  # what files are accessed as
    inner = _field(text, b"NStgid").split()
    if not inner and len(text) == _STATUS:
        raise ValueError("it is in more groups than are read")
    return _Status(int(leader), int(parent), int((inner or [leader])[-1]), len(inner) or 1, int(uid), int(gid))


def _field(text: bytes, name: bytes) -> bytes:
    """What the line of this name has (proc_pid_status(5)); empty where there is none."""
    return text.partition(b"\n" + name + b":\t")[2].partition(b"\n")[0]


def _read_stat(pid: int) -> tuple[bytes, int]:
    """Its comm, and its start in ticks since the boot."""
    before, _, after = _read(f"/proc/{pid}/stat", 1024).rpartition(b") ")
    return before.partition(b" (")[2], int(after.split()[19])


def _link(pid: int, name: str) -> bytes:
    try:
        return os.fsencode(os.readlink(f"/proc/{pid}/{name}"))
    except OSError:  # a kernel thread, or no permission
        return b""


def _read(path: str, limit: int) -> bytes:
    fd = os.open(path, _READ)
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)
