"""An application from a run and what is wanted of it to its end: ties plan, site and record together. Asks nobody."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cowdiff.apply import perform
from cowdiff.apply.perform import Conflict
from cowdiff.apply.plan import Planner
from cowdiff.apply.record import Record, Records
from cowdiff.apply.site import Site
from cowdiff.select import Filter, selected
from cowfs.errors import NotFound, StoreError, UsageError
from cowfs.model import Run, RunState
from cowfs.runs.below import Below
from cowfs.runs.changes import Change, ChangeClass
from cowfs.runs.escape import printable
from cowfs.runs.scan import scan
from cowfs.runs.trees import Tree, base_of, left_by

_NAMED = 5  # conflicts


class Application:
    """``chosen``: the changes that are wanted and those they need. Nothing is done before ``perform``."""

    def __init__(self, run: Run, records: Records, before: Tree, after: Tree, wants: Filter) -> None:
        self._run = run
        self._records = records
        self._after = after
        changes = scan(run, before)
        self._same = [change for change in changes if change.change is ChangeClass.IDENTICAL]
        below = Below(before, changes)
        self._planner = Planner(changes, below, before, run.id)
        self.chosen: list[Change] = self._planner.needed(selected(changes, wants, below, everything=False))

    def check(self) -> None:
        """Raises NotFound where there is nothing to do, Conflict where the base changed since the run started."""
        if not self.chosen:
            raise NotFound("nothing of that is left to apply")
        found = sorted(set(self._planner.conflicts(self.chosen, self._run.started, self._records.known())))
        if found:
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            shown = ", ".join(printable(path) for path in found[:_NAMED])
            raise Conflict(f"changed since the run started: {shown}{more}: nothing is applied")

    def perform(self) -> None:
        """Apply. Raises Conflict, and OSError as the changes do; then nothing is applied."""
        record = self._records.new()
        site = Site(target_of(self._run))
        try:
            operations = self._planner.operations(self.chosen)
            perform.apply(operations, [*self.chosen, *self._same], self._after, site, record)
        except BaseException:
            _take_back(self._records, record, site)
            raise
        finally:
            site.close()


@contextmanager
def application(run: Run, wants: Filter) -> Iterator[Application]:
    """Prepare an application; no other one of this run happens meanwhile. Raises UsageError, StoreError."""
    target_of(run)
    records = Records(run)
    with records.locked(), base_of(run) as before, left_by(run) as after:
        last = records.last()
        if last is not None and not last.is_done:
            raise StoreError(f"an application of run {run.id} was interrupted: cowdiff undo {run.id} takes it back")
        yield Application(run, records, before, after, wants)


def undo(run: Run) -> None:
    """Take the newest application of a run back. Raises NotFound, Conflict."""
    records = Records(run)
    with records.locked():
        last = records.last()
        if last is None:
            raise NotFound(f"nothing of run {run.id} is applied")
        site = Site(target_of(run))
        try:
            _take_back(records, last, site)
        finally:
            site.close()


def _take_back(records: Records, record: Record, site: Site) -> None:
    records.learn(perform.undo(record, site))
    record.remove()


def target_of(run: Run) -> Path:
    """The directory that a run's changes can be given to. Raises UsageError, StoreError."""
    if run.state is RunState.RUNNING:
        raise StoreError(f"run {run.id} is still going: end it first")
    if not run.digest and len(run.lowers) > 1:
        raise UsageError(f"run {run.id} is built on another run: apply that one first, and start this one anew")
    if run.digest or not run.lowers:
        raise UsageError(f"{run.source} is an image, which never changes: cowdiff commit {run.id} NAME makes a new one")
    return run.lowers[0]
