"""What the page of ``cowdiff report`` shows of a run; ``cowfs.cli.page`` makes a page of it."""

import os
import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from cowdiff.journals import command_of, name_of
from cowdiff.summary import Row, sizes
from cowfs.cli import page as pages
from cowfs.cli.diffs.render import LETTERS, details
from cowfs.cli.diffs.texts import Texts
from cowfs.journal.history import History, by_process
from cowfs.journal.reader import Change as Deed
from cowfs.journal.reader import Process, Reader
from cowfs.model import Run
from cowfs.runs.below import Below
from cowfs.runs.changes import Change
from cowfs.runs.escape import harmless, printable
from cowfs.runs.scan import scan
from cowfs.runs.trees import base_of, left_by

_TEXT: Final = 64 << 10  # bytes of one diff
_TEXTS: Final = 8 << 20  # and of all of them
_BINS: Final = 240  # of the time line
_LANES: Final = 200  # processes in it


def page(run: Run) -> str:
    """The page. Raises StoreError."""
    return pages.page("cowdiff", "What a run changed", "cowdiff.page", "run", data(run))


def data(run: Run) -> dict[str, Any]:
    """All that the page shows."""
    with base_of(run) as before, left_by(run) as after:
        changes = scan(run, before, measure=True)
        below = Below(before, changes)
        rows = [(change, below.held(change)) for change in changes]
        diffs, left_out = _diffs(changes, Texts(before, after))
    total = Row()
    for change, held in rows:
        total.add(change, held)
    deeds = _deeds(run)
    processes = list(by_process(deeds))[:_LANES]
    last = {path: made[-1].process for path, made in History(deeds).paths()}
    places = {process: place for place, process in enumerate(processes)}
    numbers = {known: place for place, known in enumerate(LETTERS)}
    return {
        "run": _facts(run),
        "classes": [[letter, known.value, total.classes[known]] for known, letter in LETTERS.items()],
        "bytes": [total.bytes_in, total.bytes_out],
        "below": total.below,
        "paths": [printable(change.path) for change in changes],
        "class": [numbers[change.change] for change in changes],
        "kinds": [change.kind.value for change in changes],
        "weight": [sum(sizes(change)) + (held.size if held else 0) for change, held in rows],
        "notes": [details(change, held) for change, held in rows],
        "process": [places.get(last.get(change.path[1:]), -1) for change in changes],
        "diffs": diffs,
        "leftOut": left_out,
        "lanes": _lanes(processes, deeds),
    }


def _facts(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "source": printable(os.fsencode(run.source)),
        "command": printable(os.fsencode(shlex.join(run.command))),
        "started": f"{datetime.fromtimestamp(run.started, UTC):%Y-%m-%d %H:%M:%S} UTC",
        "seconds": None if run.ended is None else round(run.ended - run.started, 1),
        "status": run.exit_status,
        "state": run.state.value,
    }


def _diffs(changes: list[Change], texts: Texts) -> tuple[dict[int, str], int]:
    """The patches by the number of their change, and how many were too many."""
    diffs: dict[int, str] = {}
    used = left_out = 0
    for number, change in enumerate(changes):
        if used > _TEXTS:
            left_out += 1
            continue
        text = _cut(texts.patches([change]))
        if text:
            diffs[number] = text
            used += len(text)
    return diffs, left_out


def _cut(lines: Iterable[bytes]) -> str:
    found: list[str] = []
    size = 0
    for line in lines:
        found.append(harmless(line))
        size += len(line)
        if size > _TEXT:
            found.append("# the rest is left out: cowdiff text shows it\n")
            break
    return "".join(found)


def _deeds(run: Run) -> list[Deed]:
    """What the journal has; nothing where there is none."""
    if not run.journal.exists():
        return []
    reader = Reader(run.journal)
    return [*reader.more(), *reader.still_open()]


def _lanes(processes: list[Process | None], deeds: list[Deed]) -> list[dict[str, Any]]:
    """For each process when it changed how much: bins of the time from the first change to the last."""
    if not deeds:
        return []
    start = min(deed.time_ns for deed in deeds)
    span = max(1, max(deed.time_ns for deed in deeds) - start)
    made = by_process(deeds)
    return [_lane(process, made[process], start, span) for process in processes]


def _lane(process: Process | None, deeds: list[Deed], start: int, span: int) -> dict[str, Any]:
    bins: dict[int, int] = {}
    for deed in deeds:
        place = min(_BINS - 1, (deed.time_ns - start) * _BINS // span)
        bins[place] = bins.get(place, 0) + 1
    return {
        "name": name_of(process),
        "command": command_of(process, 400),
        "depth": len(process.chain) - 1 if process is not None else 0,
        "count": len(deeds),
        "bins": sorted(bins.items()),
        "seconds": span / 1e9,
    }
