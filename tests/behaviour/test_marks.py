"""The marks of the merge, seen and forged from inside: hidden, and what looks like one is an ordinary thing."""

import errno
import os
import stat

import pytest

from tests.behaviour.conftest import Make
from tests.behaviour.fs import errno_of, names, read_all, write_all
from tests.behaviour.layers import directory, file, hard_link, symlink

pytestmark = pytest.mark.merged

OVERLAY = b"trusted.overlay."
BASE = [
    file(b"d/file", b"lower"),
    hard_link(b"d/link", b"d/file"),
    directory(b"d/sub"),
    file(b"d/sub/x", b"x"),
    symlink(b"s", b"d/file"),
]


def test_marks_are_hidden_wherever_the_merge_made_some(make: Make) -> None:
    fs = make(BASE, [directory(b"d", opaque=False)])
    write_all(fs, b"d/file", b"upper", 0)
    fs.chmod(b"d/link", 0o600)
    fs.rename(b"d/sub", b"moved")
    fs.mkdir(b"d/sub")
    fs.chown(b"s", 1, 1)
    for path in (b"", b"d", b"d/file", b"d/link", b"d/sub", b"moved", b"moved/x", b"s"):
        assert fs.listxattr(path) == []
        for mark in (b"opaque", b"redirect", b"metacopy", b"origin", b"impure", b"nlink"):
            assert errno_of(fs.getxattr, path, OVERLAY + mark) == errno.ENODATA


@pytest.mark.parametrize("mark", [b"opaque", b"redirect", b"metacopy", b"origin", b"whiteout", b"overlay.opaque", b"x"])
@pytest.mark.parametrize("path", [b"d", b"d/file", b"s"])
def test_a_mark_set_from_inside_is_an_ordinary_attribute(make: Make, path: bytes, mark: bytes) -> None:
    fs = make(BASE)
    fs.setxattr(path, OVERLAY + mark, b"y")
    for _ in range(2):
        assert fs.getxattr(path, OVERLAY + mark) == b"y"
        assert fs.listxattr(path) == [OVERLAY + mark]
        assert names(fs, b"d") == {b"file", b"link", b"sub"}
        assert read_all(fs, b"d/file") == b"lower"
        fs.remount()
    fs.removexattr(path, OVERLAY + mark)
    assert fs.listxattr(path) == []


REFUSED = {
    b"": errno.EINVAL,
    b"/": errno.EINVAL,
    b"//d": errno.EINVAL,
    b"/d/": errno.EINVAL,
    b"/d//sub": errno.EINVAL,
    b"d/sub": errno.EINVAL,
    b".": errno.EACCES,
    b"..": errno.EACCES,
    b"/..": errno.EACCES,
    b"/d/../d": errno.EACCES,
    b"/d/./sub": errno.EACCES,
    b"/" + b"n" * 256: 0,  # leads nowhere
    b"n" * 256: 0,
    b"/d/file/x": 0,
    b"/absent": 0,
}


@pytest.mark.all_on
@pytest.mark.parametrize("redirect", REFUSED)
def test_a_redirect_leads_nowhere_outside_the_layers(make: Make, redirect: bytes) -> None:
    """The layer was made by somebody else: what no overlay writes is refused, and the names beside it are not."""
    forged = [directory(b"forged", xattrs={OVERLAY + b"redirect": redirect}), file(b"forged/own"), file(b"beside")]
    fs = make([*BASE, file(b"forged/below")], forged)
    code = REFUSED[redirect]
    assert errno_of(fs.lstat, b"forged") == code
    if code == 0:
        assert names(fs, b"forged") == {b"own"}
    else:
        assert errno_of(fs.rename, b"forged", b"moved") == code
    assert fs.lstat(b"beside").size == 0
    assert {b"beside", b"d", b"s"} <= names(fs, b"")


@pytest.mark.all_on
@pytest.mark.parametrize("redirect", REFUSED)
def test_a_file_whose_data_is_nowhere_is_refused(make: Make, redirect: bytes) -> None:
    marks = {OVERLAY + b"redirect": redirect, OVERLAY + b"metacopy": b""}
    impure = {OVERLAY + b"impure": b"y"}
    fs = make(BASE, [directory(b"", xattrs=impure), file(b"forged", xattrs=marks), file(b"beside")])
    assert errno_of(fs.lstat, b"forged") == (REFUSED[redirect] or errno.EIO)
    assert fs.lstat(b"beside").size == 0
    assert {b"beside", b"d", b"s"} <= names(fs, b"")


def test_an_opaque_mark_set_from_inside_is_none_in_the_next_layer(make: Make) -> None:
    fs = make(BASE)
    fs.setxattr(b"d", OVERLAY + b"opaque", b"y")
    fs.rotate()
    assert names(fs, b"d") == {b"file", b"link", b"sub"}
    assert fs.getxattr(b"d", OVERLAY + b"opaque") == b"y"


def test_a_device_0_0_made_from_inside_deletes_nothing(make: Make) -> None:
    fs = make(BASE)
    code = errno_of(fs.mknod, b"d/forged", stat.S_IFCHR | 0o600, 0)
    assert code in (0, errno.EPERM)
    fs.unlink(b"d/file")
    assert errno_of(fs.mknod, b"d/file", stat.S_IFCHR | 0o600, 0) == code
    fs.remount()
    assert errno_of(fs.lstat, b"d/file") == (errno.ENOENT if code else 0)


@pytest.mark.parametrize("name", [b".wh.file", b".wh..wh..opq", b".wh.", b".wh..wh.aufs"])
def test_a_whiteout_name_of_an_image_is_an_ordinary_name(make: Make, name: bytes) -> None:
    fs = make(BASE)
    write_all(fs, b"d/" + name, b"ordinary")
    for _ in range(2):
        assert names(fs, b"d") == {b"file", b"link", b"sub", name}
        assert read_all(fs, b"d/" + name) == b"ordinary"
        fs.rotate()


@pytest.mark.kernel
def test_an_overlay_can_be_made_inside_and_shows_its_own_whiteouts(make: Make) -> None:
    from tests.behaviour import syscalls

    fs = make([file(b"low/a"), file(b"low/b"), directory(b"up"), directory(b"work"), directory(b"mnt")])
    places = b"lowerdir=%s,upperdir=%s,workdir=%s,userxattr" % tuple(map(fs.path, (b"low", b"up", b"work")))
    try:
        syscalls.mount(b"inner", fs.path(b"mnt"), b"overlay", 0, places)
    except OSError as failure:
        if failure.errno != errno.EINVAL:  # it cannot hold the upper of another, and says so
            raise
        return
    try:
        os.unlink(fs.path(b"mnt/a"))
        assert os.listdir(fs.path(b"mnt")) == [b"b"]
    finally:
        syscalls.unmount(fs.path(b"mnt"))
