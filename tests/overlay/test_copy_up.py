"""Copy-up as a caller of the core sees it, without a mount. Each test is a bug that was, or a promise."""

import os
import struct
import time

import pytest

from cowfs.layers import data
from cowfs.options import MountOptions
from cowfs.overlay import Changes, Overlay


@pytest.fixture
def directories(tmp_path):
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "dir").mkdir()
    (tmp_path / "lower" / "dir" / "file").write_bytes(b"old bytes")
    return tmp_path


@pytest.fixture
def mount(directories):
    opened = []

    def again():
        if opened:
            opened.pop().close()
        layers = {"upper": directories / "upper", "work": directories / "work"}
        opened.append(Overlay(MountOptions(lowers=(directories / "lower",), **layers)))
        return opened[0]

    yield again
    opened.pop().close()


@pytest.fixture
def overlay(mount):
    return mount()


def test_a_copy_that_comes_into_a_directory_does_not_change_its_times(overlay):
    # tar compared a directory's ctime before and after reading it: "file changed as we read it"
    directory = overlay.walk(b"/dir")
    before = overlay.attr(directory)
    time.sleep(0.01)
    overlay.setattr(overlay.walk(b"/dir/file"), Changes(mode=0o600))
    after = overlay.attr(directory)
    assert (after.mtime_ns, after.ctime_ns) == (before.mtime_ns, before.ctime_ns)
    overlay.mkdir(directory, b"new", 0o755)
    assert overlay.attr(directory).ctime_ns > before.ctime_ns


def test_truncating_by_a_read_only_open(overlay):
    # open(2) leaves O_RDONLY|O_TRUNC unspecified; Linux truncates
    node = overlay.walk(b"/dir/file")
    overlay.release(overlay.open(node, os.O_RDONLY | os.O_TRUNC))
    assert overlay.attr(node).size == 0


def test_opening_for_writing_without_writing_leaves_the_upper_empty(overlay, directories):
    overlay.release(overlay.open(overlay.walk(b"/dir/file"), os.O_RDWR))
    assert os.listdir(directories / "upper") == []


def test_a_reader_sees_what_is_written_after_it_opened(overlay):
    node = overlay.walk(b"/dir/file")
    reader, writer = overlay.open(node, os.O_RDONLY), overlay.open(node, os.O_WRONLY)
    assert overlay.read(reader, 0, 100) == b"old bytes"
    overlay.write(writer, 0, b"new")
    assert overlay.read(reader, 0, 100) == b"new bytes"
    overlay.release(reader)
    overlay.release(writer)


def test_attributes_bring_no_data(overlay, directories):
    node = overlay.walk(b"/dir/file")
    overlay.setattr(node, Changes(mode=0o600, uid=7))
    copied = directories / "upper" / "dir" / "file"
    assert os.getxattr(copied, "trusted.overlay.metacopy") == b""
    with open(copied, "rb") as attributes_only:
        assert os.lseek(attributes_only.fileno(), 0, os.SEEK_HOLE) == 0
    handle = overlay.open(node, os.O_RDONLY)
    assert overlay.read(handle, 0, 100) == b"old bytes"
    overlay.release(handle)


def test_the_inode_number_survives_copy_up_rename_and_remount(mount):
    overlay = mount()
    node = overlay.walk(b"/dir/file")
    number = overlay.attr(node).ino
    handle = overlay.open(node, os.O_RDWR)
    overlay.write(handle, 0, b"x")
    overlay.release(handle)
    overlay.rename(overlay.walk(b"/dir"), b"file", overlay.root, b"moved")
    assert overlay.attr(overlay.walk(b"/moved")).ino == number
    overlay = mount()
    assert overlay.attr(overlay.walk(b"/moved")).ino == number


def test_two_mounts_cannot_share_a_work_directory(overlay):
    with pytest.raises(OSError, match="another mount"):
        Overlay(overlay.options)


@pytest.mark.parametrize("first", ["nothing", "chmod"])
@pytest.mark.parametrize("how", ["open", "truncate"])
def test_what_is_about_to_go_is_not_copied(overlay, directories, monkeypatch, how, first):
    def copying(*_):
        raise AssertionError("data was copied")

    node = overlay.walk(b"/dir/file")
    if first == "chmod":
        overlay.setattr(node, Changes(mode=0o600))
    for name in ("copy", "copy_ranges", "_copy_range"):
        monkeypatch.setattr(data, name, copying)
    if how == "open":
        overlay.release(overlay.open(node, os.O_WRONLY | os.O_TRUNC))
    else:
        overlay.setattr(node, Changes(size=0))
    assert overlay.attr(node).size == 0
    assert (directories / "upper" / "dir" / "file").read_bytes() == b""


CAPABILITY, RAW = "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


@pytest.mark.parametrize("way", ["open", "in two steps", "whole at the end"])
def test_a_copy_keeps_the_capabilities_that_its_making_takes_off(directories, way):
    """A write drops security.capability, and so does chown: both are part of making the copy."""
    file = directories / "lower" / "dir" / "file"
    file.write_bytes(b"x" * 2_000_000)
    os.chown(file, 1000, 1000)
    os.setxattr(file, CAPABILITY, RAW)
    layers = {"upper": directories / "upper", "work": directories / "work"}
    overlay = Overlay(
        MountOptions(lowers=(directories / "lower",), copy_up_on_open=way != "whole at the end", **layers)
    )
    node = overlay.walk(b"/dir/file")
    if way == "in two steps":
        overlay.setattr(node, Changes(mode=0o711))
    if way == "whole at the end":
        overlay.start_partial(node)
    else:
        overlay.release(overlay.open(node, os.O_WRONLY))
    node.lookups += 1
    overlay.close()
    copied = directories / "upper" / "dir" / "file"
    assert os.getxattr(copied, CAPABILITY) == RAW
    assert (copied.stat().st_uid, copied.stat().st_size) == (1000, 2_000_000)
    assert copied.stat().st_mtime_ns == file.stat().st_mtime_ns
    assert copied.read_bytes() == file.read_bytes()
    assert set(os.listxattr(copied)) == {CAPABILITY, "trusted.overlay.origin"}
