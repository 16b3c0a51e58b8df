"""``cowrun.run`` for test suites: runs and what they changed, as values."""

import subprocess
from typing import Any

import cowrun as program
import pytest

from cowfs.errors import CowfsError
from cowfs.model import Kind
from cowfs.runs.changes import ChangeClass
from cowfs.runs.inspected import Inspected


def run(cowrun: Any, *command: str, **more: Any) -> Inspected:
    return program.run(cowrun.root, command, store=cowrun.store, **more)


def test_a_run_and_what_it_changed(cowrun: Any) -> None:
    script = "echo $GREETING >/etc/proof; mkdir -p /new/a; rm /bin/seq; cat; exit 3"
    with run(cowrun, "sh", "-c", script, env={"GREETING": "hi"}, input=b"in", capture_output=True) as left:
        assert (left.exit_status, left.stdout, left.stderr) == (3, b"in", b"")
        assert {change.path: change.change for change in left.changes("/etc", "/new")} == {
            b"/etc/proof": ChangeClass.ADDED,
            b"/new": ChangeClass.ADDED,
            b"/new/a": ChangeClass.ADDED,
        }
        assert left.read("/etc/proof") == b"hi\n"
        assert left.version("/bin/seq") is None
        before = left.version("/bin/seq", before=True)
        assert before is not None
        assert before.kind in (Kind.FILE, Kind.SYMLINK)
        assert left.names("/new") == {b"a"}
        with pytest.raises(FileNotFoundError):
            left.read("/bin/seq")
        assert [kept.id for kept in cowrun.runs] == [left.id]
    assert cowrun.runs == []


def test_a_run_can_be_kept(cowrun: Any) -> None:
    with run(cowrun, "true", name="mine") as left:
        left.keep()
    assert Inspected.find("mine", cowrun.store).exit_status == 0


def test_what_cannot_be_started_is_an_exception(cowrun: Any) -> None:
    with pytest.raises(CowfsError, match="no-such-program"):
        run(cowrun, "no-such-program", capture_output=True)
    with pytest.raises(CowfsError, match="no directory"):
        program.run("dir:/no/such/root", ["true"], store=cowrun.store, capture_output=True)
    assert cowrun.runs == []


def test_a_timeout_ends_the_command(cowrun: Any) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run(cowrun, "sleep", "60", timeout=3)
    assert [kept.state.value for kept in cowrun.runs] == ["lost"]
