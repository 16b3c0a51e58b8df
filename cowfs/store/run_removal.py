"""Removing runs, many at once: each only if nobody uses it and no other run is built on it. Used by cowfs.store.runs.

The order is that of ``removal``: first a run is locked, then it is looked at who is built on it. Who comes after that
finds it locked, and then gone.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from cowfs import ondisk
from cowfs.errors import StoreError
from cowfs.model import Run
from cowfs.store import staging
from cowfs.store.descriptors import is_named, open_directory, opened_directory, try_lock, wait_for_lock
from cowfs.store.retention import bases_of

_PATIENCE = 1.0  # seconds: whoever only looks holds the lock for no time
_AT_ONCE = 64  # runs that are locked
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_runs(
    root: Path, runs: list[Run], bases: set[str], known: set[str], read: Callable[[int, str], Run | None]
) -> list[Run]:
    """Remove those of ``runs`` that no other is built on, and return them.

    ``bases`` are the ids that the runs with the ids ``known`` are built on; those that came since are ``read`` by the
    descriptor of ``runs`` and their id. Raises StoreError, also for one that is still going.
    """
    removed = []
    try:
        with contextlib.ExitStack() as opened:
            runs_fd, staging_fd = (
                opened.enter_context(opened_directory(root / part)) for part in (ondisk.RUNS, ondisk.STAGING)
            )
            for start in range(0, len(runs), _AT_ONCE):
                with contextlib.ExitStack() as locks:
                    locked = [(run, _lock(runs_fd, run, locks)) for run in runs[start : start + _AT_ONCE]]
                    new = set(os.listdir(runs_fd)) - known
                    known |= new
                    bases |= {base for name in new if (run := read(runs_fd, name)) for base in bases_of(run)}
                    for run, fd in locked:
                        if fd is not None and run.id not in bases:
                            staging.take_away(staging_fd, runs_fd, run.id, os.dup(fd))
                            removed.append(run)
    except FileNotFoundError:  # there is no store, or no such run
        pass
    except OSError as error:
        raise StoreError(f"runs cannot be removed from {root}: {error.strerror}") from error
    return removed


def _lock(runs_fd: int, run: Run, locks: contextlib.ExitStack) -> int | None:
    """A descriptor of a run that nobody else can use or remove until ``locks`` end. None: somebody removes it.

    Raises StoreError if it is still going.
    """
    try:
        fd = open_directory(runs_fd, run.id)
    except FileNotFoundError:
        return None
    locks.callback(os.close, fd)
    lock_fd = os.open(ondisk.RUN_LOCK, _LOCK_FLAGS, 0o600, dir_fd=fd)
    locks.callback(os.close, lock_fd)
    if not wait_for_lock(lock_fd, seconds=_PATIENCE):
        raise StoreError(f"run {run.id} is still going: end it first")
    return fd if try_lock(fd) and is_named(fd, runs_fd, run.id) else None
