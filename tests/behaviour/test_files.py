"""Open files: what is written where, and what those who opened before a change see of it."""

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import stat

import pytest

from tests.behaviour.conftest import Make
from tests.behaviour.fs import errno_of, exists, names, read_all, write_all
from tests.behaviour.layers import directory, file, hard_link
from tests.behaviour.syscalls import libc

PAGE = 4096
OLD = b"o" * (2 * PAGE)
FILE = [file(b"file", OLD), directory(b"dir")]


def test_a_write_in_the_middle_keeps_the_rest(make: Make) -> None:
    fs = make(FILE)
    write_all(fs, b"file", b"new", 0)
    assert read_all(fs, b"file") == b"new" + OLD[3:]


def test_a_write_behind_the_end_leaves_zeros(make: Make) -> None:
    fs = make(FILE)
    handle = fs.open(b"file", os.O_RDWR)
    handle.pwrite(b"x", 3 * PAGE)
    handle.close()
    assert read_all(fs, b"file") == OLD + bytes(PAGE) + b"x"


@pytest.mark.parametrize("size", [0, 1, PAGE, 5 * PAGE])
def test_truncate(make: Make, size: int) -> None:
    fs = make(FILE)
    before = fs.lstat(b"file")
    fs.truncate(b"file", size)
    assert read_all(fs, b"file") == (OLD + bytes(5 * PAGE))[:size]
    assert fs.lstat(b"file").mtime_ns > before.mtime_ns


def test_errnos_of_truncate(make: Make) -> None:
    fs = make(FILE)
    fs.mknod(b"fifo", stat.S_IFIFO | 0o600)
    assert errno_of(fs.truncate, b"dir", 0) == errno.EISDIR
    assert errno_of(fs.truncate, b"fifo", 0) == errno.EINVAL
    assert errno_of(fs.truncate, b"absent", 0) == errno.ENOENT


def test_o_trunc_empties_a_lower_file(make: Make) -> None:
    fs = make(FILE)
    before = fs.lstat(b"file")
    fs.open(b"file", os.O_WRONLY | os.O_TRUNC).close()
    after = fs.lstat(b"file")
    assert (after.size, after.ino, after.mode) == (0, before.ino, before.mode)
    assert after.mtime_ns > before.mtime_ns


def test_o_append_writes_at_the_end_whoever_wrote_before(make: Make) -> None:
    fs = make(FILE)
    first = fs.open(b"file", os.O_WRONLY | os.O_APPEND)
    second = fs.open(b"file", os.O_WRONLY | os.O_APPEND)
    first.write(b"1")
    second.write(b"2")
    first.write(b"3")
    first.close()
    second.close()
    assert read_all(fs, b"file") == OLD + b"123"


def test_a_reader_that_was_open_before_the_copy_up_sees_later_writes(make: Make) -> None:
    fs = make(FILE)
    reader = fs.open(b"file", os.O_RDONLY)
    assert reader.pread(3, 0) == b"ooo"
    write_all(fs, b"file", b"new", 0)
    assert reader.pread(4, 0) == b"newo"
    write_all(fs, b"file", b"AGAIN", 0)
    assert reader.pread(5, 0) == b"AGAIN"
    assert reader.status().size == len(OLD)
    fs.truncate(b"file", 2)
    assert reader.pread(5, 0) == b"AG"
    reader.close()


def test_two_writers_that_were_open_before_the_copy_up_write_one_file(make: Make) -> None:
    fs = make(FILE)
    first, second = fs.open(b"file", os.O_RDWR), fs.open(b"file", os.O_RDWR)
    first.pwrite(b"1", 0)
    second.pwrite(b"2", 1)
    assert first.pread(3, 0) == second.pread(3, 0) == b"12o"
    first.close()
    second.close()
    assert read_all(fs, b"file")[:3] == b"12o"


@pytest.mark.parametrize("raised", [False, True], ids=["lower", "upper"])
def test_an_unlinked_file_lives_while_it_is_open(make: Make, raised: bool) -> None:
    fs = make(FILE)
    if raised:
        fs.chmod(b"file", 0o600)
    handle = fs.open(b"file", os.O_RDWR)
    fs.unlink(b"file")
    assert not exists(fs, b"file")
    assert handle.status().nlink == 0
    assert handle.pread(3, 0) == b"ooo"
    handle.pwrite(b"new", 0)
    handle.truncate(5)
    handle.chmod(0o640)
    assert handle.pread(10, 0) == b"newoo"
    assert handle.status().permissions == 0o640
    write_all(fs, b"file", b"another")
    assert handle.pread(10, 0) == b"newoo"
    handle.close()
    assert read_all(fs, b"file") == b"another"


def test_a_file_that_was_replaced_by_a_rename_lives_while_it_is_open(make: Make) -> None:
    fs = make(FILE)
    write_all(fs, b"new", b"new")
    reader, writer = fs.open(b"file", os.O_RDONLY), fs.open(b"file", os.O_RDWR)
    fs.rename(b"new", b"file")
    writer.pwrite(b"old!", 0)
    assert reader.pread(5, 0) == b"old!o"
    assert read_all(fs, b"file") == b"new"
    reader.close()
    writer.close()


def test_an_open_file_follows_its_rename(make: Make) -> None:
    fs = make(FILE)
    handle = fs.open(b"file", os.O_RDWR)
    fs.rename(b"file", b"dir/moved")
    handle.pwrite(b"new", 0)
    fs.rename(b"dir", b"dir2")
    handle.pwrite(b"more", 3)
    handle.close()
    assert read_all(fs, b"dir2/moved")[:8] == b"newmoreo"


def test_one_name_of_a_lower_file_is_removed_while_it_is_open_by_another(make: Make) -> None:
    fs = make([file(b"a", b"lower"), hard_link(b"b", b"a")])
    handle = fs.open(b"b", os.O_RDWR)
    fs.unlink(b"b")
    handle.pwrite(b"UPPER", 0)
    assert read_all(fs, b"a") == b"UPPER"
    assert handle.status().nlink == 1
    handle.close()


@pytest.mark.kernel
def test_a_shared_mapping_sees_writes_across_the_copy_up(make: Make) -> None:
    fs = make(FILE)
    handle = fs.open(b"file", os.O_RDONLY)
    view = mmap.mmap(handle.fd, 2 * PAGE, mmap.MAP_SHARED, mmap.PROT_READ)
    assert view[:3] == b"ooo"
    write_all(fs, b"file", b"new", 0)
    assert view[:4] == b"newo"
    view.close()
    handle.close()


@pytest.mark.kernel
def test_what_is_written_through_a_mapping_is_in_the_file(make: Make) -> None:
    fs = make(FILE)
    handle = fs.open(b"file", os.O_RDWR)
    view = mmap.mmap(handle.fd, 2 * PAGE)
    view[PAGE : PAGE + 3] = b"map"
    view.flush()
    assert read_all(fs, b"file")[PAGE : PAGE + 4] == b"mapo"
    view.close()
    handle.close()


@pytest.mark.kernel
def test_a_private_mapping_changes_nothing(make: Make) -> None:
    fs = make(FILE)
    handle = fs.open(b"file", os.O_RDONLY)
    view = mmap.mmap(handle.fd, PAGE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    view[:3] = b"map"
    assert read_all(fs, b"file") == OLD
    view.close()
    handle.close()


@pytest.mark.kernel
def test_a_mapping_outlives_its_descriptor_and_its_name(make: Make) -> None:
    fs = make(FILE)
    handle = fs.open(b"file", os.O_RDWR)
    view = mmap.mmap(handle.fd, 2 * PAGE)
    handle.close()
    fs.unlink(b"file")
    view[:3] = b"map"
    view.flush()
    assert view[:4] == b"mapo"
    view.close()


@pytest.mark.kernel
def test_locks_exclude_each_other(make: Make) -> None:
    fs = make(FILE)
    first, second = fs.open(b"file", os.O_RDWR), fs.open(b"file", os.O_RDWR)
    fcntl.flock(first.fd, fcntl.LOCK_EX)
    assert errno_of(fcntl.flock, second.fd, fcntl.LOCK_EX | fcntl.LOCK_NB) == errno.EWOULDBLOCK
    first.pwrite(b"new", 0)
    assert errno_of(fcntl.flock, second.fd, fcntl.LOCK_EX | fcntl.LOCK_NB) == errno.EWOULDBLOCK
    first.close()
    fcntl.flock(second.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(second.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    second.close()


@pytest.mark.kernel
def test_o_direct_reads_and_writes_or_is_refused_with_einval(make: Make) -> None:
    fs = make(FILE)
    handle = fs.open(b"file", os.O_RDWR | os.O_DIRECT)
    buffer = mmap.mmap(-1, PAGE)
    buffer[:] = b"d" * PAGE
    assert os.writev(handle.fd, [buffer]) == PAGE
    assert os.preadv(handle.fd, [buffer], PAGE) == PAGE
    assert buffer[:] == OLD[:PAGE]
    handle.close()
    assert read_all(fs, b"file") == b"d" * PAGE + OLD[PAGE:]


@pytest.mark.kernel
def test_fallocate_works_or_says_that_it_does_not(make: Make) -> None:
    fs = make(FILE)
    handle = fs.open(b"file", os.O_RDWR)
    if errno_of(os.posix_fallocate, handle.fd, 0, 4 * PAGE) == 0:
        assert handle.status().size == 4 * PAGE
    result = libc.fallocate(handle.fd, 3, ctypes.c_long(0), ctypes.c_long(PAGE))  # punch a hole
    assert result == 0 or ctypes.get_errno() == errno.EOPNOTSUPP
    assert handle.pread(PAGE, PAGE) == OLD[PAGE:]
    handle.close()


@pytest.mark.kernel
def test_copy_file_range_copies_or_lets_the_caller_fall_back(make: Make) -> None:
    fs = make(FILE)
    source, target = fs.open(b"file", os.O_RDONLY), fs.open(b"new", os.O_RDWR | os.O_CREAT)
    try:
        done = os.copy_file_range(source.fd, target.fd, PAGE, 0, 0)
    except OSError as failure:
        if failure.errno not in (errno.EOPNOTSUPP, errno.EXDEV, errno.ENOSYS, errno.EINVAL):
            raise
    else:
        assert target.pread(PAGE, 0) == OLD[:done]
    source.close()
    target.close()


@pytest.mark.kernel
def test_seek_hole_and_seek_data_never_hide_data(make: Make) -> None:
    fs = make(FILE)
    handle = fs.open(b"file", os.O_RDWR)
    handle.pwrite(b"end", 100 * PAGE)
    position, seen = 0, b""
    while True:
        try:
            start = os.lseek(handle.fd, position, os.SEEK_DATA)
        except OSError as failure:
            if failure.errno != errno.ENXIO:
                raise
            break
        end = os.lseek(handle.fd, start, os.SEEK_HOLE)
        seen += handle.pread(end - start, start)
        position = end
    handle.close()
    assert seen.replace(b"\0", b"") == OLD + b"end"


@pytest.mark.kernel
def test_a_nameless_file_works_or_lets_the_caller_fall_back(make: Make) -> None:
    fs = make(FILE)
    code = errno_of(fs.open, b"dir", os.O_TMPFILE | os.O_RDWR)
    assert code in (0, errno.EOPNOTSUPP)
    assert names(fs, b"dir") == set()


@pytest.mark.kernel
def test_rlimit_fsize_is_kept(make: Make) -> None:
    fs = make(FILE)
    handle = fs.open(b"file", os.O_RDWR)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * PAGE, before[1]))
    try:
        assert errno_of(handle.pwrite, b"x", 3 * PAGE) == errno.EFBIG
        assert errno_of(handle.truncate, 4 * PAGE) == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
        handle.close()


def test_the_access_mode_of_an_open_file_is_kept(make: Make) -> None:
    fs = make(FILE)
    reader, writer = fs.open(b"file", os.O_RDONLY), fs.open(b"file", os.O_WRONLY)
    assert errno_of(reader.pwrite, b"x", 0) == errno.EBADF
    assert errno_of(writer.pread, 1, 0) == errno.EBADF
    assert errno_of(reader.truncate, 0) == errno.EINVAL
    reader.close()
    writer.close()


@pytest.mark.kernel
def test_a_program_of_a_lower_runs_and_is_not_written_meanwhile(make: Make) -> None:
    with open("/bin/true", "rb") as program:
        fs = make([file(b"true", program.read(), 0o755)])
    assert os.spawnv(os.P_WAIT, fs.path(b"true"), ["true"]) == 0
    fs.chmod(b"true", 0o700)
    assert os.spawnv(os.P_WAIT, fs.path(b"true"), ["true"]) == 0


def test_fsync_of_files_in_every_layer(make: Make) -> None:
    fs = make(FILE)
    for flags in (os.O_RDONLY, os.O_RDWR):
        handle = fs.open(b"file", flags)
        handle.fsync()
        handle.close()
    write_all(fs, b"new", b"x")
    handle = fs.open(b"new", os.O_RDWR)
    handle.fsync()
    handle.close()


@pytest.mark.kernel
def test_fsync_of_a_directory(make: Make) -> None:
    fs = make(FILE)
    for where in (b"", b"dir"):
        fd = os.open(fs.path(where), os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd)
        os.close(fd)


def test_statvfs_tells_of_the_file_system_that_takes_the_writes(make: Make) -> None:
    status = make(FILE).statvfs()
    assert status.f_namemax == 255
    assert status.f_bfree > 0
    assert status.f_blocks > 0
