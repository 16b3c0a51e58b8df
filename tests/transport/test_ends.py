"""How mounts end: nothing is left, whoever dies."""

import ctypes
import mmap
import os
import signal
import time
from pathlib import Path

import pytest

from cowfs.errors import MountError
from cowfs.fuse.serve import start, unmount
from cowfs.fuse.transport import handshake
from cowfs.options import MountOptions
from tests.transport.conftest import Mount, in_child

BOTH = pytest.mark.parametrize("transport", ["auto", "plain"])


def mounts_below(top: Path) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {top}/" in line]


def has_ended(pid):
    """Is it gone, or dead and nobody waited for it?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except OSError:
        return True


@BOTH
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_mount(tmp_path, transport, number):
    def work():
        mount = Mount(tmp_path, transport)
        mount.start()
        os.kill(mount.pid, number)
        _, status = os.waitpid(mount.pid, 0)
        assert mounts_below(tmp_path) == []
        return os.waitstatus_to_exitcode(status)

    assert in_child(work) == 0


@BOTH
def test_an_unmount_ends_the_process(tmp_path, transport):
    def work():
        mount = Mount(tmp_path, transport)
        mount.start()
        (mount.merged / "file").write_bytes(b"x")
        unmount(mount.merged)
        _, status = os.waitpid(mount.pid, 0)
        assert (tmp_path / "upper" / "file").read_bytes() == b"x"
        assert os.listdir(tmp_path / "work" / "work") == []
        return os.waitstatus_to_exitcode(status)

    assert in_child(work) == 0


@BOTH
def test_the_process_ends_with_whoever_started_it(tmp_path, transport):
    def work():
        mount = Mount(tmp_path, transport)
        mount.start()
        return mount.pid

    pid = in_child(work)
    for _ in range(500):
        if has_ended(pid):
            return
        time.sleep(0.01)
    pytest.fail("the file system process outlived the one that started it")


@BOTH
def test_a_start_that_fails_leaves_nothing_and_says_why(tmp_path, transport):
    def work():
        (tmp_path / "merged").mkdir()
        options = MountOptions(lowers=(tmp_path / "absent",), transport=transport)
        with pytest.raises(MountError, match="absent: No such file or directory"):
            start(options, tmp_path / "merged", detach=True)
        return mounts_below(tmp_path)

    assert in_child(work) == []


@pytest.mark.parametrize("broken", ["session", "answer"])
def test_a_start_that_fails_after_the_mount_leaves_nothing(tmp_path, monkeypatch, broken):
    def refuse(_connection):
        raise OSError(5, "refused")

    if broken == "session":  # libfuse does not take the descriptor
        monkeypatch.setattr(handshake.Connection, "path", property(lambda _: "/dev/fd/987"))
    else:
        monkeypatch.setattr(handshake.Connection, "answer", refuse)

    def work():
        mount = Mount(tmp_path, "auto")
        with pytest.raises(MountError, match="refused" if broken == "answer" else "cannot be mounted"):
            mount.start()
        return mounts_below(tmp_path)

    assert in_child(work) == []


@BOTH
def test_what_was_written_through_a_mapping_is_not_lost_at_the_end(tmp_path, transport):
    def work():
        mount = Mount(tmp_path, transport)
        mount.start()
        file = os.open(mount.merged / "file", os.O_RDWR | os.O_CREAT)  # stays open: a close would fail in the end
        os.truncate(file, 1 << 20)
        with mmap.mmap(file, 0) as mapped:
            mapped[:4] = b"data"
            mapped[-4:] = b"last"
            os.kill(mount.pid, signal.SIGTERM)
            os.waitpid(mount.pid, 0)
        written = (tmp_path / "upper" / "file").read_bytes()
        assert (written[:4], written[-4:]) == (b"data", b"last")
        assert mounts_below(tmp_path) == []

    in_child(work)


def test_a_write_back_that_does_not_end_keeps_no_mount_alive(tmp_path):
    def work():
        from cowfs.fuse import session

        session._WRITE_BACK = 0.2
        session.Session._write_back = lambda *_: time.sleep(1000)
        mount = Mount(tmp_path, "auto")
        mount.start()
        os.kill(mount.pid, signal.SIGTERM)
        os.waitpid(mount.pid, 0)
        return mounts_below(tmp_path), (tmp_path / "log").read_text()

    mounts, log = in_child(work)
    assert mounts == []
    assert "did not reach the disk" in log


@BOTH
def test_a_busy_mount_ends_all_the_same(tmp_path, transport):
    def work():
        mount = Mount(tmp_path, transport)
        mount.start()
        os.chdir(mount.merged)
        os.open("file", os.O_RDWR | os.O_CREAT)
        os.kill(mount.pid, signal.SIGTERM)
        os.waitpid(mount.pid, 0)
        assert mounts_below(tmp_path) == []

    in_child(work)


def connections(top):
    """The FUSE connections of this machine: device number -> what tells it from a later one of the same number."""
    control = top / "control"
    control.mkdir(exist_ok=True)
    if not any(control.iterdir()):
        assert ctypes.CDLL(None).mount(b"none", os.fsencode(control), b"fusectl", ctypes.c_ulong(0), None) == 0
    return control, {entry.name: entry.inode() for entry in os.scandir(control)}


@BOTH
def test_a_kill_leaves_no_connection(tmp_path, transport):
    def killed():
        mount = Mount(tmp_path, transport)
        mount.start()
        number = str(os.minor(os.stat(mount.merged).st_dev))
        inode = connections(tmp_path)[1][number]
        os.kill(mount.pid, signal.SIGKILL)
        os.waitpid(mount.pid, 0)
        return number, inode

    number, inode = in_child(killed)
    assert in_child(lambda: connections(tmp_path)[1]).get(number) != inode


@BOTH
def test_an_aborted_connection_ends_process_and_mount(tmp_path, transport):
    def work():
        mount = Mount(tmp_path, transport)
        mount.start()
        control, _ = connections(tmp_path)
        (control / str(os.minor(os.stat(mount.merged).st_dev)) / "abort").write_text("1")
        os.waitpid(mount.pid, 0)
        return [line for line in mounts_below(tmp_path) if "fusectl" not in line]

    assert in_child(work) == []
