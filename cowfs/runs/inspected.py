"""A run for programs, as test suites: what it changed, what it left, and its end. ``cowrun.run`` makes one.

    with cowrun.run("dir:/srv/root", ["make", "install"]) as run:
        assert run.exit_status == 0
        assert [change.path for change in run.changes("/usr/bin")] == [b"/usr/bin/tool"]
        assert run.read("/etc/tool.conf") == b"answer = 42\\n"

Paths go in as str, bytes or Path, and come out as bytes, as names on disk are. Not safe for threads.
"""

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from cowfs.model import Run
from cowfs.runs.changes import Change, Version
from cowfs.runs.escape import printable
from cowfs.runs.scan import scan
from cowfs.runs.trees import Tree, base_of, left_by
from cowfs.store.runs import Runs

if TYPE_CHECKING:
    from cowfs.overlay import Node

AnyPath = str | bytes | os.PathLike[str]
Result = TypeVar("Result")


class Inspected:
    """A run that is kept. As a context manager it is removed at the end, unless ``keep`` was called."""

    def __init__(self, record: Run, runs: Runs, stdout: bytes = b"", stderr: bytes = b"") -> None:
        self.record = record
        self.stdout = stdout  # empty unless captured
        self.stderr = stderr
        self._runs = runs
        self._kept = False

    @classmethod
    def find(cls, token: str, store: Path | None = None) -> "Inspected":
        """The run that ``token`` names: an id, a name, "last". Raises NotFound, UsageError."""
        from cowfs.ondisk import STORE_DEFAULT

        runs = Runs(Path(STORE_DEFAULT) if store is None else store)
        return cls(runs.find(token), runs)

    @property
    def id(self) -> str:
        """12 hex digits."""
        return self.record.id

    @property
    def exit_status(self) -> int | None:
        """The command's; 128 and the signal that ended it; None while it runs."""
        return self.record.exit_status

    def changes(self, *paths: AnyPath, measure: bool = False) -> list[Change]:
        """What it changed, sorted by path: at or below ``paths``, or everything. ``measure``: see ``scan``.

        What went with a removed directory is one change. Raises StoreError.
        """
        wanted = [b"/" + os.fsencode(path).strip(b"/") for path in paths]
        with base_of(self.record) as before:
            found = scan(self.record, before, measure=measure)
        if not wanted:
            return found
        return [change for change in found if any(_covers(path, change.path) for path in wanted)]

    def read(self, path: AnyPath, *, before: bool = False) -> bytes:
        """The content of a file as it was left, or as the base has it. Raises FileNotFoundError, OSError."""

        def content(tree: Tree, node: "Node") -> bytes:
            with tree.opened(node) as opened:
                return b"".join(opened.chunks())

        return self._at(path, before, content)

    def version(self, path: AnyPath, *, before: bool = False) -> Version | None:
        """What is at a path: type, size, mode, owner, times, link target, attributes. None where nothing is."""
        try:
            return self._at(path, before, lambda tree, node: tree.version(node))
        except FileNotFoundError:
            return None

    def names(self, path: AnyPath, *, before: bool = False) -> set[bytes]:
        """The names in a directory. Raises FileNotFoundError."""
        return self._at(path, before, lambda tree, node: tree.names(node))

    def keep(self) -> None:
        """Leave it in the store: ``cowdiff`` shows it."""
        self._kept = True

    def remove(self) -> None:
        """Remove it with all that it changed. Raises StoreError."""
        self._runs.remove(self.record)

    def __enter__(self) -> "Inspected":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if not self._kept:
            self.remove()

    def _at(self, path: AnyPath, before: bool, use: Callable[[Tree, "Node"], Result]) -> Result:
        opened: AbstractContextManager[Tree] = base_of(self.record) if before else left_by(self.record)
        with opened as tree:
            node = tree.walk(os.fsencode(path))
            if node is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), printable(os.fsencode(path)))
            return use(tree, node)


def _covers(directory: bytes, path: bytes) -> bool:
    return directory in (b"/", path) or path.startswith(directory + b"/")
