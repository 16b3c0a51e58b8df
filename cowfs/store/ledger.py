"""What runs that are over take, in one file: so the end of a run need not read the record of every other one.

    runs.ledger       a line for each: id, start in seconds since the epoch, bytes on the disk, ids of runs below it

It says nothing that the records do not say, and may be removed. What it lacks is looked up there; lines of runs that
are gone are left out when it is written anew. Appended by one write, replaced by one rename: who reads it meanwhile,
or loses a line to somebody who replaces it, looks that up once more. Used by ``cowfs.store.runs`` alone.
"""

import os
from collections.abc import Iterable
from typing import Final, NamedTuple

from cowfs import ondisk
from cowfs.model import Run
from cowfs.store.descriptors import is_named, read_file, try_lock
from cowfs.store.retention import bases_of, size_of

_LIMIT: Final = 64 << 20  # bytes
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = ondisk.RUNS_LEDGER + ".new"
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_SLACK: Final = 2  # lines for each run


class Kept(NamedTuple):
    """What retention has to know of a run."""

    id: str
    started: float  # seconds since the epoch
    size: int  # bytes on the disk of what it changed
    below: tuple[str, ...] = ()  # ids of the runs that it is built on

    @classmethod
    def of(cls, run: Run) -> "Kept":
        """From its record; bytes are counted where that does not have them."""
        return cls(run.id, run.started, size_of(run), tuple(sorted(bases_of(run))))


def read(root_fd: int, names: frozenset[str]) -> dict[str, Kept]:
    """What is known of the runs ``names``, in the store ``root_fd``. Raises OSError."""
    try:
        lines = read_file(root_fd, ondisk.RUNS_LEDGER, _LIMIT).splitlines()
    except FileNotFoundError:
        return {}
    found = {}
    for line in lines:
        try:
            run_id, started, size, *below = line.decode("ascii").split(" ")
            kept = Kept(run_id, float(started), int(size), tuple(below))
        except ValueError:  # cut by a crash, or by who writes it now
            continue
        if run_id in names:
            found[run_id] = kept
    if len(lines) > _SLACK * len(names) + 100:
        _replace(root_fd, found.values())
    return found


def add(root_fd: int, entries: Iterable[Kept]) -> None:
    """Remember some. Raises OSError."""
    if data := _lines(entries):
        fd = os.open(ondisk.RUNS_LEDGER, _APPEND, 0o600, dir_fd=root_fd)
        try:
            os.write(fd, b"\n" + data)  # the last line may have been cut
        finally:
            os.close(fd)


def _replace(root_fd: int, entries: Iterable[Kept]) -> None:
    fd = os.open(_NEW, _CREATE, 0o600, dir_fd=root_fd)
    try:
        if try_lock(fd) and is_named(fd, root_fd, _NEW):  # else somebody else does the same
            os.ftruncate(fd, 0)
            os.write(fd, _lines(entries))
            os.rename(_NEW, ondisk.RUNS_LEDGER, src_dir_fd=root_fd, dst_dir_fd=root_fd)
    finally:
        os.close(fd)


def _lines(entries: Iterable[Kept]) -> bytes:
    return b"".join(" ".join((e.id, repr(e.started), str(e.size), *e.below)).encode() + b"\n" for e in entries)
