"""What each step of a build changed, which bytes below it shadows, and by which processes, where that is known.

A step is a line of an image's history. Its layer is looked at as the upper of a run over the layers below it, by the
code that shows runs. Used by ``cowdiff build``.
"""

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from cowdiff.summary import Row, sizes
from cowfs.journal.history import by_process
from cowfs.journal.reader import Change as Recorded
from cowfs.journal.reader import Process, Reader
from cowfs.model import Base, Built, Kind, LayerInfo, shown_layers
from cowfs.runs.below import Below, Held
from cowfs.runs.changes import Change
from cowfs.runs.pairs import pairs
from cowfs.runs.scan import scan
from cowfs.runs.trees import Tree, base_of

LARGEST: Final = 5  # paths of a step that are named
_LINE: Final = re.compile(r"(?:\|\d+ .*? )?/bin/sh -c (#\(nop\))?(.*)", re.DOTALL)


@dataclass(slots=True)
class Step:
    """One of them."""

    number: int  # from 1, in the history
    created_by: str
    layer: LayerInfo | None  # None: it made none
    sums: Row = field(default_factory=Row)
    largest: list[tuple[int, Change]] = field(default_factory=list)  # bytes
    changes: list[Change] = field(default_factory=list)  # those that were asked for
    shadows: Counter[int] = field(default_factory=Counter)  # bytes of files of lower layers, by the layers' numbers
    recorded: list[Recorded] | None = None  # what the journal says; None: there is none


class Wanted(NamedTuple):
    """What is to be found out."""

    path: Callable[[Change], bool] | None = None  # the changes that are listed
    journal: Callable[[LayerInfo], Reader | None] = lambda layer: None


def steps(base: Base, wanted: Wanted) -> Iterator[Step]:
    """The steps of an image, the first one first. ``base`` has every layer. Raises StoreError."""
    layers = {layer.number: layer for layer in base.layers}
    with TemporaryDirectory(prefix="cowdiff-") as nothing:
        for number, line in enumerate(base.steps, 1):
            layer = None if line.layer is None else layers.get(line.layer)
            step = Step(number, line.created_by, layer)
            if layer is not None and not layer.empty:
                _fill(step, base, layer, Path(nothing), wanted)
            yield step


def _fill(step: Step, base: Base, layer: LayerInfo, nothing: Path, wanted: Wanted) -> None:
    """The layer as the upper of a run over those below it; the lowest one is over a directory with nothing in it."""
    below = list(shown_layers([one for one in base.layers if one.number < layer.number]))
    lowers = tuple(one.directory for one in reversed(below)) or (nothing,)
    run = Built(
        f"{layer.number:012x}", layer.directory, base.source, lowers, (), tree=layer.directory, engines=layer.foreign
    )
    with base_of(run) as before:
        changes = list(_all_differ(run, before)) if layer.opaque else scan(run, before, measure=True)
        _count(step, changes, before, below)
        if wanted.path is not None:
            gone = Below(before, changes)
            step.changes = [change for change in changes if wanted.path(change)]
            step.changes += [one for change in changes for one in gone.changes(change) if wanted.path(one)]
            if not step.changes:
                return
    reader = wanted.journal(layer)
    if reader is not None:
        step.recorded = [*reader.more(), *reader.still_open()]


def _count(step: Step, changes: list[Change], before: Tree, below: list[LayerInfo]) -> None:
    gone, hidden = Below(before, changes), _Hidden(before, below)
    for change in changes:
        hidden.add(change)
        entries = size = 0
        for one in gone.changes(change):
            hidden.add(one)
            entries += 1
            size += one.before.size if one.before is not None and one.before.kind is Kind.FILE else 0
        step.sums.add(change, Held(entries, size) if entries else None)
    sized = ((sum(sizes(change)), change) for change in changes)
    step.largest = [one for one in heapq.nlargest(LARGEST, sized, key=itemgetter(0)) if one[0]]
    step.shadows = hidden.bytes


def _all_differ(run: Built, before: Tree) -> Iterator[Change]:
    """Of a layer whose root hides everything below, for which overlayfs has no mark."""
    with base_of(run._replace(lowers=(run.tree,))) as after:
        yield from pairs(before, after)


class _Hidden:
    """Bytes of files that a step hides, by the layers that have them. A file counts where all its names are hidden."""

    def __init__(self, before: Tree, below: list[LayerInfo]) -> None:
        self._before = before
        self._numbers = [layer.number for layer in reversed(below)]  # as the lowers of the run are, the top one first
        self._names: Counter[int] = Counter()
        self.bytes: Counter[int] = Counter()

    def add(self, change: Change) -> None:
        """One more change."""
        if change.before is None or change.before.kind is not Kind.FILE or not change.before.size:
            return
        node = self._before.walk(change.before_path or change.path)
        place = None if node is None else self._before.lower_of(node)
        if node is None or place is None:
            return
        self._names[node.number] += 1
        if self._names[node.number] == change.before.nlink:
            self.bytes[self._numbers[place - 1]] += change.before.size


def instruction(created_by: str) -> str:
    """A line of a history as it stood in the Containerfile, as far as builders leave that in it."""
    match = _LINE.fullmatch(created_by)
    if match is None:
        return created_by
    return match[2].strip() if match[1] else f"RUN {match[2].strip()}"


def made_by(recorded: list[Recorded]) -> list[tuple[Process | None, list[Recorded]]]:
    """The processes that made changes, those that touched most first."""
    return sorted(by_process(recorded).items(), key=lambda one: -len({change.path for change in one[1]}))
