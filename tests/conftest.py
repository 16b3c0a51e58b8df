"""What every test is held to: no logged warning, no child process, no mount below its own directory, one umask."""

import contextlib
import logging
import os
import time
from pathlib import Path

import pytest

from cowfs.fuse.transport.library import Library
from tests.support.namespaces import own_mounts

# Before any test module imports pyfuse3: the file system processes that tests fork are to find its functions first.
with contextlib.suppress(OSError):
    Library()

# Else mount(8) of util-linux 2.39 and later gives lowerdir to fsconfig(2), which takes no more than 255 bytes.
os.environ["LIBMOUNT_FORCE_MOUNT2"] = "always"


def pytest_configure():
    """Each process of pytest, so each worker of xdist, has its own mounts."""
    own_mounts()


@pytest.fixture(autouse=True)
def _no_logged_warning(caplog):
    """A warning that somebody logs fails the test; one that expects it clears ``caplog``."""
    yield
    logged = [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
    assert not logged, [record.getMessage() for record in logged]


@pytest.fixture(autouse=True)
def _umask():
    """The same for each test: an overlay with an upper that is opened in this process takes it away."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _nothing_left_behind(tmp_path_factory):
    """Children of the test process and mounts below pytest's directories that were not there before.

    What was told to end and is at it has some seconds.
    """
    top = os.fspath(tmp_path_factory.getbasetemp())
    before = _children() | _mounts_below(top)
    yield
    end = time.monotonic() + 5
    while (left := (_children() | _mounts_below(top)) - before) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left, f"left behind: {sorted(left)}"


def _children() -> set[str]:
    """Our own children that still run, as pid and name: xdist's workers have none of their own."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {f"{pid} {name}" for pid in pids if (name := _running(pid))}


def _running(pid: str) -> str:
    """The name of a process; empty where it is a zombie or gone."""
    try:
        _, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")
    except OSError:
        return ""
    name, _, state = rest.rpartition(") ")
    return "" if state.startswith("Z") else name


def _mounts_below(top: str) -> set[str]:
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {point for point in points if point.startswith(top + "/")}
