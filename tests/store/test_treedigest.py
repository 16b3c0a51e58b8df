"""The digest of a tree: each single thing that can change in it changes the digest, and nothing else does."""

import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cowfs.store.treedigest import TreeFacts, tree_facts
from cowfs.store.trees import remove_tree

TIME = 1_700_000_000_123_456_789


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(tmp_path / "tree")


def make(root: Path, names: tuple[str, ...] = ("a", "b", "c")) -> Path:
    """A tree with one of everything."""
    for directory in (root, root / "d", root / "d/e"):
        directory.mkdir(mode=0o755)
    for name in names:
        (root / "d" / name).write_text("data")
    for one, two in (("a", "a2"), ("b", "b2")):
        os.link(root / "d" / one, root / "d" / two)
    (root / "link").symlink_to("d/a")
    os.mknod(root / "tty", stat.S_IFCHR | 0o600, os.makedev(5, 0))
    os.mkfifo(root / "fifo", 0o600)
    os.setxattr(root / "d/c", "user.one", b"1")
    os.setxattr(root / "link", "trusted.two", b"2", follow_symlinks=False)
    still(root)
    return root


def still(root: Path) -> None:
    """All times the same."""
    for path in (*root.rglob("*"), root):
        os.utime(path, ns=(TIME, TIME), follow_symlinks=False)


def facts(root: Path) -> TreeFacts:
    fd = os.open(root, os.O_RDONLY)
    try:
        return tree_facts(fd)
    finally:
        os.close(fd)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a name more": lambda t: (t / "new").touch(),
    "a name less": lambda t: (t / "d/c").unlink(),
    "another name": lambda t: (t / "d/c").rename(t / "d/C"),
    "another place": lambda t: (t / "d/c").rename(t / "c"),
    "a longer file": lambda t: (t / "d/c").write_text("data!"),
    "another mode": lambda t: (t / "d/c").chmod(0o640),
    "setuid": lambda t: (t / "d/c").chmod(0o4644),
    "another mode of the root": lambda t: t.chmod(0o711),
    "another owner": lambda t: os.chown(t / "d/c", 1, -1),
    "another group of a link": lambda t: os.lchown(t / "link", -1, 1),
    "another target": lambda t: ((t / "link").unlink(), (t / "link").symlink_to("d/b")),
    "another device": lambda t: ((t / "tty").unlink(), os.mknod(t / "tty", 0o600 | stat.S_IFCHR, os.makedev(5, 1))),
    "another type": lambda t: ((t / "fifo").unlink(), os.mknod(t / "fifo", 0o600 | stat.S_IFSOCK)),
    "an attribute more": lambda t: os.setxattr(t / "d", "user.new", b""),
    "an attribute less": lambda t: os.removexattr(t / "d/c", "user.one"),
    "another value": lambda t: os.setxattr(t / "d/c", "user.one", b"2"),
    "a link's attribute": lambda t: os.setxattr(t / "link", "trusted.two", b"3", follow_symlinks=False),
    "a copy in place of a hard link": lambda t: ((t / "d/a2").unlink(), (t / "d/a2").write_text("data")),
    "the hard links the other way": lambda t: [
        (t / "d" / new).unlink() or os.link(t / "d" / old, t / "d" / new) for old, new in (("a", "b2"), ("b", "a2"))
    ],
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_change_shows(tree: Path, what: str) -> None:
    before = facts(tree)
    assert facts(tree) == before
    CHANGES[what](tree)
    still(tree)
    assert facts(tree).digest != before.digest


@pytest.mark.parametrize("name", ["d/c", "d", "link", "tty", "."])
def test_a_time_shows(tree: Path, name: str) -> None:
    before = facts(tree)
    os.utime(tree / name, ns=(TIME, TIME + 1), follow_symlinks=False)
    assert facts(tree).digest != before.digest


def test_the_order_of_making_does_not_show(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one"), make(tmp_path / "two", ("c", "b", "a"))
    assert facts(one) == facts(two)


def test_what_reading_changes_does_not_show(tree: Path) -> None:
    before = facts(tree)
    os.utime(tree / "d/c", ns=(1, TIME))
    assert facts(tree) == before


def test_e12_depth_and_width_cost_no_descriptors(tmp_path: Path) -> None:
    """Each path within what a layer may have, 4,096 bytes."""
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    for number in range(300):
        os.mkdir(str(number), dir_fd=fd)
    os.close(fd)
    before = set(os.listdir("/proc/self/fd"))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
        one, two = facts(tmp_path), facts(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        parent = os.open(tmp_path, os.O_RDONLY)
        remove_tree(parent, b"d")
        os.close(parent)
    assert one == two
    assert set(os.listdir("/proc/self/fd")) == before
