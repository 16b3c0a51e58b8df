"""scripts/cowrun and its fellows: when they set up, and what they run; with a set-up and a command that only say so."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SETUP = '#!/bin/sh\nhere=$(readlink -f -- "$0")\n. "${here%/*}/lib.sh"\necho set up\nfingerprint >"$venv/stamp"\n'
COMMAND = '#!/bin/sh\necho "${0##*/}" "$@"\nexit 7\n'


@pytest.fixture
def checkout(tmp_path) -> Path:
    top = tmp_path / "a checkout"
    shutil.copytree(TOP / "scripts", top / "scripts", symlinks=True)
    (top / "pyproject.toml").write_text("one")
    programs = {"scripts/setup": SETUP} | {f".venv/bin/{name}": COMMAND for name in ("cowfs", "cowrun", "cowdiff")}
    for name, text in programs.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return top


def call(program: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["cowfs", "cowrun", "cowdiff"])
def test_the_first_call_sets_up_and_the_second_does_not(checkout, name):
    program = checkout / "scripts" / name
    assert call(program, "a b", "").stdout == f"set up\n{name} a b \n"
    done = call(program, "c")
    assert (done.stdout, done.stderr, done.returncode) == (f"{name} c\n", "", 7)


def test_it_can_be_called_by_a_link_from_elsewhere(checkout, tmp_path):
    (tmp_path / "cowdiff").symlink_to(checkout / "scripts" / "cowdiff")
    assert call(tmp_path / "cowdiff").stdout == "set up\ncowdiff\n"


@pytest.mark.parametrize("file", ["pyproject.toml", "setup.py", "cowfs/fuse/transport/library.c"])
def test_it_sets_up_again_when_what_it_was_built_from_changes(checkout, file):
    call(checkout / "scripts/cowrun")
    path = checkout / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("two")
    assert call(checkout / "scripts/cowrun").stdout == "set up\ncowrun\n"
    assert call(checkout / "scripts/cowrun").stdout == "cowrun\n"


def test_it_sets_up_again_when_the_checkout_has_moved(checkout, tmp_path):
    call(checkout / "scripts/cowrun")
    moved = checkout.rename(tmp_path / "moved")
    assert call(moved / "scripts/cowrun").stdout == "set up\ncowrun\n"


@pytest.mark.parametrize("left", ["", "\n", "half"])
def test_a_stamp_that_is_not_whole_is_none(checkout, left):
    (checkout / ".venv/stamp").write_text(left)
    assert call(checkout / "scripts/cowrun").stdout == "set up\ncowrun\n"


def test_a_set_up_that_fails_ends_the_call(checkout):
    (checkout / "scripts/setup").write_text("#!/bin/sh\necho 'setup: no' >&2\nexit 3\n")
    done = call(checkout / "scripts/cowrun")
    assert (done.stdout, done.stderr, done.returncode) == ("", "setup: no\n", 3)


def test_every_shell_script_is_without_mistakes():
    scripts = [path for path in (TOP / "scripts").iterdir() if path.is_file()]
    for path in scripts:
        first = path.read_text().partition("\n")[0]
        if path.suffix == ".sh" or first.endswith("sh"):
            assert call(Path("/bin/bash" if first.endswith("bash") else "/bin/sh"), "-n", str(path)).stderr == ""


def test_plain_commands(tmp_path):
    """They start without site and find the checkout first. The path is short: a ``#!`` line takes no long one."""
    top = tmp_path / "c"
    shutil.copytree(TOP / "scripts", top / "scripts", symlinks=True)
    (top / ".venv/bin").mkdir(parents=True)
    (top / ".venv/lib/python3.99/site-packages").mkdir(parents=True)
    (top / ".venv/bin/python3").symlink_to(sys.executable)
    for name in ("cowfs", "cowrun", "cowdiff", "cowfs-overlay", "mount.fuse.cowfs"):
        script = f"#!/bin/false\nimport re\nimport sys\nfrom somewhere.{name.replace('-', '.')} import main\n"
        (top / ".venv/bin" / name).write_text(script)
    (top / "tools/somewhere").mkdir(parents=True)
    (top / "tools/somewhere/cowdiff.py").write_text(
        "import gc, sys\n"
        "def main():\n"
        "    print(gc.isenabled(), 'site' in sys.modules, sys.flags.isolated, *sys.argv[1:], *sys.path[-4:])\n"
    )
    calls = "here=$0; . scripts/lib.sh; plain_commands; plain_commands"
    subprocess.run(["sh", "-euc", calls, top / "scripts/x"], cwd=top, check=True, timeout=60)
    done = call(top / ".venv/bin/cowdiff", "a b")
    assert done.stderr == ""
    assert done.stdout.split(" ", 3) == [
        "False", "False", "1", f"a b {top} {top}/launcher {top}/tools {top}/.venv/lib/python3.99/site-packages\n",
    ]  # fmt: skip


def test_where_a_path_would_have_to_be_quoted_commands_stay_as_they_are(checkout):
    before = (checkout / ".venv/bin/cowrun").read_text()
    calls = "here=$0; . scripts/lib.sh; plain_commands"
    subprocess.run(["sh", "-euc", calls, checkout / "scripts/x"], cwd=checkout, check=True, timeout=60)
    assert (checkout / ".venv/bin/cowrun").read_text() == before
