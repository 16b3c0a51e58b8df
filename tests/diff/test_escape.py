"""Names as a person may see them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowfs.runs.escape import harmless, json_name, printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain name.txt", "plain name.txt"),
        ("Grüße 日本".encode(), "Grüße 日本"),
        (b"esc\x1b[31m", "esc\\x1b[31m"),
        (b"two\nlines\t", "two\\x0alines\\x09"),
        (b"back\\slash", "back\\\\slash"),
        (b"latin-\xe9", "latin-\\xe9"),
        ("right-to-left \u202e mark".encode(), "right-to-left \\u{202e} mark"),
        ("line \u2028 separator".encode(), "line \\u{2028} separator"),
        (b"\x7f\xc2\x9b", "\\x7f\\u{009b}"),
        ("\ufeffzero\u200bwidth".encode(), "\\u{feff}zero\\u{200b}width"),
    ],
)
def test_printable(name: bytes, shown: str) -> None:
    assert printable(name) == shown


@given(st.lists(st.binary(max_size=12), min_size=2, max_size=2, unique=True))
def test_different_names_look_different(names: list[bytes]) -> None:
    assert printable(names[0]) != printable(names[1])


@given(st.binary())
def test_nothing_shown_is_a_control_character(name: bytes) -> None:
    assert printable(name).isprintable() or " " in printable(name)
    assert "\x1b" not in harmless(name)


def test_content_keeps_tabs_and_backslashes() -> None:
    assert harmless(b"a\tb\\n\x1b]0;x\x07\n") == "a\tb\\n\\x1b]0;x\\x07\n"


def test_json_of_names() -> None:
    assert json_name("path", "/ä\n".encode()) == {"path": "/ä\n"}
    assert json_name("path", b"/\xff") == {"path": "/\ufffd", "path_b64": "L/8="}
