"""A person at a terminal: every key goes through, sizes are right, and the terminal is as before afterwards."""

import os
import re
import signal
import subprocess
import termios
from typing import Any

import pytest

from cowfs.model import RunState
from tests.run.conftest import PROMPT, wait_until


def test_the_size_is_right_at_once_and_after_a_resize(cowrun: Any) -> None:
    shell = cowrun.terminal(cowrun.root, "sh", size=(33, 111))
    shell.expect_exact(PROMPT)
    shell.sendline("stty size; tty; echo $TERM")
    shell.expect_exact(["33 111\r\n/dev/pts/0\r\nxterm\r\n" + PROMPT])
    shell.setwinsize(40, 90)
    shell.sendline("sleep 0.5; stty size")
    shell.expect_exact("40 90\r\n" + PROMPT)
    shell.sendeof()
    shell.wait()
    assert shell.exitstatus == 0


def test_control_c_ends_the_command_and_not_the_shell(cowrun: Any) -> None:
    shell = cowrun.terminal(cowrun.root, "sh")
    shell.expect_exact(PROMPT)
    shell.sendline("sh -c 'echo go; exec sleep 100'")
    shell.expect_exact("go\r\n")
    shell.sendintr()
    shell.expect_exact(PROMPT)
    shell.sendline("exit $?")
    shell.wait()
    assert shell.exitstatus == 130


def test_control_z_stops_and_fg_goes_on(cowrun: Any) -> None:
    shell = cowrun.terminal(cowrun.root, "sh")
    shell.expect_exact(PROMPT)
    shell.sendline("sh -c 'echo go; exec sleep 100'")
    shell.expect_exact("go\r\n")
    shell.send("\x1a")
    shell.expect("Stopped.*sleep")
    shell.expect_exact(PROMPT)
    shell.sendline("fg")
    shell.expect("sleep 100.*\r\n")
    shell.sendintr()
    shell.expect_exact(PROMPT)
    shell.sendline("exit 7")
    shell.wait()
    assert shell.exitstatus == 7


def test_control_d_ends_the_shell_and_the_line_at_the_end_says_where_to_look(cowrun: Any) -> None:
    shell = cowrun.terminal(cowrun.root, "sh")
    shell.expect_exact(PROMPT)
    shell.sendline("touch /a /b; mkdir /c; rm /bin/plain")
    shell.expect_exact(PROMPT)
    shell.sendeof()
    shell.expect(r"run [0-9a-f]{12} changed 4 paths, kept in .*/upper: cowdiff show last")
    shell.wait()
    assert shell.exitstatus == 0


def test_quiet_says_nothing(cowrun: Any) -> None:
    shell = cowrun.terminal("--quiet", cowrun.root, "echo", "only this")
    assert shell.read() == "only this\r\n"


def test_what_was_typed_ahead_is_read(cowrun: Any) -> None:
    shell = cowrun.terminal(cowrun.root, "sh")
    shell.sendline("exit 9")
    shell.wait()
    assert shell.exitstatus == 9


def test_much_output_arrives_whole(cowrun: Any) -> None:
    shell = cowrun.terminal("--quiet", cowrun.root, "seq", "1", "30000")
    assert shell.read().split() == [str(number) for number in range(1, 30001)]


@pytest.mark.parametrize("ending", ["exit", "kill -9"])
def test_the_terminal_is_restored(cowrun: Any, ending: str) -> None:
    shell = cowrun.terminal(cowrun.root, "sh")
    before = termios.tcgetattr(shell.child_fd)
    keeper = os.open(os.ttyname(os.open(f"/proc/{shell.pid}/fd/0", os.O_RDWR | os.O_NOCTTY)), os.O_RDWR | os.O_NOCTTY)
    shell.expect_exact(PROMPT)
    assert termios.tcgetattr(keeper) != before
    if ending == "exit":
        shell.sendline("exit")
    else:
        os.kill(shell.pid, signal.SIGKILL)
    wait_until(lambda: termios.tcgetattr(keeper) == before)
    shell.close(force=True)
    os.close(keeper)


def test_the_console_is_the_terminal(cowrun: Any) -> None:
    shell = cowrun.terminal(
        "-it", "-u", "app", cowrun.root, "sh", "-c", "echo to-console > /dev/console; stat -c %u $(tty)"
    )
    assert re.findall("to-console|1000", shell.read()) == ["to-console", "1000"]


def test_a_hang_up_ends_the_run(cowrun: Any) -> None:
    shell = cowrun.terminal(cowrun.root, "sh")
    shell.expect_exact(PROMPT)
    shell.close(force=False)
    wait_until(lambda: not cowrun.processes())
    assert cowrun.runs[0].state is RunState.DISCARDED


def test_input_that_is_no_terminal_gives_no_terminal(cowrun: Any) -> None:
    result = subprocess.run(
        cowrun.line(cowrun.root, "tty"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=cowrun.environment,
    )
    assert (result.returncode, result.stdout) == (1, "not a tty\n")
