"""How mounts end: nothing is left, whoever dies."""

import os
import signal
import time
from pathlib import Path

import pytest

from cowfs.errors import MountError
from cowfs.fuse.serve import start, unmount
from cowfs.options import MountOptions
from tests.transport.conftest import Mount, in_child

BOTH = pytest.mark.parametrize("transport", ["auto", "plain"])


def mounts_below(top: Path) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {top}/" in line]


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
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists():
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
