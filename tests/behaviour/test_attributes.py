"""Owners, modes, times, extended attributes and ACLs, and who may change which."""

import errno
import os
import stat
import struct

import pytest

from tests.behaviour.conftest import Make
from tests.behaviour.fs import Fs, errno_of, read_all, write_all
from tests.behaviour.generator import acl
from tests.behaviour.layers import BASE_TIME_NS, directory, file, special, symlink

ACCESS, DEFAULT, CAPABILITY = b"system.posix_acl_access", b"system.posix_acl_default", b"security.capability"
CAP_NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)

BASE = [
    file(b"file", b"content", 0o644, xattrs={b"user.a": b"1"}),
    directory(b"dir", 0o755, xattrs={b"user.a": b"1"}),
    file(b"dir/child", b"x"),
    symlink(b"link", b"file"),
    special(b"fifo", stat.S_IFIFO),
    file(b"suid", b"s" * 9000, 0o6755, uid=1000, gid=1000),
    file(b"open", b"o" * 9000, 0o6777),
    file(b"capable", b"c" * 9000, 0o777, xattrs={CAPABILITY: CAP_NET_RAW}),
    directory(b"shared", 0o2777, gid=500),
    directory(b"public", 0o777),
]


def mtime(fs: Fs, path: bytes) -> int:
    return fs.lstat(path).mtime_ns


@pytest.mark.parametrize("when", [-62_135_596, -1.5, 0, 1.000000001, 2**33 + 0.25])
def test_times_of_any_century_with_their_nanoseconds(make: Make, when: float) -> None:
    fs = make(BASE)
    wanted = int(when) * 10**9 + round((when - int(when)) * 10**9)
    for path in (b"file", b"dir", b"link", b"fifo"):
        fs.utimens(path, wanted, wanted)
        assert fs.lstat(path).mtime_ns == wanted
        assert fs.lstat(path).atime_ns == wanted


def test_one_time_alone_is_set(make: Make) -> None:
    fs = make(BASE)
    fs.utimens(b"file", 10**9, None)
    assert (fs.lstat(b"file").atime_ns, mtime(fs, b"file")) == (10**9, BASE_TIME_NS)
    fs.utimens(b"file", None, 2 * 10**9)
    assert (fs.lstat(b"file").atime_ns, mtime(fs, b"file")) == (10**9, 2 * 10**9)


@pytest.mark.parametrize(
    "change",
    [
        lambda fs: write_all(fs, b"dir/new", b""),
        lambda fs: fs.mkdir(b"dir/new"),
        lambda fs: fs.symlink(b"x", b"dir/new"),
        lambda fs: fs.mknod(b"dir/new", stat.S_IFIFO | 0o600),
        lambda fs: fs.link(b"file", b"dir/new"),
        lambda fs: fs.unlink(b"dir/child"),
        lambda fs: fs.rename(b"dir/child", b"dir/new"),
        lambda fs: fs.rename(b"dir/child", b"new"),
        lambda fs: fs.rename(b"file", b"dir/new"),
    ],
    ids=["create", "mkdir", "symlink", "mknod", "link", "unlink", "rename", "rename-out", "rename-in"],
)
def test_a_change_of_names_sets_the_times_of_the_directory(make: Make, change: object) -> None:
    fs = make(BASE)
    before = fs.lstat(b"dir")
    change(fs)  # type: ignore[operator]
    after = fs.lstat(b"dir")
    assert after.mtime_ns > before.mtime_ns
    assert after.ctime_ns > before.ctime_ns


@pytest.mark.parametrize("path", [b"file", b"dir", b"link", b"fifo"])
def test_a_change_of_attributes_sets_ctime_and_leaves_mtime(make: Make, path: bytes) -> None:
    fs = make(BASE)
    before = fs.lstat(path)
    fs.chown(path, 3, 4)
    after = fs.lstat(path)
    assert (after.uid, after.gid, after.mtime_ns) == (3, 4, before.mtime_ns)
    assert after.ctime_ns > before.ctime_ns


def test_chmod_follows_a_link_and_chown_does_not(make: Make) -> None:
    fs = make(BASE)
    fs.chmod(b"link", 0o600)
    fs.chown(b"link", 1, 1)
    assert (fs.lstat(b"file").permissions, fs.lstat(b"file").uid) == (0o600, 0)
    assert (fs.lstat(b"link").permissions, fs.lstat(b"link").uid) == (0o777, 1)


def test_umask_is_applied_once(make: Make) -> None:
    fs = make(BASE)
    with fs.umask(0o027):
        write_all(fs, b"public/file", b"", mode=0o666)
        fs.mkdir(b"public/dir", 0o777)
        fs.mknod(b"public/fifo", stat.S_IFIFO | 0o666)
    assert fs.lstat(b"public/file").permissions == 0o640
    assert fs.lstat(b"public/dir").permissions == 0o750
    assert fs.lstat(b"public/fifo").permissions == 0o640


@pytest.mark.kernel
def test_new_files_belong_to_their_maker(make: Make) -> None:
    fs = make(BASE)
    with fs.caller(1000, 2000):
        write_all(fs, b"public/file", b"")
        fs.mkdir(b"public/dir")
        fs.symlink(b"x", b"public/link")
        fs.mknod(b"public/fifo", stat.S_IFIFO | 0o600)
    for name in (b"file", b"dir", b"link", b"fifo"):
        assert fs.lstat(b"public/" + name)[3:5] == (1000, 2000)


def test_a_setgid_directory_passes_on_its_group(make: Make) -> None:
    fs = make(BASE)
    with fs.caller(1000, 2000):
        write_all(fs, b"shared/file", b"", mode=0o644)
        fs.mkdir(b"shared/dir", 0o755)
        fs.symlink(b"x", b"shared/link")
    assert {fs.lstat(b"shared/" + name).gid for name in (b"file", b"dir", b"link")} == {500}
    assert fs.lstat(b"shared/dir").permissions == 0o2755
    assert fs.lstat(b"shared/file").permissions == 0o644


@pytest.mark.kernel
def test_setgid_is_refused_to_who_is_not_of_the_group(make: Make) -> None:
    fs = make(BASE)
    with fs.caller(1000, 2000):
        write_all(fs, b"shared/file", b"", mode=0o2775)
        assert not fs.lstat(b"shared/file").mode & stat.S_ISGID
        fs.chmod(b"shared/file", 0o2775)
        assert not fs.lstat(b"shared/file").mode & stat.S_ISGID
    with fs.caller(1000, 2000, groups=(500,)):
        fs.chmod(b"shared/file", 0o2775)
        assert fs.lstat(b"shared/file").mode & stat.S_ISGID


@pytest.mark.kernel
def test_supplementary_groups_count(make: Make) -> None:
    fs = make([file(b"group", b"x", 0o040, gid=500), directory(b"d", 0o070, gid=500)])
    with fs.caller(1000, 1000):
        assert errno_of(fs.open, b"group", os.O_RDONLY) == errno.EACCES
        assert errno_of(fs.mkdir, b"d/x") == errno.EACCES
    with fs.caller(1000, 1000, groups=(1, 500)):
        assert read_all(fs, b"group") == b"x"
        fs.mkdir(b"d/x")


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("open", (b"file", os.O_RDWR), errno.EACCES),
        ("truncate", (b"file", 0), errno.EACCES),
        ("unlink", (b"file",), errno.EACCES),
        ("mkdir", (b"dir/new",), errno.EACCES),
        ("rename", (b"file", b"public/new"), errno.EACCES),
        ("chmod", (b"file", 0o777), errno.EPERM),
        ("chown", (b"file", 1000, 1000), errno.EPERM),
        ("utimens", (b"file", 0, 0), errno.EPERM),
        ("setxattr", (b"file", b"user.b", b""), errno.EACCES),
        ("setxattr", (b"public", b"trusted.b", b""), errno.EPERM),
        ("mknod", (b"public/device", stat.S_IFCHR | 0o600, os.makedev(1, 3)), errno.EPERM),
        ("getxattr", (b"file", b"trusted.overlay.opaque"), errno.ENODATA),
    ],
)
def test_what_a_stranger_may_not_do(make: Make, operation: str, arguments: tuple[object, ...], code: int) -> None:
    fs = make(BASE)
    with fs.caller(1000, 1000):
        assert errno_of(getattr(fs, operation), *arguments) == code


@pytest.mark.kernel
def test_a_write_by_a_stranger_takes_setuid_and_setgid_off(make: Make) -> None:
    fs = make(BASE)
    with fs.caller(1000, 1000):
        write_all(fs, b"open", b"x", 0)
    assert fs.lstat(b"open").permissions == 0o777


@pytest.mark.kernel
def test_a_write_by_a_stranger_through_an_old_handle_takes_setuid_off(make: Make) -> None:
    fs = make(BASE)
    with fs.caller(1000, 1000):
        handle = fs.open(b"open", os.O_RDWR)
        handle.pwrite(b"x", 0)
    fs.chmod(b"open", 0o6777)
    assert fs.lstat(b"open").permissions == 0o6777
    with fs.caller(1000, 1000):
        handle.pwrite(b"x", 0)
    handle.close()
    assert fs.lstat(b"open").permissions == 0o777


@pytest.mark.kernel
@pytest.mark.parametrize("how", ["truncate", "ftruncate", "open"])
def test_a_truncate_by_a_stranger_takes_setuid_and_setgid_off(make: Make, how: str) -> None:
    fs = make(BASE)
    with fs.caller(1000, 1000):
        if how == "truncate":
            fs.truncate(b"open", 5)
        elif how == "open":
            fs.open(b"open", os.O_WRONLY | os.O_TRUNC).close()
        else:
            handle = fs.open(b"open", os.O_WRONLY)
            handle.truncate(5)
            handle.close()
    assert fs.lstat(b"open").permissions == 0o777


@pytest.mark.kernel
def test_a_write_by_root_leaves_setuid(make: Make) -> None:
    fs = make(BASE)
    write_all(fs, b"suid", b"x", 0)
    assert fs.lstat(b"suid").permissions == 0o6755


def test_chown_takes_setuid_off_even_for_root(make: Make) -> None:
    fs = make(BASE)
    fs.chown(b"suid", 2000, -1)
    assert fs.lstat(b"suid").permissions == 0o755
    fs.chmod(b"suid", 0o2745)
    fs.chown(b"suid", -1, 2000)
    assert fs.lstat(b"suid").permissions == 0o2745


def test_chown_of_a_directory_leaves_setgid(make: Make) -> None:
    fs = make(BASE)
    fs.chown(b"shared", 7, 7)
    assert fs.lstat(b"shared").permissions == 0o2777


@pytest.mark.kernel
@pytest.mark.parametrize(
    "change",
    [
        lambda fs: write_all(fs, b"capable", b"x", 0),
        lambda fs: fs.truncate(b"capable", 3),
        lambda fs: fs.chown(b"capable", 5, 5),
        lambda fs: fs.open(b"capable", os.O_WRONLY | os.O_TRUNC).close(),
    ],
    ids=["write", "truncate", "chown", "o_trunc"],
)
def test_file_capabilities_go_with_a_change(make: Make, change: object) -> None:
    fs = make(BASE)
    assert fs.getxattr(b"capable", CAPABILITY) == CAP_NET_RAW
    change(fs)  # type: ignore[operator]
    assert errno_of(fs.getxattr, b"capable", CAPABILITY) == errno.ENODATA


def test_file_capabilities_stay_when_something_else_changes(make: Make) -> None:
    fs = make(BASE)
    fs.chmod(b"capable", 0o755)
    fs.rename(b"capable", b"moved")
    fs.link(b"moved", b"again")
    fs.utimens(b"again", 0, 0)
    assert fs.getxattr(b"again", CAPABILITY) == CAP_NET_RAW


# --- extended attributes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [b"file", b"dir"])
def test_extended_attributes(make: Make, path: bytes) -> None:
    fs = make(BASE)
    assert errno_of(fs.setxattr, path, b"user.a", b"2", os.XATTR_CREATE) == errno.EEXIST
    assert errno_of(fs.setxattr, path, b"user.b", b"2", os.XATTR_REPLACE) == errno.ENODATA
    assert errno_of(fs.removexattr, path, b"user.b") == errno.ENODATA
    assert errno_of(fs.getxattr, path, b"user.b") == errno.ENODATA
    fs.setxattr(path, b"user.b", b"", os.XATTR_CREATE)
    fs.setxattr(path, b"user.a", b"v" * 2000, os.XATTR_REPLACE)
    fs.setxattr(path, b"trusted.c", b"\0\xff")
    assert sorted(fs.listxattr(path)) == [b"trusted.c", b"user.a", b"user.b"]
    assert [fs.getxattr(path, name) for name in (b"user.a", b"user.b", b"trusted.c")] == [b"v" * 2000, b"", b"\0\xff"]
    fs.removexattr(path, b"user.a")
    assert sorted(fs.listxattr(path)) == [b"trusted.c", b"user.b"]


@pytest.mark.parametrize("path", [b"link", b"fifo"])
def test_links_and_special_files_have_trusted_attributes_only(make: Make, path: bytes) -> None:
    fs = make(BASE)
    assert errno_of(fs.setxattr, path, b"user.a", b"1") == errno.EPERM
    fs.setxattr(path, b"trusted.a", b"1")
    assert fs.listxattr(path) == [b"trusted.a"]
    fs.removexattr(path, b"trusted.a")
    assert fs.listxattr(path) == []


@pytest.mark.kernel
def test_the_size_of_an_attribute_can_be_asked_for(make: Make) -> None:
    fs = make(BASE)
    fs.setxattr(b"file", b"user.long", b"x" * 3000)
    from tests.behaviour.syscalls import libc

    path = fs.path(b"file")
    assert libc.lgetxattr(path, b"user.long", None, 0) == 3000
    assert libc.lgetxattr(path, b"user.long", b"\0" * 10, 10) == -1
    assert errno_of(fs.setxattr, b"file", b"user.huge", b"x" * 70000) == errno.E2BIG
    assert errno_of(fs.setxattr, b"file", b"unknown.name", b"x") == errno.EOPNOTSUPP


# --- ACLs -------------------------------------------------------------------------------------------------


def test_an_access_acl_and_the_mode_are_one(make: Make) -> None:
    fs = make(BASE)
    fs.setxattr(b"file", ACCESS, acl(6, 0, 0, named=7, mask=5))
    assert fs.lstat(b"file").permissions == 0o650
    fs.chmod(b"file", 0o620)
    assert fs.getxattr(b"file", ACCESS) == acl(6, 0, 0, named=7, mask=2)
    fs.removexattr(b"file", ACCESS)
    assert ACCESS not in fs.listxattr(b"file")


@pytest.mark.kernel
def test_an_access_acl_is_obeyed(make: Make) -> None:
    fs = make([file(b"file", b"x", 0o600)])
    with fs.caller(1000, 1000):
        assert errno_of(fs.open, b"file", os.O_RDONLY) == errno.EACCES
    fs.setxattr(b"file", ACCESS, acl(6, 0, 0, named=4, mask=7))
    with fs.caller(1000, 1000):
        assert read_all(fs, b"file") == b"x"
        assert errno_of(fs.open, b"file", os.O_RDWR) == errno.EACCES
    with fs.caller(1001, 1000):
        assert errno_of(fs.open, b"file", os.O_RDONLY) == errno.EACCES


@pytest.mark.kernel
def test_an_access_acl_of_a_lower_is_obeyed(make: Make) -> None:
    fs = make([file(b"file", b"x", 0o600, xattrs={ACCESS: acl(6, 0, 0, named=4, mask=7)})])
    with fs.caller(1000, 1000):
        assert read_all(fs, b"file") == b"x"
    fs.utimens(b"file", 0, 0)
    with fs.caller(1000, 1000):
        assert read_all(fs, b"file") == b"x"


@pytest.mark.parametrize("mode", [0o755, 0o2755], ids=["plain", "setgid"])
@pytest.mark.parametrize("umask", [0, 0o077])
@pytest.mark.parametrize("over", [False, True], ids=["free", "whiteout"])
def test_a_default_acl_is_inherited_and_takes_the_place_of_the_umask(
    make: Make, mode: int, umask: int, over: bool
) -> None:
    below = [file(b"d/" + name) for name in (b"file", b"dir", b"fifo")] if over else []
    fs = make([directory(b"d", mode), *below])
    for entry in below:
        fs.unlink(entry.path)
    default = acl(7, 5, 0, named=7, mask=7)
    fs.setxattr(b"d", DEFAULT, default)
    with fs.umask(umask):
        write_all(fs, b"d/file", b"", mode=0o666)
        fs.mkdir(b"d/dir", 0o755)
        fs.mknod(b"d/fifo", stat.S_IFIFO | 0o644)
    assert fs.lstat(b"d/file").permissions == 0o660
    assert fs.getxattr(b"d/file", ACCESS) == acl(6, 5, 0, named=7, mask=6)
    assert fs.lstat(b"d/dir").permissions == 0o750 | (mode & stat.S_ISGID)
    assert fs.getxattr(b"d/dir", DEFAULT) == default
    assert fs.getxattr(b"d/dir", ACCESS) == acl(7, 5, 0, named=7, mask=5)
    assert fs.lstat(b"d/fifo").permissions == 0o640
    fs.symlink(b"x", b"d/link")
    assert fs.listxattr(b"d/link") == []


def test_removing_an_acl_that_is_not_there_is_no_error(make: Make) -> None:
    fs = make(BASE)
    fs.removexattr(b"dir", DEFAULT)
    fs.removexattr(b"file", ACCESS)
