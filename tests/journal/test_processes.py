"""Who asks: a number names one process, whatever becomes of its pid."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cowfs.journal import records
from cowfs.journal.processes import Processes
from cowfs.journal.reader import Process, Reader
from cowfs.journal.writer import Journal


class Seen:
    """Processes, and what their records say."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal(path)
        self.people = Processes(self.journal.append)
        self.path = path

    def number(self, pid: int, uid: int = 0) -> int:
        return self.people.number_of(pid, uid, 0)

    def known(self) -> dict[int, Process]:
        self.journal.flush()
        reader = Reader(self.path)
        assert not list(reader.more())
        return reader._processes


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    seen = Seen(tmp_path / "journal")
    yield seen
    seen.people.close()
    seen.journal.close()


def sleeper(*arguments: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(["sh", "-c", 'echo up; read line; exec "$@"', "-", *arguments], stdin=-1, stdout=-1)
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    return process


def ended(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()


def test_another_process_of_the_same_number_is_another(seen: Seen) -> None:
    first = sleeper("first")
    number = seen.number(first.pid)
    assert seen.number(first.pid) == number
    ended(first)
    second = _with_pid(first.pid)
    try:
        other = seen.number(second)
        assert other not in (0, number)
    finally:
        os.kill(second, 9)
        os.waitpid(second, 0)
    assert seen.number(second) == 0, "nobody has it now"
    assert seen.known()[number].argv[-1] == b"first"
    assert seen.known()[other].argv[-1] == b"second"


def _with_pid(wanted: int) -> int:
    """A process of that number, which is free."""
    for _ in range(500):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(wanted - 1))
        pid = os.fork()
        if pid == 0:
            os.execlp(sys.executable, sys.executable, "-c", "import time; time.sleep(100)", "second")
        if pid == wanted:
            while b"second" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                pass
            return pid
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    raise AssertionError("somebody else is always faster")


def test_the_same_process_is_another_once_it_executed_something(seen: Seen) -> None:
    process = sleeper("sleep", "100")
    try:
        before = seen.number(process.pid)
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.flush()
        while Path(f"/proc/{process.pid}/cmdline").read_bytes() != b"sleep\x00100\x00":
            pass
        after = seen.number(process.pid)
    finally:
        ended(process)
    known = seen.known()
    assert known[before].argv[0] == b"sh"
    assert known[after].argv == (b"sleep", b"100")
    assert known[before].pid == known[after].pid


def test_a_program_of_the_same_name_is_known_by_its_opening(seen: Seen) -> None:
    process = sleeper("sh", "-c", "echo up; read line", "again")
    try:
        before = seen.number(process.pid)
        seen.people.executing(process.pid)
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"up\n"
        after = seen.number(process.pid)
    finally:
        ended(process)
    assert after != before
    assert seen.known()[after].argv[-1] == b"again"


def test_programs_that_open_nothing_are_forgotten_when_they_ended(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cowfs.journal.processes._PROCESSES", 3)
    for _ in range(8):
        process = subprocess.Popen(["true"])
        process.wait()
        seen.people.executing(process.pid)
    assert len(seen.people._executing) <= 3


def test_who_adopts_a_process_is_not_its_parent(seen: Seen) -> None:
    """The parent is the one that was there when the process was first seen."""
    script = "sh -c 'echo $$; exec sleep 100' & echo $!; wait"
    parent = subprocess.Popen(["sh", "-c", script, "the-parent"], stdin=-1, stdout=-1)
    assert parent.stdout
    child = int(parent.stdout.readline())
    parent.stdout.readline()
    seen.people.executing(child)
    parent.kill()
    parent.wait()
    number = seen.number(child)
    os.kill(child, 9)
    parent.communicate()
    above = seen.known()[number].parent
    assert above is not None
    assert above.argv[-1] == b"the-parent"


def test_users_are_told_apart_and_known_again(seen: Seen) -> None:
    me = os.getpid()
    root, other = seen.number(me), seen.number(me, 42)
    assert root != other
    assert (seen.number(me), seen.number(me, 42)) == (root, other)
    assert seen.known()[other].uid == 42


def test_nobody_and_long_arguments(seen: Seen) -> None:
    assert seen.number(0) == 0
    process = sleeper("x" * (records.ARGV_LIMIT + 10))
    try:
        number = seen.number(process.pid)
    finally:
        ended(process)
    known = seen.known()[number]
    assert known.cut
    assert sum(map(len, known.argv)) <= records.ARGV_LIMIT
