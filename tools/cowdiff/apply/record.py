"""What is kept of an application in its run, so that it can be taken back, also after a kill or a power cut.

runs/<id>/applied/
  known.json        what an undo has put back, so that it does not count as changed since the run: path -> ctime
  <n>/              one application, from 1
    plan.json       the operations, on disk before the first of them
    published       exists once all that waits aside is made: the inode numbers of what each operation renames
    done.json       what stood at each path when all was done: if it still does, an undo takes nothing else away
    saved/<i>       what operation i removed or replaced
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cowdiff.apply.plan import Deed, Known, Operation
from cowfs.errors import StoreError
from cowfs.model import Kind, Run
from cowfs.ondisk import RUN_APPLIED
from cowfs.runs.changes import Version
from cowfs.store.descriptors import DIRECTORY, try_lock
from cowfs.store.trees import remove_tree

_PLAN: Final = "plan.json"
_PUBLISHED: Final = "published"
_DONE: Final = "done.json"
_SAVED: Final = "saved"
_KNOWN: Final = "known.json"
Seen = tuple[int, ...]  # what tells one state of a file from another


@dataclass(frozen=True, slots=True)
class Planned:
    """An operation as it is recorded: with what was at its path before, where that is changed in place."""

    operation: Operation
    was: bytes  # its path in the base
    before: Version | None = None


class Record:
    """One application."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def saved(self) -> Path:
        """Where what was replaced and removed lies."""
        return self.directory / _SAVED

    @property
    def is_done(self) -> bool:
        """False for an application that was interrupted."""
        return (self.directory / _DONE).exists()

    def published(self) -> list[int] | None:
        """What ``publish`` wrote; None before."""
        try:
            inodes: list[int] = json.loads((self.directory / _PUBLISHED).read_bytes())
        except FileNotFoundError:
            return None
        return inodes

    def begin(self, planned: list[Planned], parents: dict[bytes, int]) -> None:
        """Write the plan down; ``parents`` are the times of the directories whose entries change."""
        self.saved.mkdir(parents=True, mode=0o700)
        plan = {
            "operations": [_operation(one) for one in planned],
            "parents": {_text(path): mtime for path, mtime in parents.items()},
        }
        _write(self.directory / _PLAN, plan)

    def publish(self, inodes: list[int]) -> None:
        """From now on paths change."""
        _write(self.directory / _PUBLISHED, inodes)

    def done(self, seen: dict[bytes, Seen]) -> None:
        """All is applied, and looks like this."""
        _write(self.directory / _DONE, {_text(path): state for path, state in seen.items()})

    def remove(self) -> None:
        """All is as it was before."""
        descriptor = os.open(self.directory.parent, DIRECTORY)
        try:
            remove_tree(descriptor, os.fsencode(self.directory.name))
        finally:
            os.close(descriptor)

    def plan(self) -> tuple[list[Planned], dict[bytes, int]]:
        """What ``begin`` wrote; nothing where it did not come to that."""
        try:
            plan = json.loads((self.directory / _PLAN).read_bytes())
        except FileNotFoundError:
            return [], {}
        parents = {os.fsencode(path): mtime for path, mtime in plan["parents"].items()}
        return [_planned(one) for one in plan["operations"]], parents

    def seen(self) -> dict[bytes, Seen]:
        """What ``done`` wrote."""
        try:
            states = json.loads((self.directory / _DONE).read_bytes())
        except FileNotFoundError:
            return {}
        return {os.fsencode(path): tuple(state) for path, state in states.items()}


class Records:
    """The applications of a run."""

    def __init__(self, run: Run) -> None:
        self._directory = run.directory / RUN_APPLIED
        self._run = run

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one to apply or undo this run. Raises StoreError."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._directory, DIRECTORY)
        try:
            if not try_lock(descriptor):
                raise StoreError(f"run {self._run.id} is being applied or undone by another command")
            yield
        finally:
            os.close(descriptor)

    def last(self) -> Record | None:
        """The newest application that is not undone."""
        numbers = self._numbers()
        return Record(self._directory / str(numbers[-1])) if numbers else None

    def new(self) -> Record:
        """The next one."""
        numbers = self._numbers()
        return Record(self._directory / str(numbers[-1] + 1 if numbers else 1))

    def known(self) -> Known:
        """What undos have put back."""
        try:
            known: Known = json.loads((self._directory / _KNOWN).read_bytes())
        except FileNotFoundError:
            return {}
        return known

    def learn(self, known: Known) -> None:
        """An undo has put this back."""
        _write(self._directory / _KNOWN, self.known() | known)

    def _numbers(self) -> list[int]:
        try:
            return sorted(int(name) for name in os.listdir(self._directory) if name.isdigit())
        except FileNotFoundError:
            return []


def _operation(planned: Planned) -> dict[str, Any]:
    operation = planned.operation
    return {
        "deed": operation.deed.value,
        "path": _text(operation.path),
        "was": _text(planned.was),
        "aside": _text(operation.aside),
        "replaces": operation.replaces,
        "before": _version(planned.before) if planned.before else None,
    }


def _planned(found: dict[str, Any]) -> Planned:
    deed, path, aside = Deed(found["deed"]), os.fsencode(found["path"]), os.fsencode(found["aside"])
    before = found["before"]
    operation = Operation(deed, path, aside, found["replaces"])
    return Planned(operation, os.fsencode(found["was"]), _read_version(before) if before else None)


def _version(version: Version) -> dict[str, Any]:
    facts = version._asdict()
    texts = [(_text(name), value.hex()) for name, value in version.xattrs]
    return facts | {"kind": version.kind.value, "target": _text(version.target), "xattrs": texts}


def _read_version(found: dict[str, Any]) -> Version:
    xattrs = tuple((os.fsencode(name), bytes.fromhex(value)) for name, value in found["xattrs"])
    return Version(**found | {"kind": Kind(found["kind"]), "target": os.fsencode(found["target"]), "xattrs": xattrs})


def _text(path: bytes) -> str:
    return os.fsdecode(path)


def _write(path: Path, value: object) -> None:
    """A file that is there whole and on disk, or not at all."""
    new = path.with_name(path.name + ".new")
    with open(new, "w", encoding="ascii") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    descriptor = os.open(path.parent, DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
