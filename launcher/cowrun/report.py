"""The one line at a run's end, for a person at a terminal: how many paths changed, where they are, how to look at them.

Only a comparison with the base knows the number, and the shell's prompt comes first: where the upper holds much, the
line says no more than that.
"""

import os
import sys
from pathlib import Path

from cowfs import ondisk
from cowfs.errors import CowfsError
from cowfs.journal.reader import lost_at_the_end
from cowfs.model import Run

_MOST_ENTRIES = 1000  # of an upper that is compared: some tens of milliseconds
_MOST_BYTES = 32 << 20
_MARKS = (ondisk.OVERLAY_TRUSTED, ondisk.OVERLAY_USER)


def at_the_end(run: Run) -> None:
    """Print it to stderr, dim where the terminal may be coloured (no-color.org)."""
    line = f"run {run.id} {_changes(run)}"
    lost = lost_at_the_end(run.journal)
    if lost:
        line += f"; its journal is full: {lost} changes are not in it"
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    print(line if plain else f"\033[2m{line}\033[0m", file=sys.stderr, flush=True)


def _changes(run: Run) -> str:
    try:
        if not may_have_changes(run):
            return "changed nothing"
        number = _count(run)
    except (OSError, CowfsError):  # a base that is gone; the command's exit status counts more than this line
        number = None
    paths = "paths" if number is None else "1 path" if number == 1 else f"{number} paths"
    return f"changed {paths}, kept in {run.upper}: cowdiff show last"


def _count(run: Run) -> int | None:
    """The lines of ``cowdiff show``; None where it would take long to know."""
    entries = size = 0
    for directory, _, files in os.walk(run.upper, onerror=_fail):
        entries += 1 + len(files)
        if entries > _MOST_ENTRIES:
            return None
        size += sum(os.lstat(os.path.join(directory, name)).st_size for name in files)
        if size > _MOST_BYTES:
            return None
    from cowfs.runs.scan import scan
    from cowfs.runs.trees import base_of

    with base_of(run) as before:
        return len(scan(run, before))


def _fail(error: OSError) -> None:
    raise error


def may_have_changes(run: Run) -> bool:
    """False only where ``cowdiff show`` lists nothing: the upper has mount points and new directories above them."""
    mounted = {path.strip("/") for path in run.volumes}
    leading = {os.fspath(parent) for path in mounted for parent in Path(path).parents}
    waiting = [""]
    while waiting:
        path = waiting.pop()
        with os.scandir(run.upper / path) as entries:
            for entry in entries:
                inside = f"{path}/{entry.name}".lstrip("/")
                if inside in mounted:
                    continue
                made_here = not any(os.path.lexists(lower / inside) for lower in run.lowers)
                if inside not in leading or not made_here or not entry.is_dir(follow_symlinks=False):
                    return True
                waiting.append(inside)
    return _attributes(run.upper) != _attributes(run.lowers[0])


def _attributes(directory: Path) -> tuple[object, ...]:
    """What can change of a root beside its entries."""
    status = directory.stat()
    names = [os.fsencode(name) for name in os.listxattr(directory)]
    return (
        status.st_mode,
        status.st_uid,
        status.st_gid,
        {
            name: os.getxattr(directory, name)
            for name in names
            if not name.startswith((ondisk.OVERLAY_TRUSTED, ondisk.OVERLAY_USER))
        },
    )
