"""The exit status is the command's own; what never ran has docker's numbers and one line on stderr."""

import os
import subprocess
import sys
from typing import Any

import pytest

from cowfs.model import RunState


@pytest.mark.parametrize(
    ("command", "status"),
    [
        pytest.param(["true"], 0, id="success"),
        pytest.param(["sh", "-c", "exit 42"], 42, id="its own"),
        pytest.param(["--init", "sh", "-c", "exit 42"], 42, id="its own, under --init"),
        pytest.param(["--init", "sh", "-c", "kill -9 $$"], 137, id="128 and the signal, under --init"),
        pytest.param(["sh", "-c", "exec 2>/dev/null; sh -c 'kill -TERM $$'; exit $?"], 143, id="a child's"),
    ],
)
def test_of_a_command_that_ran(cowrun: Any, command: list[str], status: int) -> None:
    options = [command.pop(0)] if command[0].startswith("--") else []
    result = cowrun.run(*options, cowrun.root, *command)
    assert (result.returncode, result.stderr) == (status, "")
    (run,) = cowrun.runs
    assert (run.exit_status, run.state) == (status, RunState.DISCARDED)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        pytest.param(["ROOT", "nosuch"], 127, "not found", id="not found"),
        pytest.param(["ROOT", "/bin/nosuch"], 127, "no such file", id="no such path"),
        pytest.param(["ROOT", "/bin/sh/x"], 127, "no such file", id="a path through a file"),
        pytest.param(["ROOT", "/bin/plain"], 126, "permission denied", id="not executable"),
        pytest.param(["ROOT", "plain"], 126, "permission denied", id="not executable, by PATH"),
        pytest.param(["ROOT", "/etc"], 126, "directory", id="a directory"),
        pytest.param(["ROOT", ""], 127, "no such file|not found", id="nothing"),
        pytest.param(["--entrypoint", "nosuch", "ROOT"], 127, "not found", id="an entrypoint"),
        pytest.param(["--init", "ROOT", "nosuch"], 127, "not found", id="under --init"),
        pytest.param(["-t", "ROOT", "nosuch"], 125, "not a terminal", id="-t without a terminal"),
        pytest.param(["--no-such", "ROOT", "true"], 125, "--no-such", id="a flag that is not there is named"),
        pytest.param(["-d", "ROOT", "true"], 125, "-d", id="a short one, too"),
        pytest.param(["-v", "/nosuch:/x", "ROOT", "true"], 125, "/nosuch", id="a volume without a source"),
        pytest.param(["-u", "nobody-here", "ROOT", "true"], 125, "nobody-here", id="no such user"),
        pytest.param(["dir:/nosuch", "true"], 125, "/nosuch", id="no such directory"),
        pytest.param(["--pull", "never", "no-such-image", "true"], 125, "no-such-image", id="no such image"),
        pytest.param([], 125, "IMAGE", id="no image"),
    ],
)
def test_of_what_never_ran(cowrun: Any, arguments: list[str], status: int, words: str) -> None:
    result = cowrun.run(*(cowrun.root if text == "ROOT" else text for text in arguments))
    assert result.returncode == status, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("cowrun: ")
    assert any(word in line for word in words.split("|")), line
    assert cowrun.runs == []


def test_a_script_without_its_interpreter_is_said_to_be(cowrun: Any, small_root: Any) -> None:
    (small_root / "bin" / "script").write_text("#!/no/such\n")
    (small_root / "bin" / "script").chmod(0o755)
    result = cowrun.run(cowrun.root, "script")
    assert result.returncode == 127
    assert "interpreter" in result.stderr


def test_a_file_that_is_no_program(cowrun: Any, small_root: Any) -> None:
    (small_root / "bin" / "plain").chmod(0o755)
    result = cowrun.run(cowrun.root, "plain")
    assert result.returncode == 126
    assert "exec format error" in result.stderr


def test_without_root_it_says_so() -> None:
    # The number alone is another's: a checkout may lie where only root can look.
    code = "import os; os.geteuid = os.getuid = lambda: 65534; from cowrun.main import main; main()"
    command = [sys.executable, "-c", code, "@host", "true"]
    result = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60)
    assert result.returncode == 125
    assert "root" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_help_and_version_need_nothing(cowrun: Any) -> None:
    for option in ("--help", "--version"):
        result = cowrun.run(option)
        assert result.returncode == 0
        assert "cowrun" in result.stdout.lower() or "Usage" in result.stdout
    assert not os.path.exists(cowrun.store)


def test_a_dry_run_prints_the_plan_and_makes_nothing(cowrun: Any) -> None:
    result = cowrun.run("--dry-run", "-v", "/nosuch:/x:ro", "--network", "none", cowrun.root, "sh", "-c", "exit 3")
    assert result.returncode == 0, result
    for words in ("mount cowfs", "new pid namespace", "bind /nosuch of the host on /x (ro,nodev)", "execute sh -c"):
        assert words in result.stdout
    assert cowrun.runs == []


def test_closed_standard_streams_are_no_harm(cowrun: Any) -> None:
    line = " ".join(f"'{word}'" for word in cowrun.line(cowrun.root, "sh", "-c", "ls /proc/1/fd; exit 4"))
    for closed, left in (("<&-", "0 1 2"), ("<&- 2>&-", "0 1 2"), ("<&- >&- 2>&-", "")):
        script = f"{line} {closed}; echo $?"
        result = subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True, env=cowrun.environment
        )
        assert result.stdout.split() == [*left.split(), "4"], closed
