"""Removing trees that a container filled (I02)."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cowfs.store.trees import remove_tree


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[int]:
    """The descriptor of the directory in which trees are removed."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_a_tree_of_all_kinds_goes_and_nothing_else_does(parent: int, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("keep")
    tree = tmp_path / "tree"
    (tree / "a/b/c").mkdir(parents=True)
    (tree / "a/file").write_text("x")
    os.symlink(outside, tree / "a/link")
    os.symlink(outside / "keep", tree / "a/b/link")
    os.link(outside / "keep", tree / "hard")
    os.mkfifo(tree / "a/fifo")
    os.mknod(tree / "whiteout", 0o020600, 0)
    (tree / os.fsdecode(b"bad\xff\n")).mkdir()
    remove_tree(parent, b"tree")
    assert os.listdir(tmp_path) == ["outside"]
    assert (outside / "keep").read_text() == "keep"


def test_a_file_and_a_link_are_removed_themselves(parent: int, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    os.symlink("target", tmp_path / "link")
    remove_tree(parent, b"link")
    assert os.listdir(tmp_path) == ["target"]
    with pytest.raises(FileNotFoundError):
        remove_tree(parent, b"link")


def test_i02_depth_of_20000(parent: int, tmp_path: Path) -> None:
    fd = os.dup(parent)
    for _ in range(20_000):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.mknod("bottom", dir_fd=fd)
    os.close(fd)
    remove_tree(parent, b"d")
    assert os.listdir(tmp_path) == []


def test_i02_names_that_ours_would_take(parent: int, tmp_path: Path) -> None:
    """The names under which directories are moved up may be taken, by anything."""
    tree = tmp_path / "tree"
    (tree / "a/b/c/d").mkdir(parents=True)
    (tree / "x/y").mkdir(parents=True)
    (tree / ".removing-0/full").mkdir(parents=True)
    (tree / ".removing-1").mkdir()
    (tree / "a/.removing-0").mkdir()
    (tree / ".removing-2").write_text("a file")
    remove_tree(parent, b"tree")
    assert os.listdir(tmp_path) == []


PROGRAM = """
import os, sys
from cowfs.store.trees import remove_tree
os.setuid(1000)
remove_tree(os.open(sys.argv[1], os.O_RDONLY), b"tree")
"""


def test_i02_modes_do_not_stop_whoever_owns_the_tree(tmp_path: Path) -> None:
    (tmp_path / "tree/a/b/c").mkdir(parents=True)
    (tmp_path / "tree/a/file").write_text("x")
    for path in (tmp_path, tmp_path / "tree", tmp_path / "tree/a", tmp_path / "tree/a/b", tmp_path / "tree/a/b/c"):
        os.chown(path, 1000, 1000)
    for name in ("tree/a/b/c", "tree/a/b", "tree/a", "tree"):
        os.chmod(tmp_path / name, 0)
    with _reachable(tmp_path):
        subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, timeout=60)
    assert os.listdir(tmp_path) == []


@contextlib.contextmanager
def _reachable(path: Path) -> Iterator[None]:
    """Let everybody walk to ``path``: pytest makes its directories 0700."""
    modes = {
        parent: parent.stat().st_mode for parent in path.parents if parent.owner() == "root" and parent != Path("/")
    }
    for parent, mode in modes.items():
        parent.chmod(mode | 0o011)
    yield
    for parent, mode in modes.items():
        parent.chmod(mode)


MOUNTED = """
import errno, os, sys
from cowfs.store.trees import remove_tree
try:
    remove_tree(os.open(sys.argv[1], os.O_RDONLY), b"tree")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize("where", ["tree", "tree/a", "tree/a/b", "tree/.removing-0"])
def test_i02_what_is_mounted_below_is_not_touched(tmp_path: Path, where: str) -> None:
    """A bind mount of the same file system: only the kernel's refusal tells it from a directory."""
    (tmp_path / "outside/keep").mkdir(parents=True)
    (tmp_path / "outside/file").write_text("keep")
    (tmp_path / "tree/a/b").mkdir(parents=True)
    (tmp_path / where).mkdir(exist_ok=True)
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    arguments = [str(tmp_path / "outside"), str(tmp_path / where), sys.executable, "-c", MOUNTED, str(tmp_path)]
    done = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "EBUSY\n"
    assert sorted(os.listdir(tmp_path / "outside")) == ["file", "keep"]
