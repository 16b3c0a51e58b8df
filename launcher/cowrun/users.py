"""Who a command runs as: the image's User or --user, looked up in the root's own passwd and group files. Pure.

    nothing        root
    name | uid     the entry in passwd; a uid without one has gid 0
    x:group        that group and no supplementary ones

Digits are a number and never a name. passwd(5), group(5): fields of a line that does not parse are as if absent.
"""

import re
from typing import NamedTuple

from cowfs.errors import UsageError

LARGEST = 2**32 - 2  # 2**32 - 1 is "no change" for the kernel
_DIGITS = re.compile(r"[0-9]+")


class User(NamedTuple):
    """The identity of a process and where it is at home."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


class _Entry(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


def find(text: str, passwd: bytes, group: bytes) -> User:
    """The user that ``text`` names in these files. Raises UsageError."""
    name, colon, group_name = text.partition(":")
    if colon and not group_name:
        raise UsageError(f"user {text!r}: no group after the colon")
    entry = _entry(name or "0", _passwd(passwd), text)
    if group_name:
        return User(entry.uid, _group(group_name, group, text), (), entry.home)
    groups = {gid for gid, members in _groups(group).values() if entry.name and entry.name in members}
    return User(entry.uid, entry.gid, tuple(sorted(groups | {entry.gid})), entry.home)


def check(text: str) -> None:
    """Raise UsageError for numbers that no file can make valid."""
    for part in text.split(":", 1):
        if part.isascii() and part.isdigit():
            _number(part, text)


def _entry(name: str, entries: list[_Entry], text: str) -> _Entry:
    if _DIGITS.fullmatch(name):
        uid = _number(name, text)
        return next((entry for entry in entries if entry.uid == uid), _Entry("", uid, 0, "/"))
    for entry in entries:
        if entry.name == name:
            return entry
    raise UsageError(f"user {text!r}: no {name!r} in this root's /etc/passwd")


def _group(name: str, content: bytes, text: str) -> int:
    if _DIGITS.fullmatch(name):
        return _number(name, text)
    groups = _groups(content)
    if name not in groups:
        raise UsageError(f"user {text!r}: no group {name!r} in this root's /etc/group")
    return groups[name][0]


def _passwd(content: bytes) -> list[_Entry]:
    found = []
    for fields in _lines(content):
        if len(fields) >= 6 and (uid := _id(fields[2])) is not None and (gid := _id(fields[3])) is not None:
            found.append(_Entry(fields[0], uid, gid, fields[5] if fields[5].startswith("/") else "/"))
    return found


def _groups(content: bytes) -> dict[str, tuple[int, frozenset[str]]]:
    found: dict[str, tuple[int, frozenset[str]]] = {}
    for fields in _lines(content):
        if len(fields) >= 3 and (gid := _id(fields[2])) is not None:
            members = frozenset(fields[3].split(",")) if len(fields) > 3 else frozenset()
            found.setdefault(fields[0], (gid, members))
    return found


def _lines(content: bytes) -> list[list[str]]:
    text = content.decode("utf-8", "surrogateescape")
    return [line.split(":") for line in text.split("\n") if line and not line.startswith("#") and "\0" not in line]


def _id(text: str) -> int | None:
    return int(text) if len(text) <= 10 and _DIGITS.fullmatch(text) and int(text) <= LARGEST else None


def _number(text: str, whole: str) -> int:
    number = _id(text.lstrip("0") or "0")
    if number is None:
        raise UsageError(f"user {whole!r}: {text} is larger than {LARGEST}")
    return number
