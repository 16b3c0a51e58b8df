"""Rows of the table of cowfs.rules.lookup, in the same words."""

import stat

import pytest

from cowfs.rules.lookup import Entry, lay_above, merge

FILE, DIR, LINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK
WHITEOUT = None


@pytest.mark.parametrize(
    ("upper", "below", "shows"),
    [
        pytest.param([], [(b"x", FILE)], Entry(FILE, ("L",)), id="absent over a file shows the file"),
        pytest.param([], [(b"x", DIR)], Entry(DIR, ("L",)), id="absent over a directory shows the directory"),
        pytest.param([(b"x", WHITEOUT)], [(b"x", FILE)], None, id="whiteout over a file shows nothing"),
        pytest.param([(b"x", WHITEOUT)], [(b"x", DIR)], None, id="whiteout over a directory shows nothing"),
        pytest.param([(b"x", WHITEOUT)], [], None, id="whiteout over nothing shows nothing"),
        pytest.param([(b"x", FILE)], [(b"x", DIR)], Entry(FILE, ("U",)), id="file over a directory shows the file"),
        pytest.param([(b"x", LINK)], [(b"x", FILE)], Entry(LINK, ("U",)), id="link over a file shows the link"),
        pytest.param([(b"x", DIR)], [(b"x", DIR)], Entry(DIR, ("U", "L")), id="directory over a directory merges"),
        pytest.param([(b"x", DIR)], [(b"x", FILE)], Entry(DIR, ("U",)), id="directory over a file does not merge"),
        pytest.param(
            [(b"x", DIR)], [(b"x", WHITEOUT)], Entry(DIR, ("U",)), id="directory over a whiteout does not merge"
        ),
    ],
)
def test_two_layers(upper, below, shows):
    assert merge([("U", upper), ("L", below)]).get(b"x") == shows
    covered = lay_above(merge([("L", below)]), "U", upper)
    assert covered.visible.get(b"x") == shows


def test_nothing_below_a_file_between_directories_counts():
    merged = merge([("1", [(b"x", DIR)]), ("2", [(b"x", FILE)]), ("3", [(b"x", DIR)])])
    assert merged[b"x"] == Entry(DIR, ("1",))


def test_a_layer_that_lacks_the_directory_does_not_end_the_merge():
    merged = merge([("1", [(b"x", DIR)]), ("2", []), ("3", [(b"x", DIR)])])
    assert merged[b"x"] == Entry(DIR, ("1", "3"))


def test_the_upper_is_told_apart():
    below = merge([("L", [(b"kept", FILE), (b"gone", FILE), (b"both", DIR)])])
    covered = lay_above(below, "U", [(b"gone", WHITEOUT), (b"both", DIR), (b"new", FILE)])
    assert set(covered.visible) == {b"kept", b"both", b"new"}
    assert covered.uppers == {b"both", b"new"}
    assert covered.whiteouts == {b"gone"}
    assert set(below) == {b"kept", b"gone", b"both"}
