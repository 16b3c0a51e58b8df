"""X04 and the host as base: a lower that changes underneath is followed name by name, file by file."""

import errno
import os

import pytest

from cowfs.options import MountOptions
from cowfs.overlay import Overlay


@pytest.fixture
def lower(tmp_path):
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "file").write_bytes(b"first")
    (tmp_path / "lower" / "other").write_bytes(b"other")
    return tmp_path / "lower"


@pytest.fixture
def overlay(lower):
    top = lower.parent
    merged = Overlay(MountOptions(lowers=(lower,), upper=top / "upper", work=top / "work", live_lower=True))
    yield merged
    merged.close()


def content(overlay, path):
    handle = overlay.open(overlay.walk(path), os.O_RDONLY)
    try:
        return overlay.read(handle, 0, 100)
    finally:
        overlay.release(handle)


def test_a_new_name_appears_and_a_removed_one_goes(overlay, lower):
    assert set(overlay.names(overlay.root)) == {b"file", b"other"}
    (lower / "new").write_bytes(b"new")
    (lower / "other").unlink()
    assert content(overlay, b"/new") == b"new"
    assert overlay.find(overlay.root, b"other") is None
    assert set(overlay.names(overlay.root)) == {b"file", b"new"}


def test_a_file_that_was_replaced_is_another_one_and_the_open_one_stays(overlay, lower):
    old = overlay.walk(b"/file")
    opened = overlay.open(old, os.O_RDONLY)
    (lower / "file.new").write_bytes(b"second version")
    os.rename(lower / "file.new", lower / "file")
    new = overlay.walk(b"/file")
    assert new is not old
    assert overlay.attr(new).size == len(b"second version")
    assert content(overlay, b"/file") == b"second version"
    assert overlay.read(opened, 0, 100) == b"first"
    with pytest.raises(OSError) as raised:
        overlay.attr(old)
    assert raised.value.errno == errno.ESTALE
    overlay.release(opened)


def test_a_file_that_was_rewritten_in_place_loses_its_cache(overlay, lower):
    first = overlay.open(overlay.walk(b"/file"), os.O_RDONLY)
    assert first.same_version
    (lower / "file").write_bytes(b"longer than before")
    second = overlay.open(overlay.walk(b"/file"), os.O_RDONLY)
    assert not second.same_version
    overlay.release(first)
    overlay.release(second)


def test_what_the_upper_has_is_not_touched(overlay, lower):
    handle = overlay.open(overlay.walk(b"/file"), os.O_WRONLY)
    overlay.write(handle, 0, b"FIRST")
    overlay.release(handle)
    overlay.unlink(overlay.root, b"other")
    (lower / "file").unlink()
    (lower / "another").write_bytes(b"x")
    assert content(overlay, b"/file") == b"FIRST"
    assert overlay.find(overlay.root, b"other") is None
    assert overlay.find(overlay.root, b"another") is not None


def test_a_removed_directory_takes_its_names_along(overlay, lower):
    (lower / "dir").mkdir()
    (lower / "dir" / "inside").write_bytes(b"x")
    assert overlay.walk(b"/dir/inside")
    (lower / "dir" / "inside").unlink()
    (lower / "dir").rmdir()
    with pytest.raises(FileNotFoundError):
        overlay.walk(b"/dir/inside")
