"""Unified hunks: applied to the old text they must make the new one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowfs.cli.diffs.unified import hunks

TEXTS = st.lists(st.sampled_from([b"a", b"b", b"c", b"-x", b"+y", b"@@ z", b""]), max_size=30).map(b"\n".join)


def patched(old: bytes, new: bytes) -> bytes:
    """``old`` with the hunks applied, strictly: what they say of the old text must be there."""
    left, made = old.splitlines(keepends=True), []
    position = 0
    for line in (
        b"".join(hunks(old, new)).replace(b"\n\\ No newline at end of file\n", b"\0\n").splitlines(keepends=True)
    ):
        sign, text = line[:1], line[1:].replace(b"\0\n", b"")
        if sign == b"@":
            start, _, count = line.split()[1][1:].partition(b",")
            first = int(start) - (count != b"0")
            made += left[position:first]
            position = first
            continue
        if sign in b" -":
            assert left[position] == text
            position += 1
        if sign in b" +":
            made.append(text)
    return b"".join(made + left[position:])


@settings(max_examples=300, deadline=None)
@given(old=TEXTS, new=TEXTS)
def test_hunks_make_the_new_text(old: bytes, new: bytes) -> None:
    assert patched(old, new) == new


def test_equal_texts_have_no_hunks() -> None:
    assert list(hunks(b"a\nb\n", b"a\nb\n")) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"", b"a\n", b"@@ -0,0 +1 @@\n+a\n"),
        (b"a\n", b"", b"@@ -1 +0,0 @@\n-a\n"),
        (b"a", b"a\n", b"@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"),
        (b"1\n2\n3\n4\n5\n", b"1\n2\n3\n4\nV\n", b"@@ -2,4 +2,4 @@\n 2\n 3\n 4\n-5\n+V\n"),
    ],
)
def test_edges(old: bytes, new: bytes, expected: bytes) -> None:
    assert b"".join(hunks(old, new)) == expected


def test_far_changes_are_apart_and_near_ones_together() -> None:
    lines = [b"%d\n" % number for number in range(40)]
    far = [*lines]
    far[5] = far[30] = b"x\n"
    near = [*lines]
    near[5] = near[11] = b"x\n"
    assert sum(line.startswith(b"@@") for line in hunks(b"".join(lines), b"".join(far))) == 2
    assert sum(line.startswith(b"@@") for line in hunks(b"".join(lines), b"".join(near))) == 1


def test_huge_texts_become_one_hunk() -> None:
    old = b"".join(b"old %d\n" % (number % 7) for number in range(15_000))
    new = b"".join(b"new %d\n" % (number % 5) for number in range(15_000))
    assert patched(old, new) == new
    assert sum(line.startswith(b"@@") for line in hunks(old, new)) == 1
