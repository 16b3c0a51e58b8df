"""cowfs-overlay returns when there is a mount and before it is served: what if it never is, or is over by then."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cowfs.fuse import serve
from cowfs.fuse.transport import handshake
from cowfs.options import EngineOptions, MountOptions
from tests.run.conftest import wait_until

FAILS = """
import sys, time
before = {before}
sys.modules["cowfs.fuse.session"] = None  # what is imported behind the answer, and does not come
import cowfs.fuse.serve
cowfs.fuse.serve._choose_loop = lambda levers: time.sleep(before)
from cowfs.cli.overlay import main
main()
"""


@pytest.fixture
def directories(tmp_path):
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "file").write_text("below")
    return tmp_path


def mount(directories, program):
    options = "lowerdir=lower,upperdir=upper,workdir=work"
    line = [sys.executable, "-c", program, "-o", options, "merged"]
    return subprocess.run(line, cwd=directories, capture_output=True, text=True, timeout=60, env=environment())


def is_mounted(directories):
    return f" {directories}/merged " in Path("/proc/self/mounts").read_text()


def environment():
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": paths, "COWFS_TRANSPORT": "auto"}  # without the handshake nothing is early


def test_a_mount_that_cannot_be_served_vanishes(directories):
    done = mount(directories, FAILS.format(before=1))
    assert (done.returncode, done.stderr) == (0, "")
    assert is_mounted(directories)
    with pytest.raises(OSError):
        (directories / "merged" / "file").read_text()  # waits, and is told
    wait_until(lambda: not is_mounted(directories))
    assert os.listdir(directories / "merged") == []
    again = mount(directories, "from cowfs.cli.overlay import main; main()")  # the work directory is free
    assert again.returncode == 0, again.stderr
    assert (directories / "merged" / "file").read_text() == "below"
    subprocess.run(["umount", directories / "merged"], check=True)


def test_what_was_asked_early_is_answered(directories):
    slow = """
import time
import cowfs.fuse.serve
choose = cowfs.fuse.serve._choose_loop
cowfs.fuse.serve._choose_loop = lambda levers: (time.sleep(0.5), choose(levers))
from cowfs.cli.overlay import main
main()
"""
    assert mount(directories, slow).returncode == 0
    (directories / "merged" / "new").write_text("above")
    assert sorted(os.listdir(directories / "merged")) == ["file", "new"]
    subprocess.run(["umount", directories / "merged"], check=True)
    assert os.listdir(directories / "upper") == ["new"]


def test_unmounted_before_it_is_served(directories):
    slow = FAILS.format(before=0.5)
    assert mount(directories, slow).returncode == 0
    handshake.unmount(directories / "merged", lazy=False)  # umount(8) would look at it
    again = mount(directories, "from cowfs.cli.overlay import main; main()")  # waits for the work directory
    assert again.returncode == 0, again.stderr
    subprocess.run(["umount", directories / "merged"], check=True)


def test_who_unmounts_before_it_is_served_causes_no_error(directories, tmp_path, monkeypatch):
    choose = serve._choose_loop
    monkeypatch.setattr(serve, "_choose_loop", lambda levers: (time.sleep(0.5), choose(levers)))
    options = MountOptions(
        lowers=(directories / "lower",), upper=directories / "upper", work=directories / "work", engine=EngineOptions()
    )
    pid = serve.start(options, directories / "merged", detach=False, log=tmp_path / "log")
    handshake.unmount(directories / "merged", lazy=False)
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / "log").read_text() == ""
