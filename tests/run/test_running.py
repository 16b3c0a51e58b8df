"""Runs that are going, from another command: ps, exec, stop, kill."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from cowfs.model import RunState
from tests.run.conftest import PROGRAM, PROMPT, status_field, wait_until

IDLE = "echo up; exec sleep 1000"
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
SAME = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Groups")


@pytest.fixture
def other(cowrun: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``cowrun NAME ...`` on the store of the test."""

    def run(name: str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        line = [*PROGRAM, name, "--root", str(cowrun.store), *arguments]
        more = {"stdin": subprocess.DEVNULL} | more if "input" not in more else more
        return subprocess.run(
            line, capture_output=True, text=True, timeout=30, env=cowrun.environment, check=False, **more
        )

    return run


def test_ps_lists_what_is_going_and_all_else_when_asked(cowrun: Any, other: Any) -> None:
    assert cowrun.run("--name", "before", cowrun.root, "true").returncode == 0
    cowrun.start_ready(IDLE, "--name", "web")
    (going, before) = cowrun.runs
    heading, line = other("ps").stdout.splitlines()
    assert heading.split() == ["ID", "IMAGE", "COMMAND", "STARTED", "STATUS", "PORTS", "NAME"]
    assert line.startswith(f"{going.id}  {cowrun.root}  sh -c 'echo up; exe…  ")
    assert line.endswith("web")
    assert " up " in line
    assert other("ps", "-q").stdout == f"{going.id}\n"
    assert "sleep 1000'" in other("ps", "--no-trunc").stdout
    assert [row.split()[-1] for row in other("ps", "-a").stdout.splitlines()] == ["NAME", "web", "before"]
    (record,) = [json.loads(row) for row in other("ps", "--json").stdout.splitlines()]
    assert (record["id"], record["name"], record["state"]) == (going.id, "web", "running")
    assert before.state is RunState.DISCARDED


def test_exec_is_in_all_namespaces_with_all_restrictions(cowrun: Any, other: Any) -> None:
    """Every namespace of the first process, and of /proc/self/status every line that is about rights."""
    script = "cat /proc/self/status; for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done"
    cowrun.start_ready(f"{{ {script}; }} > /first; {IDLE}", "--hostname", "box", "--network", "none", "-e", "A=1")
    done = other("exec", "last", "sh", "-c", f"cat /first; echo ---; {script}; hostname; echo $A $HOME")
    assert done.returncode == 0, done
    first, _, second = done.stdout.partition("---\n")
    assert second.splitlines()[-2:] == ["box", "1 /root"]
    assert [status_field(second, name) for name in SAME] == [status_field(first, name) for name in SAME]
    links = [line for line in second.splitlines() if ":[" in line]
    assert len(links) == len(NAMESPACES)
    assert links == [line for line in first.splitlines() if ":[" in line]


def test_exec_is_in_the_same_control_groups(cowrun: Any, other: Any) -> None:
    cowrun.start_ready(IDLE)
    first = Path(f"/proc/{cowrun.container()}/cgroup").read_text()
    with subprocess.Popen(
        [*PROGRAM, "exec", "--root", str(cowrun.store), "last", "sleep", "999"], env=cowrun.environment
    ) as client:
        wait_until(lambda: b"sleep\x00999\x00" in _commands(cowrun))
        (pid,) = [pid for pid in cowrun.processes() if _command(pid) == b"sleep\x00999\x00"]
        assert Path(f"/proc/{pid}/cgroup").read_text() == first
        client.terminate()


def test_exec_takes_dockers_options(cowrun: Any, other: Any, tmp_path: Path) -> None:
    (tmp_path / "vars").write_text("C=3\n")
    cowrun.start_ready(IDLE, "-e", "A=1", "-e", "B=1", "-w", "/srv")
    script = "echo $A $B $C $HOME; pwd; id"
    done = other(
        "exec", "-e", "B=2", "--env-file", str(tmp_path / "vars"), "-w", "/tmp", "-u", "app", "last", "sh", "-c", script
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "1 2 3 /srv", "/tmp", "uid=1000(app) gid=50(staff) groups=50(staff),60(dev)",
    ]  # fmt: skip
    assert other("exec", "last", "pwd").stdout == "/srv\n"
    assert other("exec", "-i", "last", "cat", input="through\n").stdout == "through\n"


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("last", "sh", "-c", "exit 7"), 7, ""),
        (("last", "sh", "-c", "kill -TERM $$"), 143, ""),
        (("last", "nothing-of-that-name"), 127, "command not found in this root"),
        (("last", "/bin/plain"), 126, "permission denied"),
        (("-w", "/none", "last", "true"), 126, "the working directory /none: no such file or directory"),
        (("-t", "last", "true"), 125, "standard input is not a terminal"),
        (("-d", "last", "true"), 125, "no such option '-d'"),
        (("nobody", "true"), 1, "no run 'nobody' is going"),
    ],
)
def test_the_exit_statuses_of_exec(cowrun: Any, other: Any, arguments: tuple[str, ...], status: int, word: str) -> None:
    cowrun.start_ready(IDLE)
    done = other("exec", *arguments)
    assert done.returncode == status
    assert word in done.stderr
    assert len(done.stderr.splitlines()) == bool(word)


def test_exec_at_a_terminal(cowrun: Any, other: Any) -> None:
    cowrun.start_ready(IDLE)
    line = [*PROGRAM, "exec", "--root", str(cowrun.store), "-e", f"PS1={PROMPT}", "last", "sh"]
    shell = pexpect.spawn(line[0], line[1:], env=cowrun.environment, dimensions=(33, 111), timeout=30, encoding="utf-8")
    shell.expect_exact(PROMPT)
    shell.sendline("stty size; tty; echo $TERM")
    shell.expect_exact("33 111\r\n/dev/pts/0\r\nxterm\r\n" + PROMPT)
    shell.sendline("sleep 100")
    wait_until(lambda: b"sleep\x00100\x00" in _commands(cowrun))  # a shell that is interrupted drops what it has read
    shell.sendintr()
    shell.expect_exact(PROMPT)
    shell.sendline("exit 5")
    shell.wait()
    assert shell.exitstatus == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_was_executed_ends_with_its_client(cowrun: Any, other: Any, number: int) -> None:
    cowrun.start_ready(IDLE)
    client = subprocess.Popen(
        [*PROGRAM, "exec", "--root", str(cowrun.store), "last", "sleep", "999"], env=cowrun.environment
    )
    wait_until(lambda: b"sleep\x00999\x00" in _commands(cowrun))
    client.send_signal(number)
    assert client.wait(30) in (128 + number, -number)
    wait_until(lambda: b"sleep\x00999\x00" not in _commands(cowrun))
    assert b"sleep\x001000\x00" in _commands(cowrun)


def test_what_was_executed_ends_with_its_run(cowrun: Any, other: Any) -> None:
    run = cowrun.start_ready(IDLE)
    client = subprocess.Popen(
        [*PROGRAM, "exec", "--root", str(cowrun.store), "last", "sleep", "999"], env=cowrun.environment
    )
    wait_until(lambda: b"sleep\x00999\x00" in _commands(cowrun))
    run.kill()
    assert client.wait(30) == 137


def test_l05_nobody_inside_can_look_at_a_process_that_is_about_to_join(cowrun: Any, other: Any) -> None:
    """It is held up right before it becomes the command, when it has given up all rights; a watcher inside tries."""
    watcher = """
    echo up
    while :; do
        for p in /proc/[0-9]*; do
            grep -q cowrun.inside $p/cmdline 2>/dev/null || continue
            : > /seen
            case $(readlink $p/exe) in ''|*busybox) ;; *) : > /leaked ;; esac
        done
    done
    """
    cowrun.start_ready(watcher)
    slow = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=execve", "-e", "inject=execve:delay_enter=500000"]
    line = [*slow, *PROGRAM, "exec", "--root", str(cowrun.store), "last", "true"]
    assert subprocess.run(line, env=cowrun.environment, timeout=30, check=False).returncode == 0
    assert (cowrun.upper / "seen").exists()
    assert not (cowrun.upper / "leaked").exists()


def test_l02_exec_leaks_no_descriptor(cowrun: Any, other: Any) -> None:
    cowrun.start_ready(IDLE)
    extra = [os.open("/etc/passwd", os.O_RDONLY) for _ in range(9)]
    try:
        done = other("exec", "last", "ls", "/proc/self/fd", pass_fds=extra)
    finally:
        for fd in extra:
            os.close(fd)
    assert done.stdout.split() == ["0", "1", "2", "3"]  # 3 is ls's own


def test_kill_sends_what_it_is_told(cowrun: Any, other: Any) -> None:
    process = cowrun.start_ready("trap 'exit 9' USR1; echo up; while :; do sleep 0.1; done", "--name", "one")
    assert other("kill", "-s", "SIGUSR1", "one").stdout == "one\n"
    assert process.wait(30) == 9
    process = cowrun.start_ready(IDLE, "--name", "one")
    assert other("kill", "-s", "TERM", "one").returncode == 0  # no handler: the first process takes no notice
    time.sleep(0.3)
    assert process.poll() is None
    assert other("kill", cowrun.runs[0].id[:5]).returncode == 0
    assert process.wait(30) == 137
    assert cowrun.runs[0].exit_status == 137


def test_stop_asks_and_waits_until_the_run_is_put_away(cowrun: Any, other: Any) -> None:
    cowrun.start_ready("trap 'sleep 0.5; exit 3' TERM; echo up; while :; do sleep 0.1; done")
    assert other("stop", "last").returncode == 0
    assert (cowrun.runs[0].state, cowrun.runs[0].exit_status) == (RunState.DISCARDED, 3)


@pytest.mark.parametrize(
    ("script", "options", "typed", "status"),
    [
        (IDLE, (), (), 137),  # it could not take the signal
        ("trap 'exit 4' HUP; echo up; while :; do sleep 0.1; done", ("--stop-signal", "HUP"), (), 4),
        ("trap 'exit 4' HUP; echo up; while :; do sleep 0.1; done", (), ("-s", "HUP"), 4),
        ("trap 'echo no' TERM; echo up; while :; do sleep 0.1; done", (), ("-t", "0"), 137),
        ("trap 'echo no' TERM; echo up; while :; do sleep 0.1; done", ("--stop-timeout", "0"), (), 137),
        (IDLE, ("--init",), (), 143),
    ],
)
def test_stop_by_signal_and_time(
    cowrun: Any, other: Any, script: str, options: tuple[str, ...], typed: tuple[str, ...], status: int
) -> None:
    cowrun.start_ready(script, *options)
    assert other("stop", *typed, "last").returncode == 0
    assert cowrun.runs[0].exit_status == status


def test_stop_of_several_says_which_are_not_there(cowrun: Any, other: Any) -> None:
    cowrun.run("--name", "gone", cowrun.root, "true")
    cowrun.start_ready(IDLE, "--name", "young")
    done = other("stop", "nobody", "gone", "young")  # no names that an id could begin with
    assert (done.returncode, done.stdout) == (1, "young\n")
    assert done.stderr.splitlines() == [
        "cowrun: no run 'nobody' is going (cowrun ps lists them)",
        f"cowrun: run {cowrun.runs[1].id} is over",
    ]
    assert other("kill", "-s", "NOPE", "young").returncode == 125


def test_an_image_called_like_a_command_is_reached_by_run(cowrun: Any) -> None:
    """The first word is a command; ``run`` before it, or any option, makes it an image."""
    for words in (["run", "--pull", "never", "ps"], ["--pull=never", "ps"]):
        done = subprocess.run(
            [*PROGRAM, *words, "true"],
            capture_output=True,
            text=True,
            timeout=30,
            env=cowrun.environment | {"COWFS_ROOT": str(cowrun.store)},
            check=False,
        )
        assert done.returncode == 125
        assert done.stderr.startswith("cowrun: ")
        assert "ps" in done.stderr


def _commands(cowrun: Any) -> list[bytes]:
    return [_command(pid) for pid in cowrun.processes()]


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def test_exec_is_held_to_the_limits_of_the_run(cowrun: Any, other: Any) -> None:
    cowrun.start_ready(IDLE, "--ulimit", "nofile=100:200", "--pids-limit", "50")
    script = "ulimit -n; echo $$; cat /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs 2>/dev/null; true"
    limit, own, *members = other("exec", "last", "sh", "-c", script).stdout.split()
    assert limit == "100"
    assert {"1", own} <= set(members)
