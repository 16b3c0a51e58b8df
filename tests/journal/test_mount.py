"""A mount that keeps a journal, without a run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cowfs.fuse import serve
from cowfs.journal.history import History
from cowfs.journal.reader import Change, Reader
from cowfs.journal.records import EXCHANGE, Op
from cowfs.options import MountOptions

PROGRAM = [sys.executable, "-c", "from cowfs.cli.main import main; main()"]


class Mount:
    """The layers of a mount, and its journal."""

    def __init__(self, top: Path) -> None:
        self.top, self.journal = top, top / "journal"
        self.low, self.upper, self.work, self.mnt = (top / name for name in ("low", "upper", "work", "mnt"))
        for directory in (self.low, self.upper, self.work, self.mnt):
            directory.mkdir()

    @contextmanager
    def live(self, transport: str = "auto") -> Iterator[Path]:
        options = MountOptions((self.low,), self.upper, self.work, journal=self.journal, transport=transport)
        pid = serve.start(options, self.mnt, detach=False)
        try:
            yield self.mnt
        finally:
            serve.unmount(self.mnt)
            os.waitpid(pid, 0)

    def changes(self) -> list[Change]:
        reader = Reader(self.journal)
        found = list(reader.more())
        assert reader.ended
        return found

    def told(self) -> list[tuple[Op, bytes]]:
        return [(change.op, change.path) for change in self.changes()]


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path)


def test_i01_a_path_longer_than_a_record(mount: Mount) -> None:
    name, depth = b"n" * 255, 300
    with mount.live() as root:
        place = os.open(root, os.O_PATH)
        for _ in range(depth):
            os.mkdir(name, dir_fd=place)
            below = os.open(name, os.O_PATH, dir_fd=place)
            os.close(place)
            place = below
        os.close(place)
    changes = mount.changes()
    assert [change.path.count(b"/") for change in changes] == list(range(depth))
    assert changes[-1].path == b"/".join([name] * depth)
    assert mount.journal.stat().st_size < depth * 1000
    subprocess.run(["rm", "-rf", str(mount.upper)], check=True)


def test_paths_are_true_after_directories_moved(mount: Mount) -> None:
    (mount.low / "a" / "b").mkdir(parents=True)
    (mount.low / "a" / "b" / "f").write_text("x")
    with mount.live() as root:
        (root / "a" / "b" / "one").mkdir()
        (root / "a").rename(root / "z")
        (root / "z" / "b" / "two").mkdir()
        (root / "z" / "b" / "f").chmod(0o600)
        (root / "a").mkdir()
        (root / "a" / "three").mkdir()
    assert mount.told() == [
        (Op.MKDIR, b"a/b/one"),
        (Op.RENAME, b"a"),
        (Op.MKDIR, b"z/b/two"),
        (Op.ATTRIBUTES, b"z/b/f"),
        (Op.MKDIR, b"a"),
        (Op.MKDIR, b"a/three"),
    ]


@pytest.mark.parametrize("transport", ["auto", "plain"])
def test_a_write_is_told_where_there_was_one(mount: Mount, transport: str) -> None:
    for name in ("read", "opened", "written", "mapped", "cut"):
        (mount.low / name).write_bytes(b"x" * 5000)
    with mount.live(transport) as root:
        for name, mode in (("read", "rb"), ("opened", "r+b"), ("written", "r+b")):
            with (root / name).open(mode) as file:
                if name == "written":
                    file.write(b"new")
        _write_through_a_mapping(root / "mapped")
        os.truncate(root / "cut", 10)
        (root / "new").write_bytes(b"y" * 10)
        (root / "empty").touch()
    told = mount.told()
    assert {path for op, path in told if op is Op.CLOSE} == {b"written", b"mapped", b"new"}
    assert (Op.ATTRIBUTES, b"cut") in told
    assert (Op.CREATE, b"empty") in told
    by_path = {change.path: change for change in mount.changes() if change.op is Op.CLOSE}
    assert (by_path[b"written"].before, by_path[b"written"].size, by_path[b"written"].layer) == (5000, 5000, 1)
    assert (by_path[b"new"].before, by_path[b"new"].size) == (0, 10)


def _write_through_a_mapping(path: Path) -> None:
    from mmap import mmap

    with path.open("r+b") as file, mmap(file.fileno(), 0) as mapping:
        mapping[0:3] = b"map"


def test_every_operation_has_its_record(mount: Mount) -> None:
    (mount.low / "f").write_text("f")
    with mount.live() as root:
        os.mkfifo(root / "fifo")
        (root / "s").symlink_to("f")
        os.link(root / "f", root / "g")
        os.setxattr(root / "f", "user.a", b"1")
        os.removexattr(root / "f", "user.a")
        os.chown(root / "f", 1, 2)
        os.utime(root / "f", (1, 1))
        _exchange(root / "fifo", root / "s")
        (root / "g").unlink()
        os.chmod(root, 0o700)
        with (root / "f").open("w"):
            pass
    changes = {(change.op, change.path): change for change in mount.changes()}
    assert changes[Op.SYMLINK, b"s"].target == b"f"
    assert changes[Op.LINK, b"g"].other == b"f"
    assert changes[Op.SETXATTR, b"f"].name == b"user.a"
    assert (Op.REMOVEXATTR, b"f") in changes
    assert (changes[Op.RENAME, b"fifo"].other, changes[Op.RENAME, b"fifo"].flags) == (b"s", EXCHANGE)
    assert changes[Op.UNLINK, b"g"].layer == 1, "its data never moved"
    assert changes[Op.ATTRIBUTES, b""].mode == 0o40700
    masks = [change.mask for change in mount.changes() if change.path == b"f" and change.op is Op.ATTRIBUTES]
    assert masks == [6, 16, 8]
    assert [change.uid for change in mount.changes() if change.mask == 6] == [1]
    history = History(mount.changes())
    assert [change.op for change in history.blame(b"s")][:2] == [Op.MKNOD, Op.RENAME]


def _exchange(one: Path, other: Path) -> None:
    from cowfs.layers import syscalls

    syscalls.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), syscalls.RENAME_EXCHANGE)


def test_a_file_without_a_name_is_no_change(mount: Mount) -> None:
    with mount.live() as root, (root / "f").open("w") as file:
        (root / "f").unlink()
        file.write("gone")
        os.fchmod(file.fileno(), 0o600)
    assert mount.told() == [(Op.CREATE, b"f"), (Op.UNLINK, b"f")]


def test_what_failed_is_no_change(mount: Mount) -> None:
    (mount.low / "d").mkdir()
    (mount.low / "d" / "f").touch()
    with mount.live() as root:
        with pytest.raises(OSError):
            (root / "d").rmdir()
        with pytest.raises(FileExistsError):
            (root / "d").mkdir()
        with pytest.raises(OSError):
            os.removexattr(root / "d", "user.none")
    assert mount.told() == []


def test_the_command_line(mount: Mount) -> None:
    arguments = ["mount", f"dir:{mount.low}", str(mount.mnt), "--journal", str(mount.journal)]
    without = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert (without.returncode, "--upper" in without.stderr) == (125, True)
    more = ["--upper", str(mount.upper), "--work", str(mount.work)]
    subprocess.run([*PROGRAM, *arguments, *more], check=True)
    (mount.mnt / "d").mkdir()
    subprocess.run([*PROGRAM, "umount", str(mount.mnt)], check=True)
    end = 200
    while not Reader(mount.journal).path.stat().st_size or not _ended(mount.journal):
        end -= 1
        assert end, "the journal was not closed"
        subprocess.run(["sleep", "0.05"], check=True)
    assert mount.told() == [(Op.MKDIR, b"d")]


def _ended(path: Path) -> bool:
    reader = Reader(path)
    return bool(list(reader.more())) and reader.ended
