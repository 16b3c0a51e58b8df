"""The table of cowfs.runs.changes, row by row."""

import pytest

from cowfs.model import Kind
from cowfs.runs.changes import ChangeClass, Difference, Version, classify, differences, order

FILE = Version(Kind.FILE, 3, 0o644, 0, 0, 10, 10)
DIRECTORY = Version(Kind.DIRECTORY, 0, 0o755, 0, 0, 10, 10)
LINK = Version(Kind.SYMLINK, 3, 0o777, 0, 0, 10, 10, target=b"old")
DEVICE = Version(Kind.CHAR, 0, 0o600, 0, 0, 10, 10, rdev=0x103)

ROWS = {
    "nothing, something: added": (None, FILE, True, ChangeClass.ADDED),
    "something, nothing: removed": (FILE, None, True, ChangeClass.REMOVED),
    "nothing, nothing: not a change": (None, None, True, None),
    "one kind, another kind: replaced": (FILE, DIRECTORY, True, ChangeClass.REPLACED),
    "a link where a file was: replaced": (FILE, LINK, True, ChangeClass.REPLACED),
    "directories that differ in nothing: not a change": (DIRECTORY, DIRECTORY, True, None),
    "a directory's mode: metadata": (DIRECTORY, DIRECTORY._replace(mode=0o700), True, ChangeClass.METADATA),
    "a directory's time alone: touched": (DIRECTORY, DIRECTORY._replace(mtime_ns=11), True, ChangeClass.TOUCHED),
    "content: modified": (FILE, FILE, False, ChangeClass.MODIFIED),
    "content and mode: modified": (FILE, FILE._replace(mode=0o600), False, ChangeClass.MODIFIED),
    "target: modified": (LINK, LINK._replace(target=b"new"), True, ChangeClass.MODIFIED),
    "device: modified": (DEVICE, DEVICE._replace(rdev=0x105), True, ChangeClass.MODIFIED),
    "mode: metadata": (FILE, FILE._replace(mode=0o600), True, ChangeClass.METADATA),
    "owner: metadata": (FILE, FILE._replace(uid=1000), True, ChangeClass.METADATA),
    "group: metadata": (FILE, FILE._replace(gid=1000), True, ChangeClass.METADATA),
    "xattrs: metadata": (FILE, FILE._replace(xattrs=((b"user.a", b"1"),)), True, ChangeClass.METADATA),
    "mode and times: metadata": (FILE, FILE._replace(mode=0, mtime_ns=11), True, ChangeClass.METADATA),
    "times only: touched": (FILE, FILE._replace(mtime_ns=11), True, ChangeClass.TOUCHED),
    "nothing: identical": (FILE, FILE, True, ChangeClass.IDENTICAL),
    "nothing but link count and change time: identical": (
        FILE,
        FILE._replace(nlink=2, ctime_ns=99),
        True,
        ChangeClass.IDENTICAL,
    ),
    "a link's own mode says nothing: identical": (LINK, LINK._replace(mode=0o755), True, ChangeClass.IDENTICAL),
}


@pytest.mark.parametrize(("before", "after", "same_content", "expected"), ROWS.values(), ids=ROWS.keys())
def test_class(before: Version | None, after: Version | None, same_content: bool, expected: ChangeClass | None) -> None:
    differs = differences(before, after, same_content=same_content) if before and after else frozenset()
    assert classify(before, after, differs) is expected


@pytest.mark.parametrize("same_content", [True, False])
def test_what_moved_is_renamed_whatever_differs(same_content: bool) -> None:
    differs = differences(FILE, FILE._replace(mode=0), same_content=same_content)
    assert classify(FILE, FILE, differs, moved=True) is ChangeClass.RENAMED
    assert (Difference.CONTENT in differs) is not same_content


def test_a_directory_whose_entries_changed_is_not_touched() -> None:
    later = DIRECTORY._replace(mtime_ns=11)
    differs = differences(DIRECTORY, later, same_content=True)
    assert differs == {Difference.TIMES}
    assert classify(DIRECTORY, later, differs, entries_changed=True) is None


def test_a_directory_whose_entries_changed_still_has_a_mode() -> None:
    later = DIRECTORY._replace(mtime_ns=11, mode=0o700)
    differs = differences(DIRECTORY, later, same_content=True)
    assert classify(DIRECTORY, later, differs, entries_changed=True) is ChangeClass.METADATA


def test_a_directory_comes_before_what_is_in_it_and_before_the_next_name() -> None:
    paths = [b"/a", b"/a/b", b"/a/b/c", b"/a-b", b"/a.b", b"/b"]
    assert sorted(set(paths), key=order) == paths
