"""X04 and the host as base: a lower that changes underneath is followed name by name, file by file."""

import errno
import os
import subprocess

import pytest

from cowfs.options import MountOptions
from cowfs.overlay import Changes, Overlay


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


def change(overlay, path, offset, data):
    handle = overlay.open(overlay.walk(path), os.O_WRONLY)
    try:
        overlay.write(handle, offset, data)
    finally:
        overlay.release(handle)


def replaced(file):
    (file.parent / "new").write_bytes(b"other")
    os.rename(file.parent / "new", file)


CHANGES = {
    "replaced": replaced,
    "rewritten": lambda file: (file.write_bytes(b"1234"), file.write_bytes(b"12345")),
    "longer": lambda file: file.write_bytes(b"longer than before"),
    "removed": os.unlink,
}


@pytest.mark.parametrize("happens", CHANGES.values(), ids=CHANGES)
def test_attributes_of_the_upper_are_never_shown_with_another_versions_data(overlay, lower, happens):
    overlay.setattr(overlay.walk(b"/file"), Changes(mode=0o600))
    assert content(overlay, b"/file") == b"first"
    happens(lower / "file")
    assert overlay.attr(overlay.walk(b"/file")).size == 5
    for operation in (content, lambda *arguments: change(*arguments, 1, b"new")):
        with pytest.raises(OSError) as raised:
            operation(overlay, b"/file")
        assert raised.value.errno == errno.ESTALE
    handle = overlay.open(overlay.walk(b"/file"), os.O_WRONLY | os.O_TRUNC)
    overlay.write(handle, 0, b"mine")
    overlay.release(handle)
    assert content(overlay, b"/file") == b"mine"


@pytest.mark.parametrize("before", ["nothing", "attributes"])
def test_a_file_that_changes_while_it_is_copied_up_is_refused(overlay, lower, monkeypatch, before):
    (lower / "file").write_bytes(b"1" * 100_000)
    if before == "attributes":
        overlay.setattr(overlay.walk(b"/file"), Changes(mode=0o600))
    real = os.copy_file_range

    def slowly(source, target, count, *offsets):
        done = real(source, target, 10_000, *offsets)
        (lower / "file").write_bytes(b"2" * 100_001)
        return done

    monkeypatch.setattr(os, "copy_file_range", slowly)
    with pytest.raises(OSError) as raised:
        change(overlay, b"/file", 5, b"new")
    assert raised.value.errno == errno.ESTALE
    monkeypatch.undo()
    left = {"nothing": [], "attributes": ["file"]}[before]
    assert os.listdir(lower.parent / "upper") == left
    assert os.listdir(lower.parent / "work" / "work") == []
    if before == "nothing":
        change(overlay, b"/file", 5, b"new")
        assert content(overlay, b"/file")[:10] == b"22222new22"


def test_what_is_mounted_below_a_lower_belongs_to_it_and_what_is_hidden_is_empty(lower):
    top = lower.parent
    for name in ("mounted", "hidden", "hidden/store", "hidden/merged"):
        (lower / name).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", lower / "mounted"], check=True)
    try:
        (lower / "mounted" / "inside").write_bytes(b"there")
        (lower / "hidden").chmod(0o711)
        options = MountOptions(
            lowers=(lower,), upper=top / "upper", work=top / "work", live_lower=True, hidden=(lower / "hidden",)
        )
        overlay = Overlay(options)
        assert content(overlay, b"/mounted/inside") == b"there"
        change(overlay, b"/mounted/inside", 0, b"T")
        assert (lower / "mounted" / "inside").read_bytes() == b"there"
        assert content(overlay, b"/mounted/inside") == b"There"
        hidden = overlay.walk(b"/hidden")
        assert list(overlay.names(hidden)) == []
        assert overlay.find(hidden, b"store") is None
        assert overlay.attr(hidden).mode & 0o777 == 0o711
        overlay.mkdir(hidden, b"store", 0o755)
        assert list(overlay.names(hidden)) == [b"store"]
        assert sorted(os.listdir(lower / "hidden")) == ["merged", "store"]
        overlay.close()
    finally:
        subprocess.run(["umount", lower / "mounted"], check=True)
