"""What our mount cannot do: refused with the errno that makes programs fall back, and they do.

Elsewhere it may work, so these are tests of our mount alone.
"""

import errno
import fcntl
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour.fs import errno_of, names, read_all, write_all
from tests.behaviour.layers import directory, file
from tests.behaviour.merged import CowfsMount, Scene, build_lowers

FICLONE, FICLONERANGE, FIDEDUPERANGE = 0x40049409, 0x4020940D, 0xC0189436
GETFLAGS, SETFLAGS, FSGETXATTR, GETVERSION = 0x80086601, 0x40086602, 0x801C581F, 0x80087601
GETFSUUID, FIEMAP, UNKNOWN = 0x80111500, 0xC020660B, 0x1234
SIZE = 8192


@pytest.fixture
def fs(tmp_path: Path) -> Iterator[CowfsMount]:
    base = os.fsencode(tmp_path)
    mount = CowfsMount(Scene(base + b"/scene", build_lowers(base, [[file(b"lower", b"x" * SIZE), directory(b"d")]])))
    write_all(mount, b"upper", b"y" * SIZE)
    yield mount
    mount.close_files()
    mount.close()


@pytest.mark.parametrize("source", [b"lower", b"upper"])
@pytest.mark.parametrize("target", [b"lower", b"upper", b"new"])
def test_nothing_is_cloned(fs: CowfsMount, source: bytes, target: bytes) -> None:
    before = {name: read_all(fs, name) for name in (b"lower", b"upper")}
    a, b = fs.open(source, os.O_RDONLY), fs.open(target, os.O_RDWR | os.O_CREAT)
    whole = struct.pack("qQQQ", a.fd, 0, 0, 0)
    same = struct.pack("QQHHIqQQiI", 0, 4096, 1, 0, 0, b.fd, 0, 0, 0, 0)
    assert errno_of(fcntl.ioctl, b.fd, FICLONE, a.fd) == errno.EOPNOTSUPP
    assert errno_of(fcntl.ioctl, b.fd, FICLONERANGE, whole) == errno.EOPNOTSUPP
    assert errno_of(fcntl.ioctl, a.fd, FIDEDUPERANGE, same) == errno.EOPNOTSUPP
    assert {name: read_all(fs, name) for name in before} == before


def test_cp_copies_where_nothing_can_be_cloned(fs: CowfsMount) -> None:
    for name in (b"lower", b"upper"):
        subprocess.run([b"cp", b"--reflink=auto", fs.path(name), fs.path(b"copy")], check=True)
        assert read_all(fs, b"copy") == read_all(fs, name)
        always = [b"cp", b"--reflink=always", fs.path(name), fs.path(b"clone")]
        assert subprocess.run(always, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("path", [b"lower", b"upper", b"d", b""])
def test_flags_of_files_are_not_there(fs: CowfsMount, path: bytes) -> None:
    """Neither shown nor set: ENOTTY is what chattr and tar take for "this file system has none"."""
    fd = os.open(fs.path(path), os.O_RDONLY)
    for request in (GETFLAGS, FSGETXATTR, GETVERSION, GETFSUUID, UNKNOWN):
        assert errno_of(fcntl.ioctl, fd, request, bytes(64)) == errno.ENOTTY, hex(request)
    assert errno_of(fcntl.ioctl, fd, SETFLAGS, struct.pack("Q", 0x10)) == errno.ENOTTY
    assert errno_of(fcntl.ioctl, fd, FIEMAP, bytes(32)) == errno.EOPNOTSUPP
    os.close(fd)
    changed = subprocess.run([b"chattr", b"+i", fs.path(path)], capture_output=True, check=False)
    assert changed.returncode == 1
    assert b"not supported" in changed.stderr
    assert os.listdir(fs.scene.upper) == [b"upper"]


@pytest.mark.parametrize("where", [b"", b"d"])
def test_a_nameless_file_is_made_with_a_name_that_goes(fs: CowfsMount, where: bytes) -> None:
    before = names(fs, where)
    assert errno_of(fs.open, where, os.O_TMPFILE | os.O_RDWR) == errno.EOPNOTSUPP
    with tempfile.TemporaryFile(dir=fs.path(where)) as made:
        made.write(b"x")
        assert os.fstat(made.fileno()).st_nlink == 0
    assert names(fs, where) == before


@pytest.mark.parametrize("advice", [os.POSIX_FADV_WILLNEED, os.POSIX_FADV_DONTNEED])
def test_advice_is_taken(fs: CowfsMount, advice: int) -> None:
    handle = fs.open(b"lower", os.O_RDONLY)
    os.posix_fadvise(handle.fd, 0, 0, advice)
    assert handle.pread(3, 0) == b"xxx"
    handle.close()


def test_python_copies_a_file_by_whatever_works(fs: CowfsMount) -> None:
    program = "import shutil, sys; shutil.copy2(sys.argv[1], sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, fs.path(b"lower"), fs.path(b"copy")], check=True)
    assert read_all(fs, b"copy") == b"x" * SIZE
