"""The file that a journal is: what a reader gets of it whatever became of its end."""

import os
from pathlib import Path

import pytest

from cowfs.errors import StoreError
from cowfs.journal import records
from cowfs.journal.reader import Change, Reader, lost_at_the_end
from cowfs.journal.records import NO_LAYER, Op
from cowfs.journal.writer import BATCH, Journal

PLACE = 50


def directory(journal: Journal, path: bytes) -> None:
    """It gets the number PLACE, and those above it the numbers from 1."""
    names = [b"", *path.split(b"/")] if path else [b""]
    for parent, name in enumerate(names):
        journal.append(records.directory(PLACE if parent == len(names) - 1 else parent + 1, parent, name))


def made(journal: Journal, count: int) -> None:
    for number in range(count):
        journal.change(Op.MKDIR, NO_LAYER, 0, PLACE, b"d%d" % number, records.MODE.pack(0o755))


def read(path: Path) -> tuple[list[Change], Reader]:
    reader = Reader(path)
    return list(reader.more()), reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_what_is_written_is_read(path: Path) -> None:
    journal = Journal(path)
    directory(journal, b"usr/bin")
    made(journal, 3)
    journal.close()
    changes, reader = read(path)
    assert [change.path for change in changes] == [b"usr/bin/d0", b"usr/bin/d1", b"usr/bin/d2"]
    assert {change.mode for change in changes} == {0o755}
    assert (reader.ended, reader.full, reader.lost, reader.unread) == (True, False, 0, 0)
    assert lost_at_the_end(path) == 0
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_reader_goes_on_where_it_stopped(path: Path) -> None:
    journal = Journal(path)
    directory(journal, b"")
    made(journal, 1)
    journal.flush()
    reader = Reader(path)
    assert [change.path for change in reader.more()] == [b"d0"]
    assert list(reader.more()) == []
    made(journal, 2)
    journal.close()
    assert [change.path for change in reader.more()] == [b"d0", b"d1"]
    assert reader.ended


def test_a_torn_tail_costs_only_itself(path: Path) -> None:
    journal = Journal(path)
    directory(journal, b"")
    made(journal, 1)
    journal.flush()
    whole = path.stat().st_size
    made(journal, 1)
    journal.flush()
    os.close(journal._fd)  # as a kill would
    data = path.read_bytes()
    for end in range(whole, len(data)):
        path.write_bytes(data[:end])
        changes, reader = read(path)
        assert len(changes) == 1, end
        assert reader.unread == end - whole
        assert not reader.ended
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert len(read(path)[0]) == 1


def test_the_next_mount_cuts_a_torn_tail_off_and_goes_on(path: Path) -> None:
    journal = Journal(path)
    directory(journal, b"a")
    made(journal, 1)
    journal.close()
    with path.open("ab") as file:
        file.write(b"half a frame")
    journal = Journal(path)
    directory(journal, b"b")
    made(journal, 1)
    journal.close()
    changes, reader = read(path)
    assert [change.path for change in changes] == [b"a/d0", b"b/d0"]
    assert (reader.ended, reader.unread) == (True, 0)


def test_a_full_journal_says_so_and_how_much_is_missing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limit = 100_000
    journal = Journal(path, limit)
    directory(journal, b"")
    made(journal, 20 * BATCH)
    journal.close()
    changes, reader = read(path)
    assert reader.full
    assert reader.lost > 0
    assert len(changes) + reader.lost == 20 * BATCH
    assert path.stat().st_size <= limit
    assert lost_at_the_end(path) == reader.lost
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} has reached its limit of {limit} bytes: further changes are not recorded"
    ]
    caplog.clear()


def test_one_mount_at_a_time(path: Path) -> None:
    journal = Journal(path)
    with pytest.raises(BlockingIOError, match="journal"):
        Journal(path)
    journal.close()


def test_another_file_is_left_alone(path: Path) -> None:
    path.write_text("somebody's letters")
    with pytest.raises(OSError, match="not a journal"):
        Journal(path)
    with pytest.raises(StoreError, match="not a journal"):
        read(path)
    assert path.read_text() == "somebody's letters"


def test_records_of_a_later_version_are_skipped(path: Path) -> None:
    journal = Journal(path)
    directory(journal, b"")
    journal.change(200, NO_LAYER, 0, PLACE, b"new", b"whatever it has")
    journal.append(records.short(Op(7)) if 7 in set(Op) else records.SHORT.pack(7, 15) + b"abcd")
    made(journal, 1)
    journal.close()
    assert [change.path for change in read(path)[0]] == [b"d0"]


def test_a_directory_in_itself_is_refused(path: Path) -> None:
    journal = Journal(path)
    journal.append(records.directory(PLACE, PLACE, b"a"))
    made(journal, 1)
    journal.close()
    with pytest.raises(StoreError, match="makes no sense"):
        read(path)


def test_a_journal_that_nobody_needed_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "cowfs" / "journal"
    journal = Journal(path, when_needed=True)
    journal.append(records.directory(PLACE, 0, b""))
    assert not journal.is_waiting
    journal.flush()
    journal.close()
    assert not path.parent.exists()


def test_the_first_change_makes_it_with_all_that_was_known_before(tmp_path: Path) -> None:
    path = tmp_path / "cowfs" / "journal"
    for _ in range(2):  # the second time it goes on
        journal = Journal(path, when_needed=True)
        directory(journal, b"srv")
        woken: list[bool] = []
        journal.wake = lambda woken=woken: woken.append(True)  # type: ignore[misc]
        made(journal, 2)
        assert woken
        journal.close()
    changes, reader = read(path)
    assert [change.path for change in changes] == [b"srv/d0", b"srv/d1"] * 2
    assert (reader.ended, reader.lost) == (True, 0)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_what_is_known_before_the_first_change_does_not_pile_up(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, when_needed=True)
    for _ in range(BATCH):
        journal.append(records.directory(PLACE, 0, b""))
    journal.flush()
    assert path.stat().st_size > BATCH
    journal.close()


def test_a_needed_journal_that_cannot_be_made_costs_only_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cowfs").write_text("in the way")
    journal = Journal(tmp_path / "cowfs" / "journal", when_needed=True)
    made(journal, 3)
    journal.close()
    assert journal.lost == 3
    assert "further changes are not recorded" in caplog.text
    caplog.clear()


def test_whoever_wants_to_gets_all_of_it_even_if_it_was_removed(path: Path) -> None:
    copies: list[bytes] = []
    journal = Journal(path, ended=lambda fd: copies.append(os.pread(fd, 1 << 20, 0)))
    directory(journal, b"")
    made(journal, 1)
    journal.flush()
    path.unlink()
    journal.close()
    path.write_bytes(copies[0])
    changes, reader = read(path)
    assert ([change.path for change in changes], reader.ended) == ([b"d0"], True)


def test_processes_of_a_second_mount_are_others(path: Path) -> None:
    for name in (b"first", b"second"):
        journal = Journal(path)
        argv = name + b"\0"
        journal.append(
            records.process(1, 0, pid=7, inner_pid=1, uid=0, gid=0, started=1, exe=b"/x", cwd=b"/", argv=argv)
        )
        directory(journal, b"")
        journal.change(Op.MKDIR, NO_LAYER, 1, PLACE, name, records.MODE.pack(0o755))
        journal.close()
    changes, _ = read(path)
    found = [change.process for change in changes]
    assert [(one.number, one.argv) for one in found if one] == [(1, (b"first",)), (2, (b"second",))]
