"""Locks between processes: kept by the kernel for the file, so across its copy-up, its rename and its other names."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable

import pytest

from tests.behaviour.conftest import Make
from tests.behaviour.fs import errno_of, write_all
from tests.behaviour.layers import directory, file, hard_link

pytestmark = pytest.mark.kernel

BASE = [file(b"file", b"x" * 100), hard_link(b"name", b"file"), directory(b"d")]
F_OFD_SETLK = 37
_FLOCK = struct.Struct("hhqqixxxx")  # struct flock on 64-bit machines


def in_another_process(work: Callable[[], int]) -> int:
    """What ``work`` answers, in a process that has none of our locks."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def lock_elsewhere(path: bytes, start: int) -> int:
    """The errno of an exclusive lock of one byte by somebody else."""

    def work() -> int:
        fd = os.open(path, os.O_RDWR)
        return errno_of(fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, start)

    return in_another_process(work)


def test_a_record_lock_holds_across_the_copy_up_for_every_name(make: Make) -> None:
    fs = make(BASE)
    handle = fs.open(b"file", os.O_RDWR)
    fcntl.fcntl(handle.fd, F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 50, 10, 0))
    for happens in (
        lambda: None,
        lambda: write_all(fs, b"name", b"new", 0),
        lambda: fs.rename(b"file", b"d/moved"),
        lambda: fs.chmod(b"d/moved", 0o600),
    ):
        happens()
        for name in (b"name", b"file" if b"file" in {e.name for e in fs.listdir(b"")} else b"d/moved"):
            assert lock_elsewhere(fs.path(name), 55) == errno.EAGAIN
            assert lock_elsewhere(fs.path(name), 60) == 0
    fcntl.fcntl(handle.fd, F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 50, 10, 0))
    assert lock_elsewhere(fs.path(b"name"), 55) == 0
    handle.close()


def test_who_holds_a_record_lock_is_told(make: Make) -> None:
    fs = make([file(b"file", b"x")])
    handle = fs.open(b"file", os.O_RDWR)
    fcntl.lockf(handle.fd, fcntl.LOCK_EX)

    def ask() -> int:
        fd = os.open(fs.path(b"file"), os.O_RDWR)
        kind, _, start, length, pid = _FLOCK.unpack(
            fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        )
        return 0 if (kind, start, length, pid) == (fcntl.F_WRLCK, 0, 0, os.getppid()) else 1

    assert in_another_process(ask) == 0
    handle.close()


def test_record_locks_end_with_any_close_of_their_process_and_those_of_descriptions_do_not(make: Make) -> None:
    fs = make([file(b"file", b"x" * 10)])
    handle = fs.open(b"file", os.O_RDWR)
    fcntl.lockf(handle.fd, fcntl.LOCK_EX)
    fs.open(b"file", os.O_RDONLY).close()
    assert lock_elsewhere(fs.path(b"file"), 0) == 0
    fcntl.fcntl(handle.fd, F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    write_all(fs, b"file", b"new", 0)
    fs.open(b"file", os.O_RDONLY).close()
    assert lock_elsewhere(fs.path(b"file"), 0) == errno.EAGAIN
    handle.close()
    assert lock_elsewhere(fs.path(b"file"), 0) == 0
