"""The scan of uppers that the kernel's overlayfs made: what each operation is called, in the words of the lines."""

import subprocess
import sys
from typing import Any

import pytest

from cowfs.runs.changes import ChangeClass

BASE = """
mkdir -p d/sub keep gone empty
echo 1 >d/one; echo 2 >d/two; echo s >d/sub/s
echo f >f; echo g >g; echo x >x; echo y >y
echo h >h; ln h h2
ln -s f link
mkfifo fifo
mknod null c 1 3
touch gone/a gone/b keep/k
"""

# what was done, in words: (script, lines); the same whatever marks the mount may write
OPERATIONS: dict[str, tuple[str, list[str]]] = {
    "nothing": (":", []),
    "reading": ("cat f d/one >/dev/null; ls -R . >/dev/null", []),
    "create a file": ("echo n >new", ["A /new"]),
    "create in a directory": ("echo n >d/new", ["A /d/new"]),
    "create deep": ("mkdir -p a/b; echo n >a/b/c", ["A /a/", "A /a/b/", "A /a/b/c"]),
    "create and remove again": ("echo n >new; rm new", []),
    "write": ("echo more >>f", ["M /f"]),
    "write the same size": ("echo F >f", ["M /f"]),
    "truncate": (": >f", ["M /f"]),
    "write below": ("echo more >>d/sub/s", ["M /d/sub/s"]),
    "chmod": ("chmod 600 f", ["m /f (mode 0644 -> 0600)"]),
    "chmod a directory": ("chmod 700 d", ["m /d/ (mode 0755 -> 0700)"]),
    "chmod the root": ("chmod 700 .", ["m / (mode 0755 -> 0700)"]),
    "chown": ("chown 7:8 f", ["m /f (owner 0:0 -> 7:8)"]),
    "set an attribute": ("attribute user.note x f", ["m /f (+user.note)"]),
    "write and chmod": ("echo F >f; chmod 755 f", ["M /f (mode 0644 -> 0755)"]),
    "touch": ("touch f", ["t /f"]),
    "touch a directory": ("touch keep", ["t /keep/"]),
    "rewrite the same bytes": ("echo f >f", ["t /f"]),
    "open for writing": ("exec 3<>f", ["= /f"]),
    "chmod and back": ("chmod 600 f; chmod 644 f", ["= /f"]),
    "remove a file": ("rm f", ["D /f"]),
    "remove a directory": ("rm -r d", ["D /d/"]),
    "remove most of a directory": ("rm -r d/sub d/one", ["D /d/one", "D /d/sub/"]),
    "remove a link and a fifo": ("rm link fifo", ["D /fifo", "D /link"]),
    "change a link": ("ln -sfn g link", ["M /link -> g"]),
    "another device": ("rm null; mknod null c 1 5", ["M /null"]),
    "recreate a file": ("rm f; echo other >f", ["M /f"]),
    "save by rename": ("echo other >f.new; mv f.new f", ["M /f"]),
    "save with a backup": ("mv f f~; echo other >f", ["M /f", "R /f~ (from /f)"]),
    "recreate a directory": ("rm -r gone; mkdir gone; touch gone/a", ["t /gone/a", "D /gone/b"]),
    "recreate a directory deeper": (
        "rm -r d; mkdir -p d/sub/new; echo S >d/sub/s",
        ["D /d/one", "A /d/sub/new/", "M /d/sub/s", "D /d/two"],
    ),
    "recreate a directory with another mode": (
        "rm -r keep; mkdir -m 700 keep",
        ["m /keep/ (mode 0755 -> 0700)", "D /keep/k"],
    ),
    "a directory where a file was": ("rm f; mkdir f; touch f/in", ["T /f/ (was a file)", "A /f/in"]),
    "a file where a directory was": ("rm -r d; echo n >d", ["T /d (was a directory)"]),
    "a link where a file was": ("rm f; ln -s g f", ["T /f -> g (was a file)"]),
    "a link where a directory was": ("rm -r d; ln -s keep d", ["T /d -> keep (was a directory)"]),
    "a directory where a link was": ("rm link; mkdir link", ["T /link/ (was a symlink)"]),
    "rename a file": ("mv f moved", ["R /moved (from /f)"]),
    "rename and write": ("mv f moved; echo more >>moved", ["R /moved (from /f; content differs)"]),
    "rename and chmod": ("mv f moved; chmod 600 moved", ["R /moved (from /f; mode 0644 -> 0600)"]),
    "rename and back": ("mv f moved; mv moved f", ["= /f"]),
    "rename into a directory": ("mv f d/f", ["R /d/f (from /f)"]),
    "rename out of a directory": ("mv d/one .", ["R /one (from /d/one)"]),
    "rename over a file": ("mv f g", ["R /g (from /f; over a file)"]),
    "rename a link": ("mv link l2", ["R /l2 -> f (from /link)"]),
    "rename a fifo": ("mv fifo fifo2", ["R /fifo2 (from /fifo)"]),
    "exchange two files": ("exchange x y", ["R /x (from /y)", "R /y (from /x)"]),
    "a hard link": ("ln f f2", ["= /f", "A /f2 (hard link of /f)"]),
    "a hard link, then the old name goes": ("ln f f2; rm f", ["R /f2 (from /f)"]),
    "rename, with a second name": ("mv f f1; ln f1 f2", ["R /f1 (from /f)", "A /f2 (hard link of /f1)"]),
    "two new names of one new file": ("echo n >n1; ln n1 n2", ["A /n1", "A /n2 (hard link of /n1)"]),
}

# directories move only with redirects, and one name speaks for the other only with an index
WITH_MARKS: dict[str, tuple[str, list[str]]] = {
    "rename a directory": ("mv d e", ["R /e/ (from /d)"]),
    "rename a directory and change it": (
        "mv d e; echo more >>e/one; rm e/two; touch e/new",
        ["D /d/two", "R /e/ (from /d)", "A /e/new", "M /e/one"],
    ),
    "rename within a renamed directory": ("mv d e; mv e/one e/uno", ["R /e/ (from /d)", "R /e/uno (from /d/one)"]),
    "rename into a new directory": ("mkdir n; mv d n/d", ["A /n/", "R /n/d/ (from /d)"]),
    "rename over an empty directory": ("mv -T d empty", ["R /empty/ (from /d; over a directory)"]),
    "rename over a removed directory": ("rm -r keep; mv d keep", ["R /keep/ (from /d; over a directory)"]),
    "rename and another in its place": ("mv d e; mkdir d; touch d/new", ["A /d/", "A /d/new", "R /e/ (from /d)"]),
    "rename, remove below and make that anew": (
        "mv d e; rm -r e/one e/sub; mkdir -p d/sub; echo new >d/one",
        ["A /d/", "M /d/one", "T /d/sub/ (was a directory)", "R /e/ (from /d)"],
    ),
    "rename, remove below, and another directory in its place": (
        "mkdir n; mv keep n; rm n/keep/k; mv d keep; mv keep/one keep/k; mv keep/two k; mv k keep/k",
        ["D /d/one", "R /keep/ (from /d)", "R /keep/k (from /d/two; over a file)", "A /n/", "R /n/keep/ (from /keep)"],
    ),
    "rename and the same in its place": (
        "cp -a d e; mv d f2; mv e d",
        ["A /d/", "A /d/one", "A /d/sub/", "A /d/sub/s", "A /d/two", "R /f2/ (from /d)"],
    ),
    "exchange two directories": ("exchange d keep", ["R /d/ (from /keep)", "R /keep/ (from /d)"]),
    "exchange a file and a directory": ("exchange f d", ["R /d (from /f)", "R /f/ (from /d)"]),
    "rename out, then remove the rest": (
        "mv d/one .; chmod 600 one; rm -r d",
        ["D /d/", "R /one (from /d/one; mode 0644 -> 0600)"],
    ),
    "write through one of two names": ("echo more >>h", ["M /h", "M /h2 (hard link of /h)"]),
    "chmod through one of two names": (
        "chmod 600 h2",
        ["m /h (hard link of /h2; mode 0644 -> 0600)", "m /h2 (mode 0644 -> 0600)"],
    ),
    "open one of two names for writing": ("exec 3<>h", ["= /h"]),
    "remove one of two names": ("rm h2", ["D /h2"]),
    "rename one of two names and write": (
        "mv h2 h3; echo more >>h3",
        ["M /h (hard link of /h3)", "R /h3 (from /h2; content differs)"],
    ),
}


@pytest.mark.parametrize("options", ["full", "plain"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation(scene: Any, operation: str, options: str) -> None:
    script, expected = OPERATIONS[operation]
    scene.base(BASE)
    scene.change(script, options)
    assert scene.lines() == expected


@pytest.mark.parametrize("operation", WITH_MARKS)
def test_operation_that_needs_marks(scene: Any, operation: str) -> None:
    script, expected = WITH_MARKS[operation]
    scene.base(BASE)
    scene.change(script)
    assert scene.lines() == expected


@pytest.mark.parametrize(
    ("script", "overwrote"),
    [
        ("exchange x y", {b"/x": False, b"/y": False}),
        ("exchange d keep", {b"/d": False, b"/keep": False}),
        ("mv f g", {b"/g": True}),
        ("rm -r keep; mv d keep", {b"/keep": True}),
        ("mv d e; mkdir d; mv f d/one", {b"/d/one": False, b"/e": False}),
    ],
)
def test_what_was_renamed_says_if_it_overwrote(scene: Any, script: str, overwrote: dict[bytes, bool]) -> None:
    scene.base(BASE)
    scene.change(script)
    renamed = [change for change in scene.changes() if change.change is ChangeClass.RENAMED]
    assert {change.path: change.overwrote is not None for change in renamed} == overwrote


def test_a_file_that_another_directory_took_the_place_of_is_not_forgotten(scene: Any) -> None:
    scene.base("mkdir a b; echo a >a/f; echo b >b/f")
    scene.change("mv a z; rm z/f; mv b a; echo more >>a/f")
    assert scene.lines() == ["R /a/ (from /b)", "M /a/f (over a file)", "R /z/ (from /a)"]


COWFS = [sys.executable, "-c", "from cowfs.cli.main import main; main()"]
NOT_A_CHANGE = {"open for writing", "open one of two names for writing"}  # for cowfs: only writing copies up


def test_cowfs_leaves_the_same(scene: Any) -> None:
    """All operations once more, each in a directory of its own, through one mount of cowfs."""
    operations = {f"op{number}": item for number, item in enumerate({**OPERATIONS, **WITH_MARKS}.items())}
    scene.base("\n".join(f"mkdir {place}; cd {place}; {BASE}\ncd .." for place in operations))
    layers = ["--upper", scene.upper, "--work", scene.directory / "work", f"dir:{scene.lower}"]
    subprocess.run([*COWFS, "mount", *layers, scene.merged], check=True, timeout=60)
    try:
        for place, (_, (script, _)) in operations.items():
            scene.shell(script, scene.merged / place)
    finally:
        subprocess.run([*COWFS, "umount", scene.merged], check=True, timeout=60)
    told = scene.lines()
    for place, (operation, (_, expected)) in operations.items():
        lines = [line.replace(f"/{place}", "") for line in told if f" /{place}/" in line]
        lines = [line for line in lines if line != "t /"]  # only a real root's times say nothing
        assert lines == ([] if operation in NOT_A_CHANGE else expected), operation
