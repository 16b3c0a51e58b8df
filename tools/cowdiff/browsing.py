"""What the browser of a run shows, without the terminal: a tree of changes, and what is said of each."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cowdiff.commands.blame import blame_lines
from cowdiff.journals import history_of
from cowdiff.summary import Row, sizes, total
from cowfs.cli.diffs.render import details, shown
from cowfs.cli.diffs.texts import Texts
from cowfs.errors import NotFound
from cowfs.journal.history import History
from cowfs.model import Run
from cowfs.runs.below import Below, Held
from cowfs.runs.changes import Change, order
from cowfs.runs.escape import harmless
from cowfs.runs.scan import scan
from cowfs.runs.trees import base_of, left_by

_LINES = 5000  # of one diff


@dataclass(slots=True)
class Branch:
    """A name in the tree: a change, a directory that leads to some, or both."""

    path: bytes
    change: Change | None = None
    size: int = 0  # bytes in and out, of all below
    count: int = 0  # changes, of all below
    below: dict[bytes, "Branch"] = field(default_factory=dict)

    def children(self) -> list["Branch"]:
        """In the order of their names."""
        return [self.below[name] for name in sorted(self.below, key=order)]


class Left:
    """A run that is open for browsing."""

    def __init__(self, run: Run, changes: list[Change], below: Below, texts: Texts) -> None:
        self.run = run
        self._texts = texts
        self._history: History | None = None
        self._held: dict[bytes, Held | None] = {}
        self.changes = changes
        sum_of_all = Row()
        for change in changes:
            self._held[change.path] = below.held(change)
            sum_of_all.add(change, self._held[change.path])
        self.title = " ".join(map(shlex.quote, run.command))
        self.summary = total(sum_of_all)

    def tree(self, words: str = "") -> Branch:
        """All changes whose paths have each of the words, as a tree."""
        wanted = [word.encode("utf-8", "surrogateescape").lower() for word in words.split()]
        root = Branch(b"/")
        for change in self.changes:
            if not all(word in change.path.lower() for word in wanted):
                continue
            held = self._held[change.path]
            size = sum(sizes(change)) + (held.size if held else 0)
            branch = root
            branch.size, branch.count = branch.size + size, branch.count + 1
            for name in change.path.split(b"/")[1:] if change.path != b"/" else ():
                path = branch.path.rstrip(b"/") + b"/" + name
                branch = branch.below.setdefault(name, Branch(path))
                branch.size, branch.count = branch.size + size, branch.count + 1
            branch.change = change
        return root

    def note(self, change: Change) -> str:
        """What a line says beside the path."""
        return details(change, self._held[change.path])

    def diff(self, change: Change) -> Iterator[str]:
        """The patch, without line ends."""
        for number, line in enumerate(self._texts.patches([change])):
            if number == _LINES:
                yield "# the rest is left out: cowdiff text shows it"
                return
            yield harmless(line).rstrip("\n")

    def blame(self, change: Change) -> Iterator[str]:
        """Who changed it, as ``cowdiff blame`` says it."""
        try:
            if self._history is None:
                self._history, _ = history_of(self.run)
            found = self._history.blame(change.path.strip(b"/"))
        except NotFound as error:
            yield str(error)
            return
        if not found:
            yield f"the journal does not name {shown(change.path, change.kind)}"
        for line in blame_lines(found):
            yield line.rstrip("\n")


@contextmanager
def opened(run: Run) -> Iterator[Left]:
    """Find what a run changed. Raises StoreError."""
    with base_of(run) as before, left_by(run) as after:
        changes = scan(run, before, measure=True)
        yield Left(run, changes, Below(before, changes), Texts(before, after))
