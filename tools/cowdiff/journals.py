"""The journal of a run: found, read, and what is missing of it said.

Used by the commands that name processes. ``Filter`` is what ``--process`` means.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cowfs.errors import NotFound
from cowfs.journal.history import MADE, History
from cowfs.journal.reader import Change, Process, Reader
from cowfs.journal.records import NO_LAYER, Op
from cowfs.model import Container, Kind, Run, RunState
from cowfs.runs.changes import Change as RunChange
from cowfs.runs.changes import ChangeClass, Version
from cowfs.runs.escape import printable

_REMOVALS: Final = (Op.UNLINK, Op.RMDIR)
_KINDS: Final = {Op.MKDIR: Kind.DIRECTORY, Op.SYMLINK: Kind.SYMLINK}
_COMMAND: Final = 80  # bytes of a command in a table


def journal_of(run: Run) -> Reader:
    """Raises NotFound where the run has none."""
    if not run.journal.exists():
        raise NotFound(f"{run.title} has no journal: {_why_none(run)}")
    return Reader(run.journal)


def _why_none(run: Run) -> str:
    if isinstance(run, Container):
        return "cowfs has seen no change of it"
    return "it was made with --no-journal"


def history_of(run: Run) -> tuple[History, Reader]:
    """All changes by path. Raises NotFound, StoreError."""
    reader = journal_of(run)
    history = History(reader.more())
    for change in reader.still_open():
        history.add(change)
    return history, reader


def missing(reader: Reader, run: Run) -> Iterator[str]:
    """What the journal does not say, in words; for standard error."""
    if reader.full:
        yield f"the journal reached its limit: {reader.lost or 'an unknown number of'} later changes are missing"
    elif reader.lost:
        yield f"{reader.lost} changes could not be written to the journal and are missing"
    if run.state is RunState.RUNNING:
        return
    if reader.unread:
        yield f"the last {reader.unread} bytes of the journal are not whole, and were left out"
    elif not reader.ended:
        yield f"the file system of {run.title} was killed: what it did in its last moments may be missing"


def path_inside(path: bytes) -> bytes:
    """A path as it was typed, as the journal has it."""
    return os.path.normpath(b"/" + path).strip(b"/")


@dataclass(frozen=True, slots=True)
class Filter:
    """Processes by a number (inside, or as the machine counts), or by a part of what they execute."""

    text: str

    def matches(self, process: Process) -> bool:
        """Is it this process, or a descendant of one that is?"""
        return any(self._names(ancestor) for ancestor in process.chain)

    def _names(self, process: Process) -> bool:
        if self.text.isdigit():
            return int(self.text) in (process.inner_pid, process.pid)
        wanted = os.fsencode(self.text)
        return wanted in process.exe or any(wanted in argument for argument in process.argv)


def touched_by(run: Run, wanted: Filter) -> frozenset[bytes]:
    """The paths, with a leading slash, that such processes changed. Raises NotFound, StoreError."""
    history, _ = history_of(run)
    return frozenset(
        b"/" + path
        for path, changes in history.paths()
        if any(change.process is not None and wanted.matches(change.process) for change in changes)
    )


def passing(run: Run, known: Iterable[bytes]) -> Iterator[RunChange]:
    """What was created and removed again, but for the paths that are changes anyway. Raises NotFound, StoreError."""
    history, _ = history_of(run)
    there = frozenset(known)
    for path, made in history.paths():
        first, last = made[0], made[-1]
        came = first.op in MADE and first.layer == NO_LAYER
        if came and last.op in _REMOVALS and b"/" + path not in there:
            sizes = [change.size for change in made if change.size is not None]
            kind = _KINDS.get(first.op, Kind.FILE)
            size, mode = sizes[-1] if sizes else 0, (first.mode or 0) & 0o7777
            version = Version(kind, size, mode, 0, 0, last.time_ns, last.time_ns)
            yield RunChange(b"/" + path, ChangeClass.PASSING, version, None)


def last_commands(run: Run) -> dict[bytes, bytes]:
    """The command that changed each path last, by the path with a leading slash. Raises NotFound, StoreError."""
    history, _ = history_of(run)
    return {
        b"/" + path: b" ".join(process.argv)[:_COMMAND] if (process := changes[-1].process) else b"(not seen)"
        for path, changes in history.paths()
    }


def command_of(process: Process | None, limit: int = 100) -> str:
    """What a process executes, on one line."""
    if process is None:
        return "(a process that could not be seen)"
    if any(b"cowrun.inside" in argument for argument in process.argv[:5]):
        return "(cowrun makes the container)"
    if not process.argv:
        return printable(process.exe) or "(no command line)"
    text = " ".join(_quoted(argument) for argument in process.argv)
    return text if len(text) <= limit and not process.cut else text[: limit - 3] + "..."


def _quoted(argument: bytes) -> str:
    text = printable(argument)
    plain = text and not any(character in " '\"$`\\|&;<>()*?" for character in text)
    return text if plain else "'" + text.replace("'", "'\\''") + "'"


def name_of(process: Process | None) -> str:
    """The short name and number of a process: "dpkg[12]"."""
    if process is None:
        return "?"
    first = command_of(process) if not process.argv or process.argv[0:1] == (b"",) else printable(process.argv[0])
    if any(b"cowrun.inside" in argument for argument in process.argv[:5]):
        first = "cowrun"
    return f"{first.rpartition('/')[2] or first}[{process.inner_pid}]"


def totals(changes: Iterable[Change]) -> tuple[int, int]:
    """Paths, and bytes as far as they are known to be written."""
    paths, written = set(), 0
    for change in changes:
        paths.add(change.path if change.other is None else change.other)
        written += bytes_of(change)
    return len(paths), written


def bytes_of(change: Change) -> int:
    """Bytes that a change wrote; where the kernel wrote past us, by how much the file grew."""
    if change.written is not None:
        return change.written
    return max(0, (change.size or 0) - (change.before or 0)) if change.before is not None else 0
