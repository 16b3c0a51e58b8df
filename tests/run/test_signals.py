"""Signals to the launcher, and what is left when it or the file system process dies: nothing."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from cowfs.model import RunState
from tests.run.conftest import status_field, wait_until


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_signals_reach_a_command_that_handles_them(cowrun: Any, name: str) -> None:
    process = cowrun.start_ready(f"trap 'echo got {name}; exit 5' {name}; echo up; while :; do sleep 0.1; done")
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert process.communicate(timeout=30)[0] == f"got {name}\n"
    assert process.returncode == 5


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
@pytest.mark.parametrize("init", [(), ("--init",)])
def test_signals_end_a_command_that_does_not(cowrun: Any, name: str, init: tuple[str, ...]) -> None:
    process = cowrun.start_ready("echo up; exec sleep 1000", *init)
    wait_until(lambda: b"sleep\x001000\x00" in _commands(cowrun))
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert process.wait(30) == 128 + signal.Signals[f"SIG{name}"]
    assert not cowrun.processes()
    assert cowrun.runs[0].state is RunState.DISCARDED


def _commands(cowrun: Any) -> list[bytes]:
    return [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in cowrun.processes()]


def test_sigterm_ends_even_a_shell_that_ignores_it_and_sigint_does_not(cowrun: Any) -> None:
    process = cowrun.start_ready("trap '' TERM INT; echo up; while :; do sleep 0.1; done")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143


def test_the_first_process_dies_with_its_children(cowrun: Any) -> None:
    result = cowrun.run(cowrun.root, "sh", "-c", "sleep 1000 & sleep 1000 & exit 3")
    assert result.returncode == 3
    assert not cowrun.processes()


def test_kill_9_of_the_launcher_leaves_nothing(cowrun: Any) -> None:
    process = cowrun.start_ready("sleep 1000 & echo up; sleep 1000")
    process.kill()
    process.wait()
    wait_until(lambda: not cowrun.processes(), 5)
    (run,) = cowrun.runs
    assert run.state is RunState.LOST


def test_kill_9_of_the_launcher_ends_a_command_that_refused_to_die_with_it(cowrun: Any, tmp_path: Path) -> None:
    # PR_SET_PDEATHSIG 0, as a hostile image would: written in Python, so on the host's root.
    script = "import ctypes, time; ctypes.CDLL(None).prctl(1, 0, 0, 0, 0); print('up', flush=True); time.sleep(1000)"
    process = cowrun.start("@host", "/usr/bin/python3", "-c", script)
    assert process.stdout.readline() == "up\n"
    process.kill()
    process.wait()
    wait_until(lambda: not cowrun.processes(), 5)


def test_kill_9_of_everything_at_once_leaves_nothing(cowrun: Any) -> None:
    cowrun.start_ready("sleep 1000 & echo up; sleep 1000")
    for pid in cowrun.processes():
        with contextlib.suppress(ProcessLookupError):  # the end of one is the end of others
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not cowrun.processes(), 5)
    cowrun.inside("true")  # control groups outlive everybody: the next command removes them


def test_the_end_of_the_file_system_ends_the_run_and_says_so(cowrun: Any) -> None:
    process = cowrun.start_ready("echo up; sleep 1000")
    (server,) = [pid for pid in cowrun.processes() if _has_open(pid, "/dev/fuse")]
    os.kill(server, signal.SIGKILL)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 125
    assert "file system process" in complaint
    assert not cowrun.processes()


def _has_open(pid: int, path: str) -> bool:
    """By the device's number: in a chroot the link under /proc may have another name."""
    device = os.stat(path).st_rdev
    return any(link.exists() and link.stat().st_rdev == device for link in Path(f"/proc/{pid}/fd").iterdir())


def test_f07_a_file_system_that_hangs_does_not_keep_the_launcher_from_dying(cowrun: Any) -> None:
    process = cowrun.start_ready("echo up; while :; do ls -R / >/dev/null 2>&1; done")
    (server,) = [pid for pid in cowrun.processes() if _has_open(pid, "/dev/fuse")]
    os.kill(server, signal.SIGSTOP)
    process.kill()
    process.wait()
    wait_until(lambda: not cowrun.processes(), 5)


def test_what_the_file_system_process_complains_about_is_kept_with_the_run(cowrun: Any) -> None:
    process = cowrun.start_ready("echo up; cat")
    (server,) = [pid for pid in cowrun.processes() if _has_open(pid, "/dev/fuse")]
    with open(f"/proc/{server}/fd/2", "a") as stream:
        stream.write("something odd\n")
    process.stdin.close()
    assert process.wait(30) == 0
    assert (cowrun.runs[0].directory / "log").read_text() == "something odd\n"
    cowrun.inside("true")
    assert not (cowrun.runs[0].directory / "log").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_l14_a_signal_at_any_moment_of_the_start_leaves_nothing(cowrun: Any, number: int) -> None:
    for step in range(16):
        process = cowrun.start(cowrun.root, "sleep", "1000")
        # from the first process on: before it, the interpreter has not come to us, and nothing is there to be left
        wait_until(lambda: len(cowrun.processes()) > 1)
        time.sleep(step * 0.02)
        process.send_signal(number)
        try:
            status = process.wait(10)
        except subprocess.TimeoutExpired:
            pytest.fail(f"lives on after {number} at {step * 20} ms")
        assert status in (128 + number, -number), process.communicate()
        wait_until(lambda: not cowrun.processes(), 5)
    assert cowrun.run(cowrun.root, "true").returncode == 0
    assert os.listdir(cowrun.store / "staging") == []


def test_nothing_of_the_launcher_is_held_by_the_processes_beside_it(cowrun: Any) -> None:
    """Whoever reads our output sees its end when the command is over: no other process of ours has it."""
    process = cowrun.start_ready("echo up; cat")
    output = os.readlink(f"/proc/{process.pid}/fd/1")
    holders = [pid for pid in cowrun.processes() if any(_links(pid, output))]
    assert sorted(holders) == sorted({process.pid, *(pid for pid in holders if _inside(pid))})


def _links(pid: int, target: str) -> list[Path]:
    """Descriptors that lead there; one that is closed meanwhile does not."""
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links += [link] if os.readlink(link) == target else []
    return links


def _inside(pid: int) -> bool:
    return len(status_field(Path(f"/proc/{pid}/status").read_text(), "NSpid").split()) > 1
