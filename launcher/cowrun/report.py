"""The one line at a run's end, for a person at a terminal: how much changed, and how to look at it."""

import os
import stat
import sys
from typing import Final

from cowfs import ondisk
from cowfs.model import Run

_ENOUGH: Final = 10_000  # entries; more are not counted, the shell's prompt comes first
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def at_the_end(run: Run) -> None:
    """Print it to stderr, dim where the terminal may be coloured (no-color.org)."""
    number = changed_paths(run)
    if number is None:
        text = f"more than {_ENOUGH} paths changed"
    else:
        text = f"{number or 'no'} path{'' if number == 1 else 's'} changed"
    line = (
        f"run {run.id}: {text} and kept for inspection: cowdiff show last" if number != 0 else f"run {run.id}: {text}"
    )
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    print(line if plain else f"\033[2m{line}\033[0m", file=sys.stderr, flush=True)


def changed_paths(run: Run) -> int | None:
    """A cheap count: everything in the upper but copied-up directories and mount points. None if there is too much."""
    outside = {path.strip("/") for path in run.volumes}
    waiting, count, seen = [""], 0, 0
    while waiting:
        path = waiting.pop()
        fd = os.open(run.upper / path, _DIRECTORY)
        try:
            names = os.listdir(fd)
            for name in names:
                inside = f"{path}/{name}".lstrip("/")
                if inside in outside:
                    continue
                seen += 1
                is_directory = stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
                if is_directory:
                    waiting.append(inside)
                count += not is_directory or _is_new(f"/proc/self/fd/{fd}/{name}")
        finally:
            os.close(fd)
        if seen > _ENOUGH:
            return None
    return count


def _is_new(directory: str) -> bool:
    """A directory that the run made, not one that was copied up to hold something else."""
    names = {os.fsencode(name) for name in os.listxattr(directory, follow_symlinks=False)}
    return ondisk.OVERLAY_TRUSTED + ondisk.ORIGIN not in names
