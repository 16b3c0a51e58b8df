"""Copy-up as the upper shows it: nothing before it is needed, no data where none changed, never half a file."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.behaviour.conftest import Make
from tests.behaviour.fs import read_all, write_all
from tests.behaviour.layers import BASE_TIME_NS, directory, file, special, symlink

pytestmark = pytest.mark.merged

BIG = 8 << 20
BASE = [
    directory(b"a", 0o750, uid=5, gid=6, xattrs={b"user.a": b"1"}),
    directory(b"a/b", 0o2710),
    file(b"a/b/file", b"content", 0o640, uid=7, gid=8, xattrs={b"user.x": b"2", b"trusted.y": b"3"}),
    file(b"big", b"b" * BIG),
    symlink(b"a/b/link", b"target", uid=9),
    special(b"a/b/fifo", stat.S_IFIFO, 0, 0o600),
]


def upper(fs: object) -> set[bytes]:
    """Every path in the upper."""
    root = fs.scene.upper  # type: ignore[attr-defined]
    found = set()
    for where, directories, files in os.walk(root):
        found |= {os.path.relpath(os.path.join(where, name), root) for name in directories + files}
    return found


def upper_blocks(fs: object, path: bytes) -> int:
    return os.lstat(fs.scene.upper + b"/" + path).st_blocks  # type: ignore[attr-defined]


def _is_whiteout(fs: object, name: bytes) -> bool:
    status = os.lstat(fs.scene.work + b"/work/" + name)  # type: ignore[attr-defined]
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0  # one that all whiteouts are links of


def test_reading_changes_nothing(make: Make) -> None:
    fs = make(BASE)
    read_all(fs, b"a/b/file")
    fs.listdir(b"a/b")
    fs.readlink(b"a/b/link")
    fs.listxattr(b"a/b/file")
    assert upper(fs) == set()


@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_CREAT])
def test_opening_for_writing_without_a_write_changes_nothing(make: Make, flags: int) -> None:
    fs = make(BASE)
    handle = fs.open(b"a/b/file", flags)
    handle.close()
    assert upper(fs) == set()


def test_failed_operations_change_nothing(make: Make) -> None:
    fs = make(BASE)
    failures: tuple[Callable[[], object], ...] = (
        lambda: fs.mkdir(b"a/b"),
        lambda: fs.rmdir(b"a"),
        lambda: fs.unlink(b"a/b"),
        lambda: fs.removexattr(b"a/b/file", b"user.absent"),
        lambda: fs.setxattr(b"a/b/file", b"user.x", b"", os.XATTR_CREATE),
        lambda: fs.setxattr(b"a/b/file", b"user.absent", b"", os.XATTR_REPLACE),
        lambda: fs.link(b"a/b/file", b"big"),
        lambda: fs.rename(b"a", b"big"),
        lambda: fs.open(b"a/b/file", os.O_RDWR | os.O_CREAT | os.O_EXCL),
    )
    for failing in failures:
        with pytest.raises(OSError):
            failing()
    assert upper(fs) == set()


@pytest.mark.parametrize(
    "change",
    [
        lambda fs: fs.chmod(b"big", 0o600),
        lambda fs: fs.chown(b"big", 1, 2),
        lambda fs: fs.utimens(b"big", 0, 0),
        lambda fs: fs.setxattr(b"big", b"user.a", b"b"),
        lambda fs: fs.link(b"big", b"big2"),
        lambda fs: fs.rename(b"big", b"a/big"),
    ],
    ids=["chmod", "chown", "utimens", "setxattr", "link", "rename"],
)
def test_changes_of_attributes_and_names_copy_no_data(make: Make, change: object) -> None:
    fs = make(BASE)
    change(fs)  # type: ignore[operator]
    name = b"a/big" if b"a/big" in upper(fs) else b"big"
    assert upper_blocks(fs, name) * 512 < BIG / 8
    fs.remount()
    assert read_all(fs, name) == b"b" * BIG


def test_parents_are_copied_with_all_their_attributes(make: Make) -> None:
    fs = make(BASE)
    before = {path: fs.lstat(path) for path in (b"a", b"a/b")}
    fs.chmod(b"a/b/file", 0o600)
    for _ in range(2):
        for path, status in before.items():
            now = fs.lstat(path)
            assert (now.ino, now.mode, now.uid, now.gid) == (status.ino, status.mode, status.uid, status.gid)
            assert now.mtime_ns == status.mtime_ns
        assert fs.getxattr(b"a", b"user.a") == b"1"
        fs.remount()


def test_a_copied_file_keeps_everything_that_was_not_changed(make: Make) -> None:
    fs = make(BASE)
    write_all(fs, b"a/b/file", b"C", 0)
    for _ in range(2):
        status = fs.lstat(b"a/b/file")
        assert (status.permissions, status.uid, status.gid) == (0o640, 7, 8)
        assert read_all(fs, b"a/b/file") == b"Content"
        assert fs.getxattr(b"a/b/file", b"user.x") == b"2"
        assert fs.getxattr(b"a/b/file", b"trusted.y") == b"3"
        fs.remount()


@pytest.mark.parametrize("path", [b"a/b/file", b"a/b/link", b"a/b/fifo"])
def test_every_type_is_copied_up_by_a_change_of_owner(make: Make, path: bytes) -> None:
    fs = make(BASE)
    before = fs.lstat(path)
    fs.chown(path, 100, 200)
    for _ in range(2):
        after = fs.lstat(path)
        assert (after.uid, after.gid, after.mode, after.ino) == (100, 200, before.mode, before.ino)
        assert after.mtime_ns == BASE_TIME_NS
        fs.remount()


def test_the_first_write_to_a_big_file_leaves_the_rest_readable(make: Make) -> None:
    fs = make(BASE)
    handle = fs.open(b"big", os.O_RDWR)
    handle.pwrite(b"new", BIG // 2)
    assert handle.pread(5, BIG // 2 - 1) == b"bnewb"
    handle.close()
    fs.remount()
    content = read_all(fs, b"big")
    assert len(content) == BIG
    assert content.strip(b"b") == b"new"


def test_sparse_files_stay_sparse(make: Make) -> None:
    fs = make([directory(b"d")])
    path = Path(os.fsdecode(fs.scene.lowers[-1])) / "d" / "sparse"
    with path.open("wb") as target:
        target.truncate(1 << 30)
        target.seek(1 << 29)
        target.write(b"middle")
    write_all(fs, b"d/sparse", b"new", 0)
    handle = fs.open(b"d/sparse", os.O_RDONLY)
    assert handle.pread(8, (1 << 29) - 1) == b"\0middle\0"
    assert handle.status().size == 1 << 30
    handle.close()
    assert upper_blocks(fs, b"d/sparse") * 512 < 2 << 20


def test_the_lowers_are_never_written(make: Make) -> None:
    fs = make(BASE)
    lower = fs.scene.lowers[0]

    def state() -> dict[bytes, tuple[int, ...]]:
        return {
            os.path.join(where, name): (
                *os.lstat(os.path.join(where, name))[:7],
                os.lstat(os.path.join(where, name)).st_ctime_ns,
            )
            for where, directories, files in os.walk(lower)
            for name in directories + files
        }

    before = state()
    write_all(fs, b"a/b/file", b"1", 0)
    fs.truncate(b"big", 1)
    fs.rename(b"a/b/link", b"c")
    fs.unlink(b"c")
    fs.link(b"a/b/fifo", b"fifo")
    fs.chmod(b"a", 0o700)
    read_all(fs, b"big")
    assert state() == before


def test_atime_of_a_lower_file_stays_when_it_is_read(make: Make) -> None:
    fs = make(BASE)
    place = fs.scene.lowers[0] + b"/a/b/file"
    before = os.stat(place).st_atime_ns
    read_all(fs, b"a/b/file")
    assert os.stat(place).st_atime_ns == before


def test_the_work_directory_holds_nothing_after_a_copy_up(make: Make) -> None:
    fs = make(BASE)
    write_all(fs, b"a/b/file", b"1", 0)
    fs.chmod(b"big", 0o600)
    fs.rename(b"a/b/link", b"c")
    fs.unlink(b"a/b/fifo")
    assert not [name for name in os.listdir(fs.scene.work + b"/work") if not _is_whiteout(fs, name)]
