"""Journals of containers that became layers of images and are gone: a build removes each when its step is done.

    builds/<id>/           0700, <id> is the first 12 hex digits of the container's own layer in its engine's store
      build.json           a ``Build``, less its directory
      journal              a copy of what the mount had written (cowfs.journal)

Made aside in ``staging``, listed by one rename. The budgets of runs (``retention``) hold for them, too, and are applied
when one is added: they are nobody's to remove by name. What they were made into is found by ``parent`` and by time, as
the engine gives that layer another id.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from cowfs import ondisk
from cowfs.errors import StoreError
from cowfs.store import staging
from cowfs.store.descriptors import make_directory, open_directory, opened_directory, read_file, write_file
from cowfs.store.retention import beyond, read_budget
from cowfs.store.store import Store
from cowfs.store.trees import remove_tree

_FORMAT: Final = 1
_LIMIT: Final = 1 << 20  # bytes of build.json
_LARGEST: Final = 256 << 20  # bytes of a journal that is copied


@dataclass(frozen=True, slots=True)
class Build:
    """One of them. Times are seconds since the epoch."""

    layer: str  # the id of the container's own layer
    parent: str  # the id of the layer below it; empty where there was none
    started: float  # of its first mount that changed something
    ended: float
    directory: Path = field(default=Path(), compare=False)

    @property
    def journal(self) -> Path:
        """Who changed what, when."""
        return self.directory / ondisk.RUN_JOURNAL


class _Counted(NamedTuple):
    """As a budget counts it: its age is the time since its end."""

    build: Build
    started: float  # seconds since the epoch
    size: int  # bytes


class Builds:
    """Those of the store at ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def list(self) -> list[Build]:
        """All of them, the newest first; what cannot be read is left out."""
        try:
            names = os.listdir(self._root / ondisk.BUILDS)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self._root / ondisk.BUILDS} cannot be read: {error.strerror}") from None
        found = [build for name in names if (build := self._read(name)) is not None]
        return sorted(found, key=lambda build: build.ended, reverse=True)

    def keep(self, build: Build, journal: int) -> None:
        """Copy the journal behind the descriptor ``journal``. A former one of the same container is replaced.

        The store is made where there is none. Raises StoreError, OSError.
        """
        if os.fstat(journal).st_size > _LARGEST:
            raise StoreError(f"the journal of {build.layer} is larger than {_LARGEST} bytes: no copy is kept")
        Store.open(self._root).close()
        with self._opened() as (builds_fd, staging_fd), contextlib.closing(staging.create(staging_fd)) as entry:
            record = {"format": _FORMAT, **asdict(build)}
            del record["directory"]
            write_file(entry.fd, ondisk.BUILD_JSON, json.dumps(record).encode() + b"\n")
            with self._new(entry.fd) as target, open(os.dup(journal), "rb") as source:
                source.seek(0)
                shutil.copyfileobj(source, target)
            name = build.layer[:12]
            try:
                entry.publish(builds_fd, name)
            except OSError:
                entry.exchange(builds_fd, name)
        self._retain()

    def _new(self, directory_fd: int) -> contextlib.AbstractContextManager:  # type: ignore[type-arg]
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return open(os.open(ondisk.RUN_JOURNAL, flags, 0o600, dir_fd=directory_fd), "wb")

    def _retain(self) -> None:
        counted = (_Counted(build, build.ended, build.journal.stat().st_size) for build in self.list())
        for over in beyond(read_budget(self._root), counted):
            self._remove(over.build)

    def _remove(self, build: Build) -> None:
        with self._opened() as (builds_fd, staging_fd), contextlib.suppress(FileNotFoundError):
            gone = os.urandom(8).hex()
            os.rename(build.directory.name, gone, src_dir_fd=builds_fd, dst_dir_fd=staging_fd)
            remove_tree(staging_fd, os.fsencode(gone))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[int, int]]:
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, root)
            builds, entries = make_directory(root, ondisk.BUILDS), open_directory(root, ondisk.STAGING)
            opened.callback(os.close, builds)
            opened.callback(os.close, entries)
            yield builds, entries

    def _read(self, name: str) -> Build | None:
        directory = self._root / ondisk.BUILDS / name
        try:
            with opened_directory(directory) as fd:
                record = json.loads(read_file(fd, ondisk.BUILD_JSON, _LIMIT))
            if record.pop("format") != _FORMAT:
                return None
            started, ended = float(record["started"]), float(record["ended"])
            return Build(str(record["layer"]), str(record["parent"]), started, ended, directory)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
