"""Runs: what is kept of one command in a throw-away copy of a base. Used by cowrun and cowdiff.

    runs/<id>/          0700, <id> is 12 hex digits
      run.json          the record (cowfs.store.run_record); always complete: replaced by one rename
      lock              flocked by the launcher as long as the run lives
      log               what the file system process complained about; only where it did
      upper/  work/     the changes, in overlayfs's format; work keeps only the index once the run is over
      merged/  files/   mount point and injected files of a run that is going; gone once it is over

A run is built in ``staging`` and appears by one rename, locked. It is RUNNING while somebody holds the lock, DISCARDED
once it was sealed, LOST if it was never sealed and nobody holds the lock.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from cowfs import ondisk, userns
from cowfs.errors import NotFound, NotRunning, StoreError, UsageError
from cowfs.model import Base, LayerInfo, Mounted, Run, RunState
from cowfs.store import ledger, staging
from cowfs.store.descent import disk_usage
from cowfs.store.descriptors import open_directory, opened_directory, read_file, try_lock
from cowfs.store.ledger import Kept
from cowfs.store.retention import bases_of, beyond, is_kept, read_budget
from cowfs.store.run_record import LIMIT, decode, encode
from cowfs.store.run_removal import remove_runs
from cowfs.store.trees import remove_tree

FILES = "files"  # host-side files that are bound into the run: hostname, hosts, resolv.conf
LAST = "last"

_ID = re.compile(r"[0-9a-f]{12}")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


Found: TypeAlias = list[Run]


class RunLock:
    """Says that the run lives, until it is closed; processes that are forked meanwhile share it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        """The run is over."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Runs:
    """The runs of the store at ``store_root``. No run needs a store that is open."""

    def __init__(self, store_root: Path) -> None:
        self._root = store_root

    # --- the life of a run: for the launcher

    def create(
        self,
        base: Base,
        command: Iterable[str],
        *,
        name: str = "",
        env_names: Iterable[str] = (),
        hidden: Iterable[Path] = (),
        volumes: Iterable[str] = (),
        mounts: Iterable[Mounted] = (),
        read_only: bool = False,
    ) -> tuple[Run, RunLock]:
        """A new run and its lock. The caller holds a lease on the layers of ``base``.

        ``volumes`` are all paths inside that are not part of the merge: volumes, mounts and injected files;
        ``mounts`` say what is there. Raises UsageError (the name), StoreError.
        """
        self._check_name(name)
        run_id = os.urandom(6).hex()
        run = Run(
            id=run_id,
            directory=self._root / ondisk.RUNS / run_id,
            source=base.source,
            lowers=base.lowers,
            command=tuple(command),
            name=name,
            digest=base.digest,
            host=base.host,
            env_names=tuple(env_names),
            hidden=tuple(sorted(hidden)),
            volumes=tuple(volumes),
            mounts=tuple(mounts),
            read_only=read_only,
            started=time.time(),
        )
        try:
            return run, self._build(run)
        except OSError as error:
            raise StoreError(f"no run can be made in {self._root}: {error.strerror}") from error

    def remove_unstarted(self) -> None:
        """What launchers left that were killed before their command ran: nobody looks for it."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._root / ondisk.RUNS) as entries:
            going = [entry.name for entry in entries if os.path.isdir(f"{entry.path}/{FILES}")]  # until it is sealed
            for name in going:
                if not os.path.exists(self._root / ondisk.RUNS / name / FILES / ondisk.RUN_LAUNCHER):
                    self._remove_lost(name)

    def _remove_lost(self, name: str) -> None:
        with opened_directory(self._root / ondisk.RUNS) as runs_fd:
            run = self._read(runs_fd, name)
        if run is not None and run.state is RunState.LOST:
            with contextlib.suppress(StoreError):
                self.remove(run)

    def on_top(self, base: Base, run: Run) -> Base:
        """``base`` with all that ``run``, a run over it, changed. Raises UsageError, StoreError."""
        if run.state is RunState.RUNNING:
            raise StoreError(f"run {run.id} is still going: end it first")
        below = base.lowers
        if run.lowers[-len(below) :] != below:
            raise UsageError(f"run {run.id} was over {run.source}, not over what {base.source} is now")
        uppers = [*reversed(run.lowers[: -len(below)]), run.upper]
        layers = [LayerInfo(len(base.layers) + place, upper) for place, upper in enumerate(uppers, 1)]
        return base._replace(layers=(*base.layers, *layers))

    def seal(self, run: Run, exit_status: int) -> Run:
        """The run is over, and nothing is mounted on it: record it, and drop what only a run that is going needs."""
        sealed = run._replace(ended=time.time(), exit_status=exit_status, state=RunState.DISCARDED)
        try:
            with opened_directory(run.directory) as fd:
                with opened_directory(ondisk.RUN_UPPER, fd) as upper:
                    sealed = sealed._replace(size=disk_usage(upper))
                _write_record(fd, sealed)
                for name in (ondisk.RUN_MERGED, FILES):
                    with contextlib.suppress(FileNotFoundError):
                        remove_tree(fd, os.fsencode(name))
                _empty_work(fd)
            with opened_directory(self._root) as root_fd:
                ledger.add(root_fd, [Kept.of(sealed)])
        except OSError as error:
            raise StoreError(f"run {run.id} cannot be sealed: {error.strerror}") from error
        return sealed

    # --- looking: for everybody

    def list(self) -> Found:
        """All runs, the newest first."""
        return sorted(self._records(), key=lambda run: run.started, reverse=True)

    def _records(self, only: str = "") -> Found:
        """The runs, or the one whose id is ``only``, as far as they are there."""
        try:
            with opened_directory(self._root / ondisk.RUNS) as runs_fd:
                names = [only] if only else os.listdir(runs_fd)
                return [run for name in names if (run := self._read(runs_fd, name)) is not None]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"the runs in {self._root} cannot be read: {error.strerror}") from error

    def find(self, token: str) -> Run:
        """The run that ``token`` names: "last", an id, the newest of a name, an unambiguous beginning of an id.

        Raises NotFound, UsageError.
        """
        if _ID.fullmatch(token) and (found := self._records(token)):
            return found[0]  # no other one is looked at
        return self._find(token, self.list())

    def find_running(self, token: str) -> Run:
        """The same among the runs that are going. Raises NotRunning, UsageError."""
        runs = self.list()
        going = [run for run in runs if run.state is RunState.RUNNING]
        try:
            return self._find(token, going)
        except NotFound:
            pass
        try:
            over = "" if token == LAST else self._find(token, runs).id
        except NotFound:
            over = ""
        raise NotRunning(f"run {over} is over" if over else f"no run {token!r} is going (cowrun ps lists them)")

    def _find(self, token: str, runs: Found) -> Run:
        if token == LAST:
            if not runs:
                raise NotFound("there are no runs yet")
            return runs[0]
        exact = [run for run in runs if run.id == token] or [run for run in runs if run.name and run.name == token]
        found = exact[:1] or [run for run in runs if token and run.id.startswith(token)]
        if not found:
            raise NotFound(f"no run {token!r} (cowdiff lists them)")
        if len(found) > 1:
            raise UsageError(f"{token!r} begins the ids of {len(found)} runs: {', '.join(run.id for run in found)}")
        return found[0]

    # --- removing

    def remove(self, run: Run) -> None:
        """Remove a run with all that it changed; no such run is no error.

        Raises StoreError if it is still going, or another run is built on it.
        """
        everybody = self.list()
        built = [other.id for other in everybody if run.id in bases_of(other)]
        if built:
            raise StoreError(f"run {run.id} is what run {built[0]} is built on: remove that first")
        remove_runs(self._root, [run], set(), {other.id for other in everybody}, self._read)

    def prune(self, *, keep: int = 0, before: float | None = None) -> Found:
        """Remove the runs that are over but for the ``keep`` newest, only those started ``before`` that time if given.

        Never one that is pinned, applied, or built on. Returns what was removed.
        """
        runs = self.list()
        bases = {base for run in runs for base in bases_of(run)}
        over = [run for run in runs if run.state is not RunState.RUNNING and not is_kept(run, bases)]
        chosen = [run for run in over[keep:] if before is None or run.started < before]
        return remove_runs(self._root, chosen, bases, {run.id for run in runs}, self._read)

    def retain(self) -> Found:
        """Remove the runs that have no place in the budget of the store, and return them. Raises StoreError.

        Records are read only of those that are going, of those that may have to go, and where the ledger lacks a line.
        """
        budget = read_budget(self._root)
        try:
            with opened_directory(self._root) as root_fd, opened_directory(ondisk.RUNS, root_fd) as runs_fd:
                names = frozenset(filter(_ID.fullmatch, os.listdir(runs_fd)))
                over = ledger.read(root_fd, names)
                others = [run for name in names - over.keys() if (run := self._read(runs_fd, name)) is not None]
                new = [Kept.of(run) for run in others if run.state is not RunState.RUNNING]
                ledger.add(root_fd, new)
                by_age = sorted([*over.values(), *new], key=lambda kept: kept.started, reverse=True)
                beyond_it = [self._read(runs_fd, kept.id) for kept in beyond(budget, by_age)]
        except OSError as error:
            raise StoreError(f"the runs in {self._root} cannot be read: {error.strerror}") from error
        bases = {base for kept in by_age for base in kept.below} | {base for run in others for base in bases_of(run)}
        chosen = [run for run in beyond_it if run is not None and not is_kept(run, bases)]
        return remove_runs(self._root, chosen, bases, set(names), self._read)

    def pin(self, run: Run, *, pinned: bool = True) -> None:
        """Keep a run until somebody removes it by name; not ``pinned``: no longer. Raises StoreError."""
        try:
            with opened_directory(run.directory) as fd:
                if pinned:
                    os.close(os.open(ondisk.RUN_PINNED, _LOCK_FLAGS, 0o600, dir_fd=fd))
                else:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(ondisk.RUN_PINNED, dir_fd=fd)
        except OSError as error:
            raise StoreError(f"run {run.id} cannot be pinned or unpinned: {error.strerror}") from error

    # --- inside

    def _check_name(self, name: str) -> None:
        if not name:
            return
        if not _NAME.fullmatch(name) or name == LAST:
            raise UsageError(f"{name!r} cannot be a name: letters, digits and _.- (and not {LAST!r})")
        for run in self.list():
            if run.name == name and run.state is RunState.RUNNING:
                raise UsageError(f"the name {name!r} is in use by run {run.id}")

    def _build(self, run: Run) -> RunLock:
        with (
            opened_directory(self._root / ondisk.RUNS) as runs_fd,
            opened_directory(self._root / ondisk.STAGING) as staging_fd,
            contextlib.closing(staging.create(staging_fd)) as entry,
        ):
            lock = _make_lock(entry.fd)
            try:
                _make_upper(entry.fd, run.lowers[0])
                for name in (ondisk.RUN_WORK, ondisk.RUN_MERGED, FILES):
                    os.mkdir(name, 0o700, dir_fd=entry.fd)
                _write_record(entry.fd, run)
                entry.publish(runs_fd, run.id)
            except BaseException:
                lock.close()
                raise
            return lock

    def _read(self, runs_fd: int, name: str) -> Run | None:
        """The run ``name``, None if there is none. Of one whose record cannot be read, all but the id is unknown."""
        if not _ID.fullmatch(name):
            return None
        try:
            fd = open_directory(runs_fd, name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            lives = _is_locked(fd)
            run = decode(read_file(fd, ondisk.RUN_JSON, LIMIT), self._root / ondisk.RUNS / name)
            run = run._replace(pinned=os.access(ondisk.RUN_PINNED, os.F_OK, dir_fd=fd), applied=_is_applied(fd))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            run = Run(name, self._root / ondisk.RUNS / name, "", (), (), started=os.fstat(fd).st_mtime)
        finally:
            os.close(fd)
        if run.ended is not None:
            return run._replace(state=RunState.DISCARDED)
        return run if lives else run._replace(state=RunState.LOST)


def _make_lock(directory_fd: int) -> RunLock:
    fd = os.open(ondisk.RUN_LOCK, _LOCK_FLAGS | os.O_EXCL, 0o600, dir_fd=directory_fd)
    try_lock(fd)  # nobody else knows it yet
    return RunLock(fd)


def _is_locked(directory_fd: int) -> bool:
    try:
        fd = os.open(ondisk.RUN_LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(fd, shared=True)
    finally:
        os.close(fd)


def _is_applied(directory_fd: int) -> bool:
    try:
        with opened_directory(ondisk.RUN_APPLIED, directory_fd) as fd:
            return any(name.isdigit() for name in os.listdir(fd))
    except FileNotFoundError:
        return False


def _make_upper(directory_fd: int, lower: Path) -> None:
    """An empty upper. The root of a merge has the upper's attributes, so they are those of the ``lower`` below it."""
    os.mkdir(ondisk.RUN_UPPER, 0o700, dir_fd=directory_fd)
    with opened_directory(lower) as source, opened_directory(ondisk.RUN_UPPER, directory_fd) as made:
        for name in os.listxattr(source):
            if not os.fsencode(name).startswith((ondisk.OVERLAY_TRUSTED, ondisk.OVERLAY_USER)):
                os.setxattr(made, name, os.getxattr(source, name))
        status = os.fstat(source)
        if max(status.st_uid, status.st_gid) < userns.mapped_ids():  # others do not exist in a user namespace
            os.fchown(made, status.st_uid, status.st_gid)
        os.fchmod(made, status.st_mode & 0o7777)
        os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))


def _empty_work(directory_fd: int) -> None:
    """What was being built is rubbish; the index is part of the changes: it says which names are one file."""
    with opened_directory(ondisk.RUN_WORK, directory_fd) as work_fd:
        for name in os.listdir(work_fd):
            if os.fsencode(name) != ondisk.INDEX:
                remove_tree(work_fd, os.fsencode(name))


def _write_record(directory_fd: int, run: Run) -> None:
    new = ondisk.RUN_JSON + ".new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
    with open(fd, "wb") as file:
        file.write(encode(run))
    os.rename(new, ondisk.RUN_JSON, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
