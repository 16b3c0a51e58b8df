"""I01 once more, through the commands: hostile trees are shown whole, escaped, and nothing of the host is touched."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.diff.test_hostile import DEPTH, deep, flatten

COMMANDS = [["show", "--stat"], ["show", "--tree"], ["show", "--by", "directory"], ["show", "--json"], ["text"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_i01_hostile_trees_through_every_command(
    make_run: Any, cowdiff: Any, tmp_path: Path, command: list[str]
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("canary")
    before = canary.stat()
    run = make_run("true")
    deep(run.upper, DEPTH // 10)
    try:
        for name in (b"\x1b]0;owned\x07", b"two\nlines", "\u202egnp".encode(), b"\xff\xfe", b"-rf"):
            Path(os.fsdecode(os.path.join(os.fsencode(run.upper), name))).write_text("x")
        os.mkfifo(run.upper / "fifo")
        os.mknod(run.upper / "disk", 0o60666, os.makedev(8, 0))
        (run.upper / "link").symlink_to(canary)
        with open(run.upper / "sparse", "wb") as file:
            file.truncate(1 << 43)
        done = cowdiff(command[0], run.id, *command[1:])
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout
        assert "\u202e" not in done.stdout
        assert "canary\n" not in done.stdout.replace(str(canary), "")
        if command[0] == "show" and "--by" not in command:
            assert len(done.stdout.splitlines()) >= 2 * (DEPTH // 10) + 9
        assert canary.stat() == before
    finally:
        flatten(run.upper)
