"""The command lines as programs: each loads, says its help, and imports little before it has work."""

import subprocess
import sys

import pytest
from cowdiff import main as cowdiff_main
from cowrun import main as cowrun_main

from cowfs.cli import main as cowfs_main

HEAVY = {"trio", "pyfuse3", "requests", "zstandard", "hypothesis", "textual"}
PROGRAMS = {"cowfs": cowfs_main, "cowrun": cowrun_main, "cowdiff": cowdiff_main}


def run(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    code = f"import sys; sys.argv[0] = 'x'; from {module} import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_of_the_program(program):
    done = run(PROGRAMS[program].__name__, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage:")


@pytest.mark.parametrize(
    ("program", "command"),
    [("cowfs", name) for name in cowfs_main.COMMANDS] + [("cowdiff", name) for name in cowdiff_main.COMMANDS],
)
def test_help_of_each_command(program, command):
    done = run(PROGRAMS[program].__name__, command, "--help")
    assert done.returncode == 0, done.stderr
    assert command in done.stdout.splitlines()[0]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_imports_nothing_heavy(program):
    code = (
        f"import sys; sys.argv = ['x', '--help']; from {PROGRAMS[program].__name__} import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert HEAVY & set(done.stderr.split()) == set()


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_unknown_option_is_one_line_and_125(program):
    done = run(PROGRAMS[program].__name__, "--no-such-option")
    assert done.returncode == 125
    assert len(done.stderr.splitlines()) == 1
    assert "--no-such-option" in done.stderr
