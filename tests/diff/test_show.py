"""``cowdiff show``: what it lists of many changes, and what they come to."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cowdiff = Callable[..., subprocess.CompletedProcess[str]]
CHANGES = """
echo hi >proof; printf 'ROOT:x:0:0\\n' >etc/passwd; mkdir -p srv/a/b; head -c 5000 /dev/zero >srv/a/b/big
ln -s proof srv/link; rm -r doc; chmod 700 etc
"""
ALL = ["D /doc/", "m /etc/ (mode 0755 -> 0700)", "M /etc/passwd", "A /proof", "A /srv/", "A /srv/a/", "A /srv/a/b/",
       "A /srv/a/b/big", "A /srv/link -> proof"]  # fmt: skip


@pytest.fixture
def changed(make_run: Any, cowdiff: Cowdiff) -> Callable[..., list[str]]:
    """The lines that ``show`` prints of one and the same run."""
    make_run(CHANGES)

    def show(*arguments: str) -> list[str]:
        done = cowdiff("show", "last", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return show


FILTERS: dict[str, tuple[list[str], list[str]]] = {
    "nothing": ([], ALL),
    "a path and all below": (["/srv/a"], ["A /srv/a/", "A /srv/a/b/", "A /srv/a/b/big"]),
    "a path without its slash": (["srv/a/b/"], ["A /srv/a/b/", "A /srv/a/b/big"]),
    "two paths": (["/proof", "/etc/passwd"], ["M /etc/passwd", "A /proof"]),
    "a pattern of names": (["p*"], ["M /etc/passwd", "A /proof"]),
    "a pattern of paths": (["/srv/*b*"], ["A /srv/a/b/", "A /srv/a/b/big"]),
    "what went with a directory": (["/doc/deep"], ["D /doc/deep/", "D /doc/deep/two"]),
    "a pattern of what went with one": (["t?o"], ["D /doc/deep/two"]),
    "all that went": (["--all", "-c", "D"], ["D /doc/", "D /doc/deep/", "D /doc/deep/two", "D /doc/one"]),
    "a class by its letter": (["-c", "M"], ["M /etc/passwd"]),
    "classes by their words": (
        ["-c", "modified", "--class", "removed", "/etc", "/doc"], ["D /doc/", "D /doc/deep/", "M /etc/passwd"][::2]
    ),
    "a kind": (["--kind", "symlink"], ["A /srv/link -> proof"]),
    "at least a size": (["--size", "+4k"], ["A /srv/a/b/big"]),
    "at most a size": (["--size", "-3"], ["D /doc/deep/two", "D /doc/one", "A /proof"]),
    "between two sizes": (["--size", "+3", "--size", "-1k"], ["M /etc/passwd", "A /proof"]),
}  # fmt: skip


@pytest.mark.parametrize("wanted", FILTERS)
def test_show_filters(changed: Callable[..., list[str]], wanted: str) -> None:
    arguments, expected = FILTERS[wanted]
    assert changed(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["-c", "X"], "added"), (["--size", "4k"], "+1M"), (["--size", "+many"], "size"), (["--kind", "door"], "kind")],
)
def test_a_filter_that_makes_no_sense_is_one_line(
    cowdiff: Cowdiff, make_run: Any, arguments: list[str], word: str
) -> None:
    make_run("true")
    done = cowdiff("show", "last", *arguments)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (125, "", 1)
    assert word in done.stderr


def test_stat_counts_bytes_and_how_many_differ(changed: Callable[..., list[str]]) -> None:
    lines = changed("--stat")
    assert "D /doc/ (it held 3, 4 B)" in lines
    assert "M /etc/passwd (11 B, 4 B differ)" in lines
    assert "A /srv/a/b/big (4.9 KiB)" in lines
    assert lines[-1] == (
        "6 added, 1 removed, 1 modified, 1 metadata, 3 more below removed directories: 4.9 KiB in, 4 B out"
    )


def test_stat_json(changed: Callable[..., list[str]]) -> None:
    told = {found["path"]: found for found in map(json.loads, changed("--stat", "--json"))}
    assert (told["/doc"]["held"], told["/doc"]["held_bytes"]) == (3, 4)
    assert told["/etc/passwd"]["differing"] == 4
    assert "differing" not in told["/proof"]


def test_a_tree_has_the_directories_that_lead_to_changes(changed: Callable[..., list[str]]) -> None:
    assert changed("--tree") == [
        "D doc/",
        "m etc/ (mode 0755 -> 0700)",
        "M   passwd",
        "A proof",
        "A srv/",
        "A   a/",
        "A     b/",
        "A       big",
        "A   link -> proof",
    ]
    assert changed("--tree", "b[i]g") == ["  srv/", "    a/", "      b/", "A       big"]


def test_by_directory(changed: Callable[..., list[str]]) -> None:
    rows = [line.split() for line in changed("--by", "directory", "--depth", "1")]
    assert rows[0] == ["A", "D", "M", "m", "BYTES", "IN", "OUT", "DIRECTORY"]
    assert [row[-1] for row in rows[1:]] == ["/srv/", "/", "/etc/"]
    assert rows[3] == ["1", "4", "B", "0", "B", "/etc/"]


def test_by_class_and_kind_as_json(changed: Callable[..., list[str]]) -> None:
    classes = [json.loads(line) for line in changed("--by", "class", "--json")]
    assert {row["class"]: row["changes"] for row in classes}["modified"] == {"modified": 1}
    kinds = {row["kind"]: row for row in map(json.loads, changed("--by", "kind", "--json"))}
    assert kinds["file"]["bytes_in"] == 5007
    assert kinds["directory"]["below"] == 3


def test_by_package(make_run: Any, cowdiff: Cowdiff, tmp_path: Path) -> None:
    """Files of a package that is there, one that came and one that went, and one named by its old path."""
    lower = tmp_path / "lower"
    make_run.base(  # type: ignore[attr-defined]
        """mkdir -p usr/bin var/lib/dpkg/info; ln -s usr/bin bin; echo l >usr/bin/ls; echo o >usr/bin/old
        printf '/.\\n/bin\\n/bin/ls\\n' >var/lib/dpkg/info/coreutils.list
        printf '/usr/bin/old\\n' >var/lib/dpkg/info/old:amd64.list"""
    )
    assert lower.is_dir()
    make_run(
        """echo L >usr/bin/ls
        rm usr/bin/old var/lib/dpkg/info/old:amd64.list; echo n >usr/bin/new; echo x >usr/bin/mine
        printf '/usr/bin/new\\n' >var/lib/dpkg/info/new.list"""
    )
    rows = {
        row["package"]: row["changes"]
        for row in map(json.loads, cowdiff("show", "last", "--by", "package", "--json").stdout.splitlines())
    }
    assert rows == {
        "coreutils": {"modified": 1},
        "old:amd64": {"removed": 1},
        "new": {"added": 1},
        "(no package)": {"added": 2, "removed": 1},
    }


def test_many_changes_are_written_in_few_pieces(make_run: Any, cowdiff: Cowdiff, tmp_path: Path) -> None:
    """A system call for each line would cost more than finding the change; counted, as times are not to be trusted."""
    make_run("i=0; while [ $i -lt 3000 ]; do : >n$i; i=$((i+1)); done")
    traced = tmp_path / "trace"
    strace = ["strace", "-qq", "-e", "trace=write", "-e", "write=none", "-o", traced]
    done = subprocess.run(
        [*strace, *cowdiff.command, "show", "last"],  # type: ignore[attr-defined]
        env=os.environ | cowdiff.environment,  # type: ignore[attr-defined]
        stdout=subprocess.PIPE, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 3000
    assert len(traced.read_text().splitlines()) < 100
