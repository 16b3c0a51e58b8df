"""What cowrun's command line says before anything is run."""

import subprocess
import sys

import pytest
from cowrun.cli import cowrun

from cowfs.cli.entry import status_of

INTERRUPTED_AT = """
import importlib.abc, os, signal, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from cowrun.main import main
sys.modules.pop(sys.argv[1], None)
main()
"""


def test_help_starts_with_how_it_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(cowrun, "cowrun", ["--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: cowrun [OPTIONS] IMAGE [COMMAND [ARG...]]\n")


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--bogus", "no such option '--bogus'"),
        ("--detach", "no such option '--detach'"),
        ("-z", "no such option '-z'"),
        ("--volumes", "no such option '--volumes', did you mean --volume?"),
        ("--env-f", "no such option '--env-f', did you mean --env or --env-file?"),
    ],
)
def test_an_unknown_option_is_named_and_only_what_is_near_is_suggested(
    option: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(cowrun, "cowrun", [option, "image"]) == 125
    assert capsys.readouterr().err == f"cowrun: {line} (see cowrun --help)\n"


@pytest.mark.parametrize("module", ["signal", "cowrun.filesystem", "cowfs.cli.entry", "cowrun.cli"])
def test_an_interrupt_at_the_start_prints_nothing(module: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED_AT, module, "dir:/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode in (130, -2)
