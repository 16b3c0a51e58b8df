"""From a run's changes to operations, in the order in which they must happen. Writes nothing.

    order   operation    for                                      deepest first, as one may be in another
    1       REMOVE       what was removed, or moved and rewritten   - the path, into the record
    1       OUT          what was renamed                           - the path, aside
    2       IN           what was renamed                           from aside, to its new path
    2       PLACE        what is new or has other content           what was built aside, over what was there
    3       ATTRIBUTES   mode, owner, attributes, times             in place; directories last, as entries change them

Within 2 a directory comes before what is in it.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from cowfs.model import Kind
from cowfs.runs.below import Below, is_gone_directory
from cowfs.runs.changes import METADATA, Change, ChangeClass, Version, order, parents
from cowfs.runs.trees import Tree

_NEW = (ChangeClass.ADDED, ChangeClass.RENAMED, ChangeClass.REPLACED)
_IN_PLACE = (ChangeClass.METADATA, ChangeClass.TOUCHED)
Known = dict[str, int]  # path -> ctime, of what an undo has put back


class Deed(Enum):
    """What is done to a path."""

    REMOVE = "remove"
    OUT = "out"
    IN = "in"
    PLACE = "place"
    ATTRIBUTES = "attributes"


@dataclass(frozen=True, slots=True)
class Operation:
    """One step. ``aside`` is where something waits before (PLACE, IN) or after (OUT) its rename."""

    deed: Deed
    path: bytes
    aside: bytes = b""
    replaces: bool = False  # something of the base is there, and is kept
    change: Change | None = None  # None in a plan that was read back


class Planner:
    """``before`` is the base, ``token`` makes the names of what waits aside."""

    def __init__(self, changes: list[Change], below: Below, before: Tree, token: str) -> None:
        self._all = changes
        self._below = below
        self._before = before
        self._token = token
        self._asides = 0
        self._moved = Moved(changes)

    def needed(self, wanted: Iterable[Change]) -> list[Change]:
        """The wanted changes that an application has to do with, and those that they cannot be without."""
        new = {change.path: change for change in self._all if change.change in _NEW and change.kind is Kind.DIRECTORY}
        at: dict[bytes, list[Change]] = defaultdict(list)
        for change in self._all:
            at[change.path].append(change)
        moved = [change for change in self._all if change.change is ChangeClass.RENAMED]
        found: dict[tuple[bytes, bool], Change] = {}
        waiting = list(wanted)
        while waiting:
            change = waiting.pop()
            key = (change.path, change.after is None)
            if change.change is ChangeClass.IDENTICAL or key in found:
                continue
            found[key] = change
            if change.after is not None:
                waiting += [new[parent] for parent in parents(change.path) if parent in new]
            if change.change is ChangeClass.RENAMED:  # what took the place that it left
                waiting += [other for other in at.get(change.before_path or b"", ()) if other.after is not None]
            if is_gone_directory(change):
                prefix = (change.before_path or change.path) + b"/"
                waiting += [other for other in moved if (other.before_path or b"").startswith(prefix)]
        return sorted(found.values(), key=lambda change: order(change.path))

    def operations(self, changes: list[Change]) -> list[Operation]:
        """What is to be done for ``changes``, which are ``needed``."""
        moved = Moved(changes)
        leaving = {path for change in changes for path in self._leaves(change, moved)}
        asides = {source(change): b"" for change in changes if moves(change)}
        moving = leaving | asides.keys()
        for path in asides:
            asides[path] = self._aside(path, moving)
        first = [Operation(Deed.REMOVE, path) for path in leaving]
        first += [
            Operation(Deed.OUT, source(change), asides[source(change)], change=change)
            for change in changes
            if moves(change)
        ]
        second, third = [], []
        replaced = moving | {change.path for change in changes if change.change in _NEW}
        for change in changes:
            if change.after is None:
                continue
            in_place = change.change in _IN_PLACE and source(change) not in moving
            if not in_place:
                replaces = any(path not in moving for path in self._there(change))
                aside = asides[source(change)] if moves(change) else self._aside(change.path, replaced)
                deed = Deed.IN if moves(change) else Deed.PLACE
                second.append(Operation(deed, change.path, aside, replaces, change))
            if in_place or (change.kind is Kind.DIRECTORY and (not moves(change) or change.differs & METADATA)):
                third.append(Operation(Deed.ATTRIBUTES, change.path, change=change))
        for operations in (first, third):
            operations.sort(key=lambda operation: (-operation.path.count(b"/"), operation.path))
        return [*first, *second, *third]

    def _leaves(self, change: Change, moved: "Moved") -> Iterator[bytes]:
        """What of the base has to leave its path, as what comes in its place comes to another directory."""
        if change.change is ChangeClass.REMOVED or (change.change is ChangeClass.RENAMED and not moves(change)):
            yield source(change)
        for path in self._there(change):
            if moved.now(path) != change.path:
                yield path

    def _there(self, change: Change) -> Iterator[bytes]:
        """Where the base has what a change puts something in the place of."""
        if change.change is not ChangeClass.RENAMED:
            if change.before is not None and change.after is not None:
                yield source(change)
        elif change.overwrote is not None:
            directory, _, name = change.path.rpartition(b"/")
            formerly = self._moved.formerly(directory) + b"/" + name
            yield formerly if self._before.walk(formerly) is not None else change.path

    def conflicts(self, changes: list[Change], since: float, known: Known) -> Iterator[bytes]:
        """The paths of the base that are not what they were when the run started: nothing may be applied over them."""
        for change in changes:
            if change.other_names and change.change is not ChangeClass.REMOVED:
                yield change.path  # more of its names changed with it, and it is not known which
            went = [(gone.path, gone.before, True) for gone in self._below.changes(change) if gone.before]
            for path, version, whole in [*_touched(change), *went]:
                if _is_newer(version, whole, since) and known.get(os.fsdecode(path)) != version.ctime_ns:
                    yield path

    def _aside(self, path: bytes, moving: Iterable[bytes]) -> bytes:
        """A new name in the nearest directory above that is there and stays where it is."""
        self._asides += 1
        parent = next((parent for parent in parents(path) if parent not in moving and self._stays(parent, moving)), b"")
        return parent + b"/.cowdiff-%s-%d" % (self._token.encode(), self._asides)

    def _stays(self, directory: bytes, moving: Iterable[bytes]) -> bool:
        node = self._before.walk(directory)
        return node is not None and node.is_dir and not any(parent in moving for parent in parents(directory))


class Moved:
    """The renamed directories among some changes."""

    def __init__(self, changes: Iterable[Change]) -> None:
        directories = [change for change in changes if moves(change) and change.kind is Kind.DIRECTORY]
        self.sources = {change.path: source(change) for change in directories}
        self._targets = {source(change): change.path for change in directories}

    def formerly(self, path: bytes) -> bytes:
        """The path before, of what is at or below a renamed directory now."""
        return _rebased(path, self.sources)

    def now(self, path: bytes) -> bytes:
        """The path now, of what was at or below one."""
        return _rebased(path, self._targets)


def _rebased(path: bytes, table: dict[bytes, bytes]) -> bytes:
    above = path
    while above:
        if above in table:
            return table[above] + path.removeprefix(above)
        above = above.rpartition(b"/")[0]
    return path


def source(change: Change) -> bytes:
    return change.before_path if change.before_path is not None else change.path


def moves(change: Change) -> bool:
    """True for what is the same file at another path."""
    if change.change is not ChangeClass.RENAMED:
        return False
    return change.kind is Kind.DIRECTORY or not change.differs


def _touched(change: Change) -> Iterator[tuple[bytes, Version, bool]]:
    """What of the base is changed: paths and versions, and if entries of a directory count."""
    if change.before is not None:
        moves = change.change is ChangeClass.RENAMED and change.kind is Kind.DIRECTORY
        if not moves or change.differs & METADATA:
            yield source(change), change.before, is_gone_directory(change)
    if change.overwrote is not None:
        yield change.path, change.overwrote, True


def _is_newer(version: Version, whole: bool, since: float) -> bool:
    """A directory that only got other entries since is as it was, unless all of it counts."""
    if version.ctime_ns <= since * 1e9:
        return False
    return version.kind is not Kind.DIRECTORY or whole or version.ctime_ns != version.mtime_ns
