"""Listings: complete, each name once, with cookies that hold while names come and go."""

import errno
import os
import stat

import pytest

from tests.behaviour import syscalls
from tests.behaviour.conftest import Make
from tests.behaviour.fs import errno_of, names, write_all
from tests.behaviour.layers import directory, file, hard_link, special, symlink, whiteout

MANY = [directory(b"d")] + [file(b"d/%04d" % number) for number in range(1000)]


def listing(fd: int) -> list[bytes]:
    return [entry.name for entry in syscalls.entries(fd, 4096) if entry.name not in (b".", b"..")]


def opened(fs: object, path: bytes) -> int:
    return os.open(fs.path(path), os.O_RDONLY | os.O_DIRECTORY)  # type: ignore[attr-defined]


def test_types_and_numbers_of_a_listing_are_those_of_lstat(make: Make) -> None:
    fs = make(
        [
            file(b"file"),
            directory(b"dir"),
            symlink(b"link", b"file"),
            special(b"fifo", stat.S_IFIFO),
            special(b"char", stat.S_IFCHR, os.makedev(1, 3)),
            special(b"socket", stat.S_IFSOCK),
            hard_link(b"file2", b"file"),
        ],
        [directory(b"dir", 0o700), file(b"dir/above")],
    )
    write_all(fs, b"new", b"")
    fs.chmod(b"file", 0o600)
    for entry in fs.listdir(b""):
        status = fs.lstat(entry.name)
        assert (entry.ino, entry.kind) == (status.ino, stat.S_IFMT(status.mode)), entry.name


@pytest.mark.kernel
def test_dot_and_dot_dot_are_listed_first_with_their_numbers(make: Make) -> None:
    fs = make([directory(b"a/b")])
    fd = opened(fs, b"a/b")
    found = {entry.name: entry.ino for entry in syscalls.entries(fd)}
    os.close(fd)
    assert found == {b".": fs.lstat(b"a/b").ino, b"..": fs.lstat(b"a").ino}


def test_ten_thousand_entries(make: Make) -> None:
    fs = make([file(b"d/lower%d" % number) for number in range(9000)], [whiteout(b"d/lower%d" % n) for n in range(500)])
    for number in range(1500):
        write_all(fs, b"d/upper%d" % number, b"")
    for number in range(500, 1000):
        fs.unlink(b"d/lower%d" % number)
    wanted = {b"lower%d" % number for number in range(1000, 9000)} | {b"upper%d" % number for number in range(1500)}
    assert names(fs, b"d") == wanted


@pytest.mark.kernel
def test_removing_what_was_just_listed_misses_nothing(make: Make) -> None:
    fs = make(MANY)
    fd = opened(fs, b"d")
    removed = 0
    while found := syscalls.batch(fd, 1024):
        for entry in found:
            if entry.name not in (b".", b".."):
                fs.unlink(b"d/" + entry.name)
                removed += 1
    os.close(fd)
    assert removed == 1000
    fs.rmdir(b"d")


@pytest.mark.kernel
def test_names_made_during_a_listing_disturb_no_others(make: Make) -> None:
    fs = make(MANY)
    fd = opened(fs, b"d")
    seen: list[bytes] = []
    number = 0
    while found := syscalls.batch(fd, 1024):
        seen += [entry.name for entry in found]
        number += 1
        write_all(fs, b"d/new%d" % number, b"")
        fs.rename(b"d/new%d" % number, b"d/renamed%d" % number)
    os.close(fd)
    assert len(seen) == len(set(seen))
    assert set(seen) >= {b"%04d" % n for n in range(1000)}


@pytest.mark.kernel
def test_a_cookie_leads_back_to_its_place(make: Make) -> None:
    fs = make(MANY)
    fd = opened(fs, b"d")
    everything = list(syscalls.entries(fd, 4096))
    for index in (0, 1, 500, 999):
        os.lseek(fd, everything[index].cookie, os.SEEK_SET)
        assert next(iter(syscalls.entries(fd, 4096))).name == everything[index + 1].name
    os.close(fd)


@pytest.mark.kernel
def test_a_cookie_holds_when_names_before_it_are_removed(make: Make) -> None:
    fs = make(MANY)
    fd = opened(fs, b"d")
    everything = list(syscalls.entries(fd, 4096))
    for entry in everything[2:300]:
        if entry.name not in (b".", b".."):
            fs.unlink(b"d/" + entry.name)
    os.lseek(fd, everything[499].cookie, os.SEEK_SET)
    rest = [entry.name for entry in syscalls.entries(fd, 4096)]
    os.close(fd)
    assert rest == [entry.name for entry in everything[500:]]


@pytest.mark.kernel
def test_a_rewind_shows_what_changed(make: Make) -> None:
    fs = make(MANY)
    fd = opened(fs, b"d")
    assert len(listing(fd)) == 1000
    write_all(fs, b"d/new", b"")
    fs.unlink(b"d/0000")
    os.lseek(fd, 0, os.SEEK_SET)
    again = set(listing(fd))
    os.close(fd)
    assert b"new" in again
    assert b"0000" not in again


@pytest.mark.kernel
@pytest.mark.parametrize("where", [b"lower", b"upper"])
def test_an_open_directory_that_was_removed_has_no_names(make: Make, where: bytes) -> None:
    fs = make([directory(b"lower")])
    fs.mkdir(b"upper")
    fd = opened(fs, where)
    try:
        fs.rmdir(where)
        assert errno_of(listing, fd) == errno.ENOENT
        assert errno_of(os.stat, "x", dir_fd=fd) == errno.ENOENT
        assert errno_of(os.mkdir, "x", dir_fd=fd) == errno.ENOENT
        assert os.fstat(fd).st_nlink == 0
    finally:
        os.close(fd)


@pytest.mark.merged
def test_a_whiteout_that_hides_nothing_is_not_seen(make: Make) -> None:
    fs = make([directory(b"d")], [file(b"e/x"), whiteout(b"e/nothing"), whiteout(b"d/nothing")])
    assert names(fs, b"e") == {b"x"}
    assert names(fs, b"d") == set()
    assert errno_of(fs.lstat, b"e/nothing") == errno.ENOENT


def test_a_path_far_beyond_path_max(make: Make) -> None:
    fs = make([])
    if not hasattr(fs, "root"):
        path = b""
        for _ in range(60):
            path += b"/" + b"d" * 200 if path else b"d" * 200
            fs.mkdir(path)
        write_all(fs, path + b"/file", b"deep")
        fs.rename(b"d" * 200, b"top")
        assert fs.lstat(b"top" + path[200:] + b"/file").size == 4
        return
    descriptors = [os.open(fs.root, os.O_PATH)]
    for _ in range(60):
        os.mkdir(b"d" * 200, dir_fd=descriptors[-1])
        descriptors.append(os.open(b"d" * 200, os.O_PATH, dir_fd=descriptors[-1]))
    fd = os.open("file", os.O_RDWR | os.O_CREAT, dir_fd=descriptors[-1])
    fs.rename(b"d" * 200, b"top")
    os.write(fd, b"deep")
    assert os.stat("file", dir_fd=descriptors[-1]).st_size == 4
    for directory_fd in [fd, *descriptors]:
        os.close(directory_fd)
