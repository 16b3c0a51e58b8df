"""What every test is held to: no logged warning, no child process, no mount below its own directory."""

import contextlib
import logging
import os
from pathlib import Path

import pytest

from cowfs.fuse.transport.library import Library

# Before any test module imports pyfuse3: the file system processes that tests fork are to find its functions first.
with contextlib.suppress(OSError):
    Library()


@pytest.fixture(autouse=True)
def _no_logged_warning(caplog):
    """A warning that somebody logs fails the test; one that expects it clears ``caplog``."""
    yield
    logged = [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
    assert not logged, [record.getMessage() for record in logged]


@pytest.fixture(autouse=True)
def _nothing_left_behind(tmp_path_factory):
    """Children of the test process and mounts below pytest's directories that were not there before."""
    top = os.fspath(tmp_path_factory.getbasetemp())
    before = _children(), _mounts_below(top)
    yield
    after = _children(), _mounts_below(top)
    assert after == before, f"left behind: {[set(a) - set(b) for a, b in zip(after, before, strict=True)]}"


def _children() -> list[str]:
    """Pids of our own children, zombies included, with their names: xdist's workers have none of their own."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [f"{pid} {_name(pid)}" for pid in pids]


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"


def _mounts_below(top: str) -> list[str]:
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(top + "/")]
