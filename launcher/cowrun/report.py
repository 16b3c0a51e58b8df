"""The one line at a run's end, for a person at a terminal: whether anything changed, and how to look at it.

It names no number: only a comparison with the base knows it, and the shell's prompt comes first.
"""

import os
import sys
from pathlib import Path

from cowfs import ondisk
from cowfs.journal.reader import lost_at_the_end
from cowfs.model import Run

_MARKS = (ondisk.OVERLAY_TRUSTED, ondisk.OVERLAY_USER)


def at_the_end(run: Run) -> None:
    """Print it to stderr, dim where the terminal may be coloured (no-color.org)."""
    try:
        changed = may_have_changes(run)
    except OSError:  # a base that is gone; the command's exit status counts more than this line
        changed = True
    text = "is kept for inspection: cowdiff show last" if changed else "changed nothing"
    line = f"run {run.id} {text}"
    lost = lost_at_the_end(run.journal)
    if lost:
        line += f"; its journal is full: {lost} changes are not in it"
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    print(line if plain else f"\033[2m{line}\033[0m", file=sys.stderr, flush=True)


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
