"""Which changes a command is about: by path, class, kind and size. Pure, but for what is read of removed directories.

A PATH is as in ``cowfs.runs.patterns``. A renamed path is found by its old name, too.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cowfs.cli.diffs.render import LETTERS
from cowfs.errors import UsageError
from cowfs.model import Kind
from cowfs.quantities import size
from cowfs.runs.below import Below, is_gone_directory
from cowfs.runs.changes import Change, ChangeClass
from cowfs.runs.patterns import matcher


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted; empty sets want everything."""

    paths: tuple[Callable[[bytes], bool], ...] = ()
    classes: frozenset[ChangeClass] = frozenset()
    kinds: frozenset[Kind] = frozenset()
    smallest: int = 0  # bytes
    largest: int | None = None
    touched: frozenset[bytes] | None = None  # the paths that the wanted processes changed

    def __call__(self, change: Change) -> bool:
        """True for a change that is wanted."""
        if self.classes and change.change not in self.classes:
            return False
        if self.kinds and change.kind not in self.kinds:
            return False
        if self.touched is not None and not self._is_touched(change):
            return False
        return self._has_size(change) and self._is_at(change)

    def _is_touched(self, change: Change) -> bool:
        assert self.touched is not None
        return change.path in self.touched or change.before_path in self.touched

    def _is_at(self, change: Change) -> bool:
        if not self.paths:
            return True
        names = (change.path,) if change.before_path is None else (change.path, change.before_path)
        return any(matches(name) for matches in self.paths for name in names)

    def _has_size(self, change: Change) -> bool:
        if not self.smallest and self.largest is None:
            return True
        sizes = [version.size for version in (change.before, change.after) if version and version.kind is Kind.FILE]
        return any(self.smallest <= n and (self.largest is None or n <= self.largest) for n in sizes)


def wanted(
    paths: Iterable[bytes] = (),
    classes: Iterable[str] = (),
    kinds: Iterable[str] = (),
    sizes: Iterable[str] = (),
    touched: frozenset[bytes] | None = None,
) -> Filter:
    """A filter from what was typed. Raises UsageError."""
    smallest, largest = 0, None
    for text in sizes:
        if text[:1] not in ("+", "-"):
            raise UsageError(f"--size {text}: write +SIZE for at least, -SIZE for at most, as in +1M")
        if text[0] == "+":
            smallest = size(text[1:])
        else:
            largest = size(text[1:])
    return Filter(
        tuple(matcher(path) for path in paths),
        frozenset(map(_class, classes)),
        frozenset(Kind(kind) for kind in kinds),
        smallest,
        largest,
        touched,
    )


def selected(changes: list[Change], wants: Filter, below: Below, *, everything: bool) -> Iterator[Change]:
    """The changes that are wanted, in order.

    What went with a directory is looked at where the directory itself is not wanted, and with ``everything`` always.
    """
    if wants == Filter() and not everything:
        yield from changes
        return
    for change in changes:
        found = wants(change)
        if found:
            yield change
        if is_gone_directory(change) and (everything or not found):
            yield from filter(wants, below.changes(change))


def _class(text: str) -> ChangeClass:
    """A class by its name or its letter."""
    for known, letter in LETTERS.items():
        if text in (letter, known.value):
            return known
    names = ", ".join(f"{letter} or {known.value}" for known, letter in LETTERS.items())
    raise UsageError(f"no class of changes is called {text!r}: {names}")
