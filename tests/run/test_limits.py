"""Limits on a run, seen from inside and from its end; the control groups that hold them are gone with it."""

import os
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest

from .conftest import wait_until


def read_inside(cowrun: Any, names: dict[bool, str], *options: str) -> str:
    """A file of the run's own group, by its name in version 2 (True) and 1."""
    script = f"cat /sys/fs/cgroup/{names[True]} /sys/fs/cgroup/*/{names[False]} 2>/dev/null; true"
    return cowrun.inside(script, *options).strip()


def test_limits_are_set_and_seen_inside(cowrun: Any) -> None:
    options = ("-m", "64m", "--pids-limit", "20", "--cpus", "0.5")
    assert read_inside(cowrun, {True: "memory.max", False: "memory.limit_in_bytes"}, *options) == "67108864"
    assert read_inside(cowrun, {True: "pids.max", False: "pids.max"}, *options) == "20"
    assert read_inside(cowrun, {True: "cpu.max", False: "cpu.cfs_quota_us"}, *options).split()[0] == "50000"
    assert cowrun.groups() == []


def test_the_default_is_a_limit_of_processes_alone(cowrun: Any) -> None:
    assert read_inside(cowrun, {True: "pids.max", False: "pids.max"}) == "2048"
    assert read_inside(cowrun, {True: "pids.max", False: "pids.max"}, "--pids-limit", "-1") in ("", "max")
    assert read_inside(cowrun, {True: "memory.max", False: "memory.limit_in_bytes"}) in ("", "max")


def test_the_groups_cannot_be_written_inside(cowrun: Any) -> None:
    script = "for f in $(find /sys/fs/cgroup -name pids.max -o -name cgroup.procs); do echo 1 > $f && echo wrote; done"
    found = cowrun.run("@host", "sh", "-c", script)
    assert found.stdout == "", found
    assert "Read-only" in found.stderr
    assert "cowrun-" not in cowrun.inside("cat /proc/self/cgroup")


def test_out_of_memory_is_137(cowrun: Any) -> None:
    fill = "x = bytearray(1 << 20)\nwhile True: x += b'x' * (1 << 22)"
    result = cowrun.run("-m", "64m", "@host", "/usr/bin/python3", "-c", fill)
    assert result.returncode == 128 + signal.SIGKILL, result


def test_l13_a_fork_bomb_is_bounded(cowrun: Any) -> None:
    bomb = """
import os, sys
made = 0
try:
    while True:
        if os.fork() == 0:
            os.read(0, 1)
            os._exit(0)
        made += 1
except OSError as error:
    print(made, error.errno, flush=True)
    os._exit(7)
"""
    process = cowrun.start("--pids-limit", "20", "@host", "/usr/bin/python3", "-c", bomb)
    assert process.communicate(timeout=30)[0] == "19 11\n"
    assert process.returncode == 7
    assert cowrun.groups() == []


def test_ulimits(cowrun: Any) -> None:
    found = cowrun.inside("ulimit -Sn; ulimit -Hn; ulimit -c", "--ulimit", "nofile=100:200", "--ulimit", "core=0")
    assert found.split() == ["100", "200", "0"]


def test_what_cannot_be_set_fails_unless_it_was_a_default(cowrun: Any) -> None:
    """A machine without control groups: nothing is mounted there."""
    hide = "for d in $(grep -E ' cgroup2? ' /proc/self/mounts | cut -d' ' -f2); do umount -l $d; done"
    command = (cowrun.root, "sh", "-c", "ls /sys/fs/cgroup")
    bare = cowrun.shell_alone(f"{hide}; {shlex.join(cowrun.line(*command))}")
    assert (bare.returncode, bare.stdout) == (0, ""), bare
    for option in ("-m=64m", "--cpus=0.5", "--pids-limit=5"):
        asked = cowrun.shell_alone(f"{hide}; {shlex.join(cowrun.line(*option.split('='), *command))}")
        assert asked.returncode == 125, asked
        assert "the limit cannot be set" in asked.stderr
        assert option.split("=")[0] in asked.stderr
    assert [run.state.value for run in cowrun.runs] == ["discarded"]


def test_a_ulimit_above_what_the_machine_lets_us_fails(cowrun: Any) -> None:
    result = cowrun.run("--ulimit", "nofile=999999999999", cowrun.root, "true")
    assert result.returncode == 125
    assert "--ulimit nofile" in result.stderr


@pytest.mark.parametrize("guard", [False, True])
def test_l14_a_killed_launcher_leaves_no_group(cowrun: Any, guard: bool) -> None:
    """The guard removes them; where it was killed, too, the next run does."""
    process = cowrun.start_ready("echo up; cat")
    assert cowrun.groups()
    if guard:
        guards = [pid for pid in cowrun.processes() if Path(f"/proc/{pid}/comm").read_text() == "cowrun-guard\n"]
        assert len(guards) == 1
        os.kill(guards[0], signal.SIGKILL)
    process.kill()
    process.wait()
    wait_until(lambda: not cowrun.processes(), 5)
    if guard:
        cowrun.inside("true")
        assert cowrun.groups() == []
    else:
        wait_until(lambda: cowrun.groups() == [], 2)
