"""Changes counted: in all, and by directory, package, process, class or kind. Pure: from values to rows.

Bytes *in* are those that a run wrote: of added files, and of modified ones as many as differ; bytes *out* are those
that went with what was removed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cowfs.cli.diffs.render import LETTERS
from cowfs.cli.output import human_size
from cowfs.model import Kind
from cowfs.runs.below import Held
from cowfs.runs.changes import Change, ChangeClass
from cowfs.runs.escape import json_name, printable


@dataclass(slots=True)
class Row:
    """What a group of changes comes to."""

    classes: Counter[ChangeClass] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0
    below: int = 0  # what went along with removed directories

    def add(self, change: Change, held: Held | None = None) -> None:
        """Count one more."""
        self.classes[change.change] += 1
        wrote, lost = sizes(change)
        self.bytes_in += wrote
        self.bytes_out += lost
        if held is not None:
            self.below += held.entries
            self.bytes_out += held.size

    @property
    def total(self) -> int:
        """How many changes."""
        return self.classes.total()


def sizes(change: Change) -> tuple[int, int]:
    """Bytes in and out."""
    if change.link_to is not None:
        return 0, 0
    before = change.before.size if change.before is not None and change.before.kind is Kind.FILE else 0
    after = change.after.size if change.after is not None and change.after.kind is Kind.FILE else 0
    if change.change in (ChangeClass.ADDED, ChangeClass.REPLACED, ChangeClass.REMOVED):
        return after, before
    if change.differing is not None:
        return change.differing, max(0, before - after)
    return 0, 0


Key = Callable[[Change], Iterable[bytes]]


def by_directory(depth: int) -> Key:
    """The directory that a path is in, as far as ``depth`` names."""

    def key(change: Change) -> Iterable[bytes]:
        names = change.path.split(b"/")[1:-1]
        return [b"/" + b"".join(name + b"/" for name in names[:depth])]

    return key


def by_class(change: Change) -> Iterable[bytes]:
    """The class."""
    return [change.change.value.encode()]


def by_kind(change: Change) -> Iterable[bytes]:
    """The type of file."""
    return [change.kind.value.encode()]


def grouped(changes: Iterable[tuple[Change, Held | None]], key: Key) -> dict[bytes, Row]:
    """A row for each key; a change that has several is in each of their rows."""
    rows: dict[bytes, Row] = defaultdict(Row)
    for change, held in changes:
        for name in key(change):
            rows[name].add(change, held)
    return dict(rows)


def table(rows: dict[bytes, Row], title: str) -> list[list[str]]:
    """Cells, the heading first; the row with the most bytes first, and only classes that there are."""
    present = [known for known in LETTERS if any(row.classes[known] for row in rows.values())]
    cells = [[*(LETTERS[known] for known in present), "BYTES IN", "OUT", title]]
    for name, row in _ordered(rows):
        counts = [str(row.classes[known] or "") for known in present]
        cells.append([*counts, human_size(row.bytes_in), human_size(row.bytes_out), printable(name)])
    return cells


def objects(rows: dict[bytes, Row], by: str) -> Iterator[dict[str, Any]]:
    """The same for programs."""
    for name, row in _ordered(rows):
        yield {**json_name(by, name), **as_json(row)}


def as_json(row: Row) -> dict[str, Any]:
    """One row."""
    counts = {known.value: row.classes[known] for known in LETTERS if row.classes[known]}
    return {"changes": counts, "bytes_in": row.bytes_in, "bytes_out": row.bytes_out, "below": row.below}


def total(row: Row) -> str:
    """What all comes to, in a line."""
    words = [f"{row.classes[known]:,} {known.value}" for known in LETTERS if row.classes[known]]
    if row.below:
        words.append(f"{row.below:,} more below removed directories")
    return f"{', '.join(words) or 'nothing'}: {human_size(row.bytes_in)} in, {human_size(row.bytes_out)} out"


def _ordered(rows: dict[bytes, Row]) -> list[tuple[bytes, Row]]:
    return sorted(rows.items(), key=lambda item: (-(item[1].bytes_in + item[1].bytes_out), -item[1].total, item[0]))
