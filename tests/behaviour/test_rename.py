"""rename(2) in all its forms: what replaces what, flags, loops, and directories of which a part is in the upper."""

import errno
import os
import stat

import pytest

from tests.behaviour.conftest import Make
from tests.behaviour.fs import Fs, errno_of, exists, names, read_all, write_all
from tests.behaviour.layers import directory, file, hard_link, special, symlink, whiteout
from tests.behaviour.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT

THINGS = [
    file(b"file", b"file"),
    file(b"file2", b"file2"),
    directory(b"empty"),
    directory(b"empty2"),
    file(b"full/x", b"x"),
    file(b"full2/y", b"y"),
    symlink(b"link", b"file"),
    symlink(b"link2", b"full"),
    special(b"fifo", stat.S_IFIFO),
]

MATRIX = [
    (b"file", b"file2", 0),
    (b"file", b"empty", errno.EISDIR),
    (b"file", b"full", errno.EISDIR),
    (b"file", b"link", 0),
    (b"file", b"fifo", 0),
    (b"link", b"file", 0),
    (b"link", b"link2", 0),
    (b"link2", b"full", errno.EISDIR),
    (b"fifo", b"file", 0),
    (b"empty", b"file", errno.ENOTDIR),
    (b"empty", b"link2", errno.ENOTDIR),
    (b"empty", b"empty2", 0),
    (b"empty", b"full", errno.ENOTEMPTY),
    (b"full", b"empty", 0),
    (b"full", b"full2", errno.ENOTEMPTY),
    (b"full", b"file", errno.ENOTDIR),
    (b"full", b"full/inside", errno.EINVAL),
    (b"full", b"full/x", errno.EINVAL),
    (b"full/x", b"full", errno.ENOTEMPTY),
    (b"absent", b"file", errno.ENOENT),
    (b"file", b"absent/x", errno.ENOENT),
    (b"file", b"file2/x", errno.ENOTDIR),
    (b"file", b"n" * 256, errno.ENAMETOOLONG),
    (b"file", b"file", 0),
    (b"full", b"full", 0),
]


def fingerprint(fs: Fs, path: bytes) -> tuple[int, bytes | set[bytes]]:
    mode = fs.lstat(path).mode
    if stat.S_ISDIR(mode):
        return stat.S_IFDIR, names(fs, path)
    if stat.S_ISLNK(mode):
        return stat.S_IFLNK, fs.readlink(path)
    return stat.S_IFMT(mode), read_all(fs, path) if stat.S_ISREG(mode) else b""


def raise_all(fs: Fs) -> None:
    """Bring every thing into the upper, where there is one, without a visible change."""
    for entry in THINGS:
        fs.chown(entry.path, 0, 0)


@pytest.mark.parametrize("where", ["lower", "upper"])
@pytest.mark.parametrize(("old", "new", "expected"), MATRIX)
def test_what_may_replace_what(make: Make, where: str, old: bytes, new: bytes, expected: int) -> None:
    fs = make(THINGS)
    if where == "upper":
        raise_all(fs)
    before = fingerprint(fs, old) if exists(fs, old) else None
    assert errno_of(fs.rename, old, new) == expected
    if not expected:
        assert fingerprint(fs, new) == before
        assert exists(fs, old) == (old == new)


@pytest.mark.parametrize(
    ("old", "new", "expected"), [(old, new, code) for old, new, code in MATRIX if new != b"n" * 256]
)
def test_exchange(make: Make, old: bytes, new: bytes, expected: int) -> None:
    fs = make(THINGS)
    if not exists(fs, old) or errno_of(fs.lstat, new):
        assert errno_of(fs.rename, old, new, RENAME_EXCHANGE) in (errno.ENOENT, errno.ENOTDIR)
        return
    if new.startswith(old + b"/") or old.startswith(new + b"/"):
        assert errno_of(fs.rename, old, new, RENAME_EXCHANGE) == errno.EINVAL
        return
    before, after = fingerprint(fs, old), fingerprint(fs, new)
    fs.rename(old, new, RENAME_EXCHANGE)
    assert (fingerprint(fs, new), fingerprint(fs, old)) == (before, after)


@pytest.mark.parametrize("old", [b"file", b"empty", b"full", b"link", b"fifo"])
def test_noreplace(make: Make, old: bytes) -> None:
    fs = make(THINGS)
    for entry in THINGS:
        top = entry.path.split(b"/")[0]
        assert errno_of(fs.rename, old, top, RENAME_NOREPLACE) == errno.EEXIST
    before = fingerprint(fs, old)
    fs.rename(old, b"new", RENAME_NOREPLACE)
    assert fingerprint(fs, b"new") == before


@pytest.mark.kernel
def test_flags_that_exclude_each_other(make: Make) -> None:
    fs = make(THINGS)
    assert errno_of(fs.rename, b"file", b"file2", RENAME_NOREPLACE | RENAME_EXCHANGE) == errno.EINVAL
    assert errno_of(fs.rename, b"file", b"file2", 1 << 10) == errno.EINVAL


@pytest.mark.merged
def test_rename_whiteout_from_inside_is_refused_and_changes_nothing(make: Make) -> None:
    fs = make(THINGS)
    assert errno_of(fs.rename, b"file", b"new", RENAME_WHITEOUT) == errno.EINVAL
    assert read_all(fs, b"file") == b"file"
    assert not exists(fs, b"new")


def test_two_names_of_one_file_are_left_alone(make: Make) -> None:
    fs = make([file(b"a", b"1"), hard_link(b"b", b"a")])
    fs.rename(b"a", b"b")
    assert names(fs) == {b"a", b"b"}
    assert fs.lstat(b"a").nlink == 2


@pytest.mark.merged
def test_a_merged_directory_is_renamed_and_keeps_its_names(make: Make) -> None:
    fs = make([file(b"d/low", b"1"), file(b"d/sub/deep", b"2")], [file(b"d/high", b"3"), whiteout(b"d/gone")])
    write_all(fs, b"d/up", b"4")
    fs.unlink(b"d/high")
    fs.rename(b"d", b"e")
    for _ in range(2):
        assert names(fs) == {b"e"}
        assert names(fs, b"e") == {b"low", b"sub", b"up"}
        assert read_all(fs, b"e/sub/deep") == b"2"
        fs.remount()


@pytest.mark.merged
def test_a_lower_directory_is_renamed_again_and_again(make: Make) -> None:
    fs = make([file(b"a/b/c/file", b"1"), directory(b"x/y")])
    fs.rename(b"a/b/c", b"x/y/c")
    fs.rename(b"x", b"a/b/x")
    fs.rename(b"a", b"z")
    fs.remount()
    fs.rename(b"z/b/x/y/c", b"c")
    fs.rename(b"c", b"z/c")
    for _ in range(2):
        assert read_all(fs, b"z/c/file") == b"1"
        assert names(fs) == {b"z"}
        assert names(fs, b"z/b/x/y") == set()
        fs.remount()


@pytest.mark.merged
def test_a_name_that_a_directory_left_can_be_taken_by_a_new_one(make: Make) -> None:
    fs = make([file(b"d/old", b"1")])
    fs.rename(b"d", b"moved")
    fs.mkdir(b"d")
    write_all(fs, b"d/new", b"2")
    for _ in range(2):
        assert names(fs, b"d") == {b"new"}
        assert names(fs, b"moved") == {b"old"}
        fs.remount()
    fs.rename(b"moved", b"d/inside")
    fs.remount()
    assert read_all(fs, b"d/inside/old") == b"1"


@pytest.mark.merged
def test_a_new_directory_that_moves_over_a_removed_lower_one_stays_empty(make: Make) -> None:
    fs = make([file(b"d/old", b"1")])
    fs.unlink(b"d/old")
    fs.rmdir(b"d")
    fs.mkdir(b"new")
    fs.rename(b"new", b"d")
    for _ in range(2):
        assert names(fs, b"d") == set()
        fs.remount()


@pytest.mark.merged
def test_lower_directories_are_exchanged(make: Make) -> None:
    fs = make([file(b"a/x", b"1"), file(b"p/b/y", b"2")])
    fs.rename(b"a", b"p/b", RENAME_EXCHANGE)
    for _ in range(2):
        assert names(fs, b"a") == {b"y"}
        assert names(fs, b"p/b") == {b"x"}
        fs.remount()


@pytest.mark.merged
def test_an_opaque_directory_is_renamed(make: Make) -> None:
    fs = make([file(b"d/below", b"1"), file(b"e/below", b"1")], [directory(b"d", opaque=True), file(b"d/above", b"2")])
    fs.rename(b"e", b"old")
    fs.rename(b"d", b"e")
    for _ in range(2):
        assert names(fs, b"e") == {b"above"}
        assert names(fs, b"old") == {b"below"}
        fs.remount()


@pytest.mark.merged
def test_redirects_outlive_a_new_layer(make: Make) -> None:
    fs = make([file(b"a/b/x", b"1")])
    fs.rename(b"a/b", b"b")
    fs.rotate()
    write_all(fs, b"b/new", b"2")
    fs.rename(b"b", b"c")
    fs.rotate()
    fs.rename(b"c", b"a/c")
    for _ in range(2):
        assert names(fs, b"a/c") == {b"x", b"new"}
        assert read_all(fs, b"a/c/x") == b"1"
        fs.remount()


def test_a_rename_keeps_inode_times_and_content_of_what_moves(make: Make) -> None:
    fs = make([file(b"dir/file", b"content", 0o640, uid=7, gid=8), directory(b"other")])
    before = fs.lstat(b"dir/file")
    fs.rename(b"dir/file", b"other/new")
    after = fs.lstat(b"other/new")
    assert after[:3] + after[3:7] == before[:3] + before[3:7]
    assert after.mtime_ns == before.mtime_ns
    for parent in (b"dir", b"other"):
        assert fs.lstat(parent).mtime_ns > before.mtime_ns


@pytest.mark.kernel
def test_the_sticky_bit_protects_names_from_strangers(make: Make) -> None:
    fs = make([directory(b"tmp", 0o1777), file(b"tmp/mine", b"", uid=1000), file(b"tmp/other", b"", uid=2000)])
    with fs.caller(1000, 1000):
        assert errno_of(fs.rename, b"tmp/other", b"tmp/new") == errno.EPERM
        assert errno_of(fs.unlink, b"tmp/other") == errno.EPERM
        assert errno_of(fs.rename, b"tmp/mine", b"tmp/other") == errno.EPERM
        fs.rename(b"tmp/mine", b"tmp/new")
        fs.unlink(b"tmp/new")


@pytest.mark.kernel
def test_a_mount_point_cannot_be_moved_or_removed(make: Make) -> None:
    from tests.behaviour import syscalls

    fs = make([directory(b"d")])
    syscalls.mount(b"none", fs.path(b"d"), b"tmpfs")
    try:
        assert errno_of(fs.rename, b"d", b"e") == errno.EBUSY
        assert errno_of(fs.rmdir, b"d") == errno.EBUSY
    finally:
        syscalls.unmount(fs.path(b"d"))
    assert os.listdir(fs.path(b"d")) == []
