"""Runs on top of runs, the same command again, and what goes by itself when a run ends."""

import subprocess
import sys
from typing import Any

COWDIFF = [sys.executable, "-c", "from cowdiff.main import main; main()"]


def cowdiff(cowrun: Any, *arguments: str, status: int = 0) -> str:
    line = [*COWDIFF, "--root", str(cowrun.store), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=cowrun.environment)
    assert done.returncode == status, done
    return done.stdout


def test_a_run_starts_with_what_another_left(cowrun: Any) -> None:
    assert cowrun.run(cowrun.root, "sh", "-c", "echo one >/one; mkdir /gone; rm -r /bin/seq").returncode == 0
    first = cowrun.runs[0]
    script = "cat /one; test ! -e /bin/seq && echo two >/two && echo more >>/one"
    done = cowrun.run("--from", first.id, cowrun.root, "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, "one\n")
    assert cowdiff(cowrun, "show", "last").splitlines() == ["M /one", "A /two"]
    third = cowrun.run("--from", "last", cowrun.root, "cat", "/one", "/two")
    assert third.stdout == "one\nmore\ntwo\n"
    cowdiff(cowrun, "rm", first.id, status=125)
    cowdiff(cowrun, "prune", "--keep", "0")
    assert first.id in {run.id for run in cowrun.runs}


def test_names_of_one_file_stay_that_over_many_runs(cowrun: Any, small_root: Any) -> None:
    """Of which each run touches one: what says that the others are the same file is in the index of that run."""
    (small_root / "srv" / "h").write_text("0\n")
    for name in ("h2", "tmp"):
        (small_root / "srv" / name).hardlink_to(small_root / "srv" / "h")
    look = "cat h; cmp h h2; cmp h tmp; stat -c '%h %a %i' h h2 tmp | uniq"

    def run(script: str, *options: str) -> list[str]:
        done = cowrun.run(*options, "-w", "/srv", cowrun.root, "sh", "-ec", f"{script}; {look}")
        assert done.returncode == 0, done
        *content, facts = done.stdout.splitlines()  # one line of facts: they are the same for all names
        return [*content, " ".join(facts.split()[:2])]

    assert run("echo 1 >>h2") == ["0", "1", "3 644"]
    assert run(":", "--from", "last") == ["0", "1", "3 644"]
    assert run("chmod 600 tmp", "--from", "last") == ["0", "1", "3 600"]
    assert run("echo 2 >>h", "--from", "last") == ["0", "1", "2", "3 600"]
    assert run("ln h new; rm tmp; mv new tmp", "--from", "last") == ["0", "1", "2", "3 600"]
    assert run("chmod 640 h2", "--from", "last") == ["0", "1", "2", "3 640"]
    assert cowdiff(cowrun, "cat", "last", "/srv/h") == "0\n1\n2\n"
    assert {line[0] for line in cowdiff(cowrun, "show", "last").splitlines()} <= {"m", "="}


def test_another_base_cannot_go_below_a_run(cowrun: Any, tmp_path: Any) -> None:
    assert cowrun.run(cowrun.root, "true").returncode == 0
    other = tmp_path / "other"
    other.mkdir()
    done = cowrun.run("--from", "last", f"dir:{other}", "true")
    assert done.returncode == 125
    assert "was over" in done.stderr


def test_rerun(cowrun: Any) -> None:
    assert cowrun.run(cowrun.root, "sh", "-c", "echo x >>/log; wc -l </log; exit 3").returncode == 3
    first = cowrun.runs[0].id
    assert cowdiff(cowrun, "rerun", first, status=3).strip() == "1"
    assert cowdiff(cowrun, "rerun", "--from", first, first, status=3).strip() == "2"
    assert cowdiff(cowrun, "rerun", first, "--", "--name", "again", status=3).strip() == "1"
    assert cowrun.runs[0].name == "again"
    assert len(cowrun.runs) == 4
    assert len({run.command for run in cowrun.runs}) == 1


def test_old_runs_go_when_one_ends_but_pinned_ones(cowrun: Any) -> None:
    for _ in range(2):
        assert cowrun.run(cowrun.root, "true").returncode == 0
    pinned = cowrun.runs[1].id
    cowdiff(cowrun, "pin", pinned)
    (cowrun.store / "runs.toml").write_text("keep = 1\n")
    assert cowrun.run(cowrun.root, "true").returncode == 0
    assert [run.id for run in cowrun.runs][1:] == [pinned]
    (cowrun.store / "runs.toml").write_text("keep = nothing\n")
    done = cowrun.run(cowrun.root, "sh", "-c", "exit 3")
    assert done.returncode == 3
    assert "runs.toml" in done.stderr
