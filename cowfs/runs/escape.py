"""Names as a person may see them: nothing that a terminal or a careless reader could take for something else.

Names on disk are bytes. Control, format and surrogate characters, line separators and bytes that are not UTF-8 are
shown as ``\\xNN`` or ``\\u{NNNN}``, a backslash as ``\\\\``; so an escaped name is one line, and names stay distinct.
"""

import base64
import unicodedata
from typing import Final

_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(name: bytes) -> str:
    """``name`` for a terminal or a text file, on one line."""
    text = name.decode("utf-8", "surrogateescape")
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_shown, text))


def json_names(key: str, names: list[bytes]) -> dict[str, list[str]]:
    """The same for a list of names: all in base64 beside it if one is not UTF-8."""
    parts = [json_name("name", name) for name in names]
    answer = {key: [part["name"] for part in parts]}
    if any(len(part) > 1 for part in parts):
        answer[f"{key}_b64"] = [base64.b64encode(name).decode("ascii") for name in names]
    return answer


def harmless(text: bytes) -> str:
    """The content of a file for a terminal: as ``printable``, but tabs, line ends and backslashes stay as they are."""
    return "".join(c if c in "\t\n\\" else _shown(c) for c in text.decode("utf-8", "surrogateescape"))


def _shown(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if unicodedata.category(character) not in _UNSAFE:
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, see PEP 383
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{{{code:04x}}}"


def json_name(key: str, name: bytes) -> dict[str, str]:
    """``name`` for JSON under ``key``, and exactly, in base64, under ``<key>_b64`` where it is not UTF-8."""
    try:
        return {key: name.decode("utf-8")}
    except UnicodeDecodeError:
        return {key: name.decode("utf-8", "replace"), f"{key}_b64": base64.b64encode(name).decode("ascii")}
