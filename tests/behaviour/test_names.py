"""Names: making and removing them, and the errnos that programs rely on."""

import errno
import os
import stat

import pytest

from tests.behaviour.conftest import Make
from tests.behaviour.fs import errno_of, exists, names, read_all, write_all
from tests.behaviour.layers import directory, file, hard_link, special, symlink, whiteout

BASE = [
    file(b"file", b"lower"),
    directory(b"dir"),
    file(b"dir/inside", b"inside"),
    directory(b"empty"),
    symlink(b"link", b"file"),
    symlink(b"dangling", b"nowhere"),
    symlink(b"loop", b"loop"),
    special(b"fifo", stat.S_IFIFO),
]


def test_the_layers_are_seen_merged(make: Make) -> None:
    fs = make(
        [file(b"a", b"1"), file(b"b", b"1"), file(b"d/x", b"1")], [file(b"b", b"2"), whiteout(b"a"), file(b"d/y", b"2")]
    )
    assert names(fs) == {b"b", b"d"}
    assert names(fs, b"d") == {b"x", b"y"}
    assert read_all(fs, b"b") == b"2"
    assert errno_of(fs.lstat, b"a") == errno.ENOENT


def test_an_opaque_directory_hides_what_lies_below(make: Make) -> None:
    fs = make([file(b"d/old", b"1")], [directory(b"d", opaque=True), file(b"d/new", b"2")])
    assert names(fs, b"d") == {b"new"}


def test_a_whiteout_hides_only_the_layers_below(make: Make) -> None:
    fs = make([file(b"a", b"1")], [whiteout(b"a")], [file(b"a", b"3")])
    assert read_all(fs, b"a") == b"3"


def test_a_file_over_a_directory_ends_the_merge(make: Make) -> None:
    fs = make([file(b"a/x", b"1")], [file(b"a", b"2")], [directory(b"a")])
    assert names(fs, b"a") == set()


def test_a_merged_directory_has_the_attributes_of_the_topmost_layer(make: Make) -> None:
    fs = make(
        [directory(b"d", 0o700, uid=1, gid=2, xattrs={b"user.a": b"below"})],
        [directory(b"d", 0o751, uid=3, gid=4, mtime_ns=1_000_000_007, xattrs={b"user.b": b"above"})],
    )
    status = fs.lstat(b"d")
    assert (status.permissions, status.uid, status.gid, status.mtime_ns) == (0o751, 3, 4, 1_000_000_007)
    assert fs.listxattr(b"d") == [b"user.b"]


@pytest.mark.parametrize(
    ("operation", "path", "expected"),
    [
        ("mkdir", b"dir", errno.EEXIST),
        ("mkdir", b"file", errno.EEXIST),
        ("mkdir", b"link", errno.EEXIST),
        ("mkdir", b"dangling", errno.EEXIST),
        ("mkdir", b"absent/x", errno.ENOENT),
        ("mkdir", b"file/x", errno.ENOTDIR),
        ("mkdir", b"loop/x", errno.ELOOP),
        ("mkdir", b"n" * 256, errno.ENAMETOOLONG),
        ("rmdir", b"dir", errno.ENOTEMPTY),
        ("rmdir", b"file", errno.ENOTDIR),
        ("rmdir", b"link", errno.ENOTDIR),
        ("rmdir", b"absent", errno.ENOENT),
        ("rmdir", b"empty", 0),
        ("unlink", b"dir", errno.EISDIR),
        ("unlink", b"absent", errno.ENOENT),
        ("unlink", b"file/x", errno.ENOTDIR),
        ("unlink", b"dangling", 0),
        ("unlink", b"fifo", 0),
        ("lstat", b"n" * 256, errno.ENAMETOOLONG),
        ("lstat", b"file/x", errno.ENOTDIR),
        ("stat", b"loop", errno.ELOOP),
        ("stat", b"dangling", errno.ENOENT),
        ("readlink", b"file", errno.EINVAL),
        ("readlink", b"dir", errno.EINVAL),
        ("mknod", b"file", errno.EEXIST),
        ("mknod", b"dir", errno.EEXIST),
        ("mknod", b"n" * 256, errno.ENAMETOOLONG),
        ("listdir", b"file", errno.ENOTDIR),
        ("listdir", b"absent", errno.ENOENT),
    ],
    ids=lambda value: value.decode()[:12] if isinstance(value, bytes) else str(value),
)
def test_errno_of(make: Make, operation: str, path: bytes, expected: int) -> None:
    fs = make(BASE)
    more = (stat.S_IFIFO | 0o600,) if operation == "mknod" else ()
    assert errno_of(getattr(fs, operation), path, *more) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"file", b"dir", errno.EEXIST),
        (b"file", b"link", errno.EEXIST),
        (b"file", b"file", errno.EEXIST),
        (b"dir", b"new", errno.EPERM),
        (b"absent", b"new", errno.ENOENT),
        (b"file", b"absent/new", errno.ENOENT),
        (b"file", b"file/new", errno.ENOTDIR),
        (b"file", b"n" * 256, errno.ENAMETOOLONG),
        (b"link", b"new", 0),
        (b"fifo", b"new", 0),
    ],
)
def test_errno_of_link(make: Make, old: bytes, new: bytes, expected: int) -> None:
    assert errno_of(make(BASE).link, old, new) == expected


@pytest.mark.parametrize(
    ("path", "flags", "expected"),
    [
        (b"file", os.O_CREAT | os.O_EXCL | os.O_RDWR, errno.EEXIST),
        (b"link", os.O_CREAT | os.O_EXCL | os.O_RDWR, errno.EEXIST),
        (b"dangling", os.O_CREAT | os.O_EXCL | os.O_RDWR, errno.EEXIST),
        (b"dangling", os.O_CREAT | os.O_RDWR, 0),
        (b"link", os.O_RDONLY | os.O_NOFOLLOW, errno.ELOOP),
        (b"loop", os.O_RDONLY, errno.ELOOP),
        (b"dir", os.O_RDWR, errno.EISDIR),
        (b"dir", os.O_WRONLY, errno.EISDIR),
        (b"dir", os.O_RDWR | os.O_CREAT, errno.EISDIR),
        (b"file", os.O_RDONLY | os.O_DIRECTORY, errno.ENOTDIR),
        (b"absent", os.O_RDONLY, errno.ENOENT),
        (b"file/x", os.O_RDONLY | os.O_CREAT, errno.ENOTDIR),
        (b"absent/x", os.O_RDWR | os.O_CREAT, errno.ENOENT),
        (b"n" * 256, os.O_RDWR | os.O_CREAT, errno.ENAMETOOLONG),
    ],
)
def test_errno_of_open(make: Make, path: bytes, flags: int, expected: int) -> None:
    assert errno_of(make(BASE).open, path, flags) == expected


def test_a_dangling_link_opened_with_creat_makes_its_target(make: Make) -> None:
    fs = make(BASE)
    write_all(fs, b"dangling", b"made", os.O_CREAT)
    assert read_all(fs, b"nowhere") == b"made"
    assert fs.readlink(b"dangling") == b"nowhere"


def test_names_of_255_bytes_and_names_that_are_not_utf8(make: Make) -> None:
    odd = [b"n" * 255, bytes(range(1, 47)) + bytes(range(48, 128)), b"\xff\xfe", b"\n", b" ", "é".encode()]
    fs = make([file(name, b"lower") for name in odd])
    assert names(fs) == set(odd)
    for name in odd:
        fs.rename(name, b"moved")
        write_all(fs, b"moved", b"upper")
        fs.rename(b"moved", name)
        assert read_all(fs, name) == b"upper"
    assert names(fs) == set(odd)


def test_a_removed_name_can_be_made_again_as_any_type(make: Make) -> None:
    fs = make(BASE)
    fs.unlink(b"file")
    fs.mkdir(b"file")
    assert names(fs, b"file") == set()
    fs.rmdir(b"file")
    fs.symlink(b"target", b"file")
    assert fs.readlink(b"file") == b"target"
    fs.unlink(b"file")
    fs.mknod(b"file", stat.S_IFIFO | 0o600)
    fs.unlink(b"file")
    write_all(fs, b"file", b"again")
    assert read_all(fs, b"file") == b"again"


def test_a_directory_made_over_a_removed_one_is_empty(make: Make) -> None:
    fs = make(BASE)
    fs.unlink(b"dir/inside")
    fs.rmdir(b"dir")
    fs.mkdir(b"dir")
    assert names(fs, b"dir") == set()
    assert errno_of(fs.lstat, b"dir/inside") == errno.ENOENT


@pytest.mark.merged
def test_a_directory_made_over_a_removed_one_is_empty_after_a_remount(make: Make) -> None:
    fs = make(BASE)
    fs.unlink(b"dir/inside")
    fs.rmdir(b"dir")
    fs.mkdir(b"dir")
    fs.remount()
    assert names(fs, b"dir") == set()


def test_rmdir_of_a_directory_whose_lower_names_were_all_removed(make: Make) -> None:
    fs = make(BASE)
    fs.unlink(b"dir/inside")
    fs.rmdir(b"dir")
    assert not exists(fs, b"dir")


@pytest.mark.merged
def test_rmdir_of_an_upper_directory_that_holds_only_whiteouts(make: Make) -> None:
    fs = make([file(b"d/a"), file(b"d/b")])
    write_all(fs, b"d/new", b"")
    for name in (b"a", b"b", b"new"):
        fs.unlink(b"d/" + name)
    fs.remount()
    assert names(fs, b"d") == set()
    fs.rmdir(b"d")
    fs.remount()
    assert names(fs) == set()


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
def test_special_files_are_made_moved_and_removed(make: Make, kind: int) -> None:
    rdev = os.makedev(7, 300) if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
    fs = make([special(b"lower", kind, rdev, 0o640)])
    fs.mknod(b"upper", kind | 0o640, rdev)
    for name in (b"lower", b"upper"):
        fs.chmod(name, 0o604)
        fs.rename(name, b"moved")
        status = fs.lstat(b"moved")
        assert (status.mode, status.rdev, status.nlink) == (kind | 0o604, rdev, 1)
        fs.unlink(b"moved")
    assert names(fs) == set()


def test_link_counts_of_upper_files(make: Make) -> None:
    fs = make(BASE)
    write_all(fs, b"a", b"1")
    fs.link(b"a", b"b")
    fs.link(b"b", b"dir/c")
    assert {fs.lstat(name).nlink for name in (b"a", b"b", b"dir/c")} == {3}
    assert len({fs.lstat(name).ino for name in (b"a", b"b", b"dir/c")}) == 1
    fs.unlink(b"a")
    assert fs.lstat(b"b").nlink == 2
    write_all(fs, b"b", b"2")
    assert read_all(fs, b"dir/c") == b"2"


def test_a_link_of_a_lower_file_is_the_same_file(make: Make) -> None:
    fs = make(BASE)
    fs.link(b"file", b"new")
    write_all(fs, b"new", b"written", 0)
    assert read_all(fs, b"file") == b"writt"[:5] + b"en"
    assert fs.lstat(b"file").nlink == 2
    fs.unlink(b"file")
    assert fs.lstat(b"new").nlink == 1


def test_lower_hard_links_stay_one_file_after_a_write(make: Make) -> None:
    fs = make([file(b"a", b"lower"), hard_link(b"b", b"a"), directory(b"d"), hard_link(b"d/c", b"a")])
    write_all(fs, b"b", b"UPPER", 0)
    for name in (b"a", b"b", b"d/c"):
        assert read_all(fs, name) == b"UPPER"
        assert fs.lstat(name).nlink == 3


@pytest.mark.merged
def test_lower_hard_links_stay_one_file_after_a_remount(make: Make) -> None:
    fs = make([file(b"a", b"lower"), hard_link(b"b", b"a"), hard_link(b"c", b"a")])
    write_all(fs, b"b", b"UPPER", 0)
    fs.remount()
    write_all(fs, b"c", b"AGAIN", 0)
    fs.unlink(b"b")
    for name in (b"a", b"c"):
        assert read_all(fs, name) == b"AGAIN"
        assert fs.lstat(name).nlink == 2
