"""``cowrun volume``: the named volumes of a store are listed and removed, never while a run uses them."""

import json
import os
import subprocess
from typing import Any

from tests.run.conftest import PROGRAM


def volume(cowrun: Any, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    line = [*PROGRAM, "volume", "--root", str(cowrun.store), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=30, check=False, input=answer)


def test_they_are_listed_and_removed(cowrun: Any) -> None:
    assert volume(cowrun, "ls", "-q").stdout == ""
    for name in ("data", "more"):
        cowrun.inside("head -c 100000 /dev/zero >/srv/file", "-v", f"{name}:/srv")
    assert volume(cowrun, "ls", "-q").stdout == "data\nmore\n"
    _, *rows = volume(cowrun, "ls").stdout.splitlines()
    assert [row.split() for row in rows] == [
        ["data", "100.0", "KiB", cowrun.runs[1].id],
        ["more", "100.0", "KiB", cowrun.runs[0].id],
    ]
    (found,) = json.loads(volume(cowrun, "inspect", "data").stdout)
    assert os.listdir(found["Mountpoint"]) == ["file"]
    assert (found["Name"], found["Runs"], found["InUse"]) == ("data", [cowrun.runs[1].id], False)
    assert json.loads(volume(cowrun, "ls", "--json").stdout.splitlines()[0]) == found
    done = volume(cowrun, "rm", "absent", "data")
    assert (done.returncode, done.stdout) == (125, "data\n")
    assert done.stderr == "cowrun: no volume 'absent' in the store (cowrun volume ls lists them)\n"
    assert volume(cowrun, "rm", "-f", "absent").returncode == 0
    assert volume(cowrun, "ls", "-q").stdout == "more\n"


def test_none_is_removed_that_a_run_uses(cowrun: Any) -> None:
    process = cowrun.start_ready("echo up; read x; touch /srv/last", "-v", "data:/srv")
    for arguments in (("rm", "data"), ("rm", "-f", "data")):
        done = volume(cowrun, *arguments)
        assert (done.returncode, done.stdout) == (125, "")
        assert "in use" in done.stderr
    assert volume(cowrun, "prune", "--all", "--force").stdout == "no volume is unused\n"
    assert volume(cowrun, "ls").stdout.splitlines()[1].endswith("(in use)")
    process.communicate("go\n", timeout=30)
    assert process.returncode == 0
    assert os.listdir(cowrun.store / "volumes/data") == ["last"]
    assert volume(cowrun, "rm", "data").stdout == "data\n"
    assert cowrun.inside("ls /srv", "-v", "data:/srv") == ""


def test_to_prune_takes_what_no_run_has_and_asks(cowrun: Any) -> None:
    cowrun.inside("touch /srv/x", "-v", "old:/srv")
    (cowrun.store / "volumes" / "orphan").mkdir()
    assert volume(cowrun, "prune", answer="n\n").returncode == 1
    assert volume(cowrun, "ls", "-q").stdout == "old\norphan\n"
    done = volume(cowrun, "prune", answer="y\n")
    assert done.stdout.splitlines()[0] == "orphan  0 B"
    assert volume(cowrun, "ls", "-q").stdout == "old\n"
    assert volume(cowrun, "prune", "--all", "--force").stdout == "old\n"
    assert volume(cowrun, "ls", "-q").stdout == ""
