"""Changes as lines for a person and as JSON for a program. Pure: from values to strings.

letter  class                    letter  class
A       added                    T       replaced by another type
D       removed                  R       renamed
M       modified                 t       touched: only the times differ
m       metadata only            =       identical: copied up, but the same
                                  x       passing: created and removed again
"""

import base64
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from cowfs.cli.diffs import attributes
from cowfs.cli.output import human_size as _human_size
from cowfs.model import Kind
from cowfs.runs.below import Held
from cowfs.runs.changes import METADATA, Change, ChangeClass, Difference, Version
from cowfs.runs.escape import json_name, printable

human_size: Final = lru_cache(_human_size)  # many files have the same size
LETTERS: Final = {
    ChangeClass.ADDED: "A",
    ChangeClass.REMOVED: "D",
    ChangeClass.MODIFIED: "M",
    ChangeClass.METADATA: "m",
    ChangeClass.REPLACED: "T",
    ChangeClass.RENAMED: "R",
    ChangeClass.TOUCHED: "t",
    ChangeClass.IDENTICAL: "=",
    ChangeClass.PASSING: "x",
}

COLOURS: Final = {
    ChangeClass.ADDED: "green",
    ChangeClass.REMOVED: "red",
    ChangeClass.MODIFIED: "yellow",
    ChangeClass.METADATA: "yellow",
    ChangeClass.REPLACED: "magenta",
    ChangeClass.RENAMED: "cyan",
}


def line(change: Change, held: Held | None = None, *, sizes: bool = False, values: bool = False) -> str:
    """``change`` on one line: letter, path, and what a path alone does not say.

    ``sizes``: with the bytes of files; ``values``: with those of extended attributes.
    """
    kind, rest = change.kind, _rest(change, held, sizes=sizes, values=values)
    if kind is Kind.DIRECTORY and change.path != b"/":
        return f"{LETTERS[change.change]} {printable(change.path)}/{rest}"
    return f"{LETTERS[change.change]} {printable(change.path)}{rest}"


def details(change: Change, held: Held | None = None) -> str:
    """All that a line says beside letter and path."""
    return _rest(change, held, sizes=True, values=True).strip()


def tree(changes: Iterable[tuple[Change, Held | None]], *, sizes: bool = False) -> Iterator[tuple[Change | None, str]]:
    """Changes in order as an indented tree, with the directories that lead to them; each line with its change."""
    above: list[bytes] = []
    for change, held in changes:
        *parents, name = change.path.split(b"/")[1:]
        common = _common(above, parents)
        for depth in range(common, len(parents)):
            yield None, f"  {'  ' * depth}{printable(parents[depth])}/"
        above = parents
        slash = "/" if change.kind is Kind.DIRECTORY else ""
        if slash:
            above = [*parents, name]
        text = f"{LETTERS[change.change]} {'  ' * len(parents)}{printable(name)}{slash}"
        yield change, text + _rest(change, held, sizes=sizes)


def _common(one: list[bytes], other: list[bytes]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _rest(change: Change, held: Held | None, *, sizes: bool, values: bool = False) -> str:
    target = ""
    if change.after is not None and change.after.kind is Kind.SYMLINK:
        target = f" -> {printable(change.after.target)}"
    if held is None and _is_plain(change):  # as most are
        version = change.after or change.before
        if not sizes or version is None or version.kind is not Kind.FILE:
            return target
        return f" ({human_size(version.size)})"
    notes = _notes(change, held, sizes=sizes, values=values)
    return f"{target} ({'; '.join(notes)})" if notes else target


def shown(path: bytes, kind: Kind) -> str:
    """A path for a person; a directory ends in a slash."""
    return printable(path + b"/" if kind is Kind.DIRECTORY and path != b"/" else path)


def _is_plain(change: Change) -> bool:
    """True for what most changes are: there is no more to say than that they came or went."""
    plain = change.change is ChangeClass.ADDED or change.change is ChangeClass.REMOVED
    return plain and change.link_to is None and not change.base_changed and not change.other_names


def _notes(change: Change, held: Held | None, *, sizes: bool, values: bool) -> list[str]:
    notes = _sizes(change) if sizes else []
    if change.change is ChangeClass.RENAMED and change.before_path is not None:
        notes.append(f"from {printable(change.before_path)}")
        if Difference.CONTENT in change.differs:
            notes.append("content differs")
    if change.overwrote is not None:
        notes.append(f"over a {change.overwrote.kind.value}")
    if change.change is ChangeClass.REPLACED and change.before is not None:
        notes.append(f"was a {change.before.kind.value}")
    if change.link_to is not None:
        notes.append(f"hard link of {printable(change.link_to)}")
    if change.change is not ChangeClass.REPLACED:
        notes.extend(metadata_words(change, values=values))
    if change.other_names and change.change is not ChangeClass.ADDED:
        notes.append(f"and {change.other_names} more of its names")
    if held is not None:
        notes.append(f"it held {held.entries}" + (f", {human_size(held.size)}" if sizes else ""))
    if change.base_changed:
        notes.append("the base is newer than the run")
    return notes


def _sizes(change: Change) -> list[str]:
    """The bytes of a file: how many there were, are, and really differ."""
    before, after = change.before, change.after
    old = before.size if before is not None and before.kind is Kind.FILE else None
    new = after.size if after is not None and after.kind is Kind.FILE else None
    if (old is None and new is None) or change.link_to is not None:
        return []
    if old is None or new is None or old == new:
        text = human_size(old or new or 0)
    else:
        text = f"{human_size(old)} -> {human_size(new)}"
    if change.differing is not None and Difference.CONTENT in change.differs:
        text += f", {human_size(change.differing)} differ"
    return [text]


def metadata_words(change: Change, *, values: bool = False) -> list[str]:
    """What differs in mode, owner and extended attributes, in words; ``values``: with those of the latter."""
    before, after = change.before, change.after
    if before is None or after is None or not change.differs & METADATA:
        return []
    words = []
    if Difference.MODE in change.differs:
        words.append(f"mode {before.mode:04o} -> {after.mode:04o}")
    if Difference.OWNER in change.differs:
        words.append(f"owner {before.uid}:{before.gid} -> {after.uid}:{after.gid}")
    if Difference.XATTRS in change.differs:
        words += attributes.differences(before.xattrs, after.xattrs, values=values)
    return words


def as_json(change: Change, held: Held | None = None) -> dict[str, Any]:
    """``change`` as a JSON object. Keys that would say nothing are left out, but for before and after."""
    answer: dict[str, Any] = json_name("path", change.path)
    answer |= {"change": change.change.value, "kind": change.kind.value}
    if change.before_path is not None:
        answer |= json_name("from", change.before_path)
    if change.differs:
        answer["differs"] = [difference.value for difference in Difference if difference in change.differs]
    answer |= {"before": _side(change.before), "after": _side(change.after)}
    if change.overwrote is not None:
        answer["overwrote"] = _side(change.overwrote)
    if change.link_to is not None:
        answer |= json_name("link_to", change.link_to)
    if change.other_names:
        answer["other_names"] = change.other_names
    if change.base_changed:
        answer["base_changed"] = True
    if held is not None:
        answer |= {"held": held.entries, "held_bytes": held.size}
    if change.differing is not None:
        answer["differing"] = change.differing
    return answer


def _side(version: Version | None) -> dict[str, Any] | None:
    if version is None:
        return None
    side: dict[str, Any] = {
        "kind": version.kind.value,
        "size": version.size if version.kind in (Kind.FILE, Kind.SYMLINK) else None,
        "mode": f"{version.mode:04o}",
        "uid": version.uid,
        "gid": version.gid,
        "mtime": timestamp(version.mtime_ns),
    }
    if version.kind is Kind.SYMLINK:
        side |= json_name("target", version.target)
    if version.kind in (Kind.CHAR, Kind.BLOCK):
        side["device"] = device(version.rdev)
    if version.xattrs:
        side["xattrs"] = {
            name.decode("utf-8", "backslashreplace"): base64.b64encode(value).decode("ascii")
            for name, value in version.xattrs
        }
    return side


def device(rdev: int) -> str:
    """The numbers of a device node."""
    return f"{rdev >> 8 & 0xFFF | rdev >> 32 & ~0xFFF}:{rdev & 0xFF | rdev >> 12 & ~0xFF}"


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC, to the nanosecond; beyond the years that it can write, "@" and seconds since the epoch."""
    seconds, rest = divmod(nanoseconds, 10**9)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    except (ValueError, OverflowError):
        return f"@{seconds}.{rest:09d}"
