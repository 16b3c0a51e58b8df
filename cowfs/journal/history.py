"""The changes of a journal by path: what happened to the file that is there now, under whatever name.

Replays the names: a rename takes along what is known of a file, and of everything below a directory. Names that only
the base gave are not known to be links of one file. Pure.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from cowfs.journal.reader import Change, Process
from cowfs.journal.records import EXCHANGE, Op

MADE: Final = frozenset({Op.CREATE, Op.MKDIR, Op.MKNOD, Op.SYMLINK})


class _File:
    """A file and the names below it; what was removed stays, as what was there."""

    __slots__ = ("below", "changes", "moves")

    def __init__(self, changes: list[Change], moves: list[Change]) -> None:
        self.changes = changes
        self.moves = moves  # the renames of it and of the directories above it
        self.below: dict[bytes, _File] = {}


class History:
    """Everything that a journal says, by path."""

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        self._root = _File([], [])
        for change in changes:
            self.add(change)

    def blame(self, path: bytes) -> list[Change]:
        """The changes of what is at ``path`` now, or was last, the oldest first."""
        return list(self._file(path).changes)

    def processes(self, path: bytes) -> tuple[Process, ...]:
        """The processes that changed what is at ``path``."""
        return tuple(dict.fromkeys(change.process for change in self.blame(path) if change.process))

    def paths(self) -> Iterator[tuple[bytes, list[Change]]]:
        """Every path that was changed or held something that was, with its changes; also those that are gone."""
        waiting = [(b"", self._root)]
        while waiting:
            path, file = waiting.pop()
            if file.changes:
                yield path, file.changes
            prefix = path + b"/" if path else b""
            waiting.extend((prefix + name, below) for name, below in file.below.items())

    def add(self, change: Change) -> None:
        """The next change."""
        if change.op in MADE or (change.op is Op.LINK and not change.other):
            directory, name = self._place(change.path)
            before = directory.below.get(name)
            made = directory.below[name] = _File([*(before.changes if before else ()), change], [])
            made.below = before.below if before else {}
        elif change.op is Op.LINK and change.other:
            file = self._file(change.other)
            directory, name = self._place(change.path)
            directory.below[name] = file
            file.changes.append(change)
        elif change.op is Op.RENAME and change.other is not None:
            self._rename(change, change.other)
        else:
            self._file(change.path).changes.append(change)

    def _rename(self, change: Change, new_path: bytes) -> None:
        file = self._file(change.path)
        old, old_name = self._place(change.path)
        new, new_name = self._place(new_path)
        target = new.below.get(new_name)
        if (change.flags or 0) & EXCHANGE:
            other = self._file(new_path)
            old.below[old_name] = other
            _moved(other, change)
        else:
            old.below[old_name] = _File([*file.changes, change], [change])  # and so did what was below
            if target is not None:
                file.changes[:0] = target.changes
                file.changes.sort(key=_time)
        new.below[new_name] = file
        _moved(file, change)

    def _place(self, path: bytes) -> tuple[_File, bytes]:
        directory, _, name = path.rpartition(b"/")
        return self._file(directory), name

    def _file(self, path: bytes) -> _File:
        file = self._root
        for name in path.split(b"/") if path else ():
            below = file.below.get(name)
            if below is None:  # from the base: it moved with its directory
                below = file.below[name] = _File(list(file.moves), list(file.moves))
            file = below
        return file


def _moved(file: _File, change: Change) -> None:
    waiting = [file]
    while waiting:
        file = waiting.pop()
        file.changes.append(change)
        file.moves.append(change)
        waiting.extend(file.below.values())


def _time(change: Change) -> int:
    return change.time_ns


def by_process(changes: Iterable[Change]) -> dict[Process | None, list[Change]]:
    """The changes of each process; None made those of which that could not be seen."""
    found: dict[Process | None, list[Change]] = {}
    for change in changes:
        found.setdefault(change.process, []).append(change)
    return found
