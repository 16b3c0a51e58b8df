"""The layers of a container in a store of overlay's kind, which podman and docker lay out alike.

    HOME/<id>/diff      the upper            HOME/<id>/lower     "l/A:l/B", the top one first
    HOME/<id>/work      the work directory   HOME/l/A            -> ../<id>/diff
    HOME/<id>/merged    where it is mounted

(containers/storage and moby, drivers/overlay.)
"""

import json
import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cowfs.errors import BrokenImage, NotFound, StoreError, UsageError
from cowfs.fuse import mountpoints
from cowfs.images import foreign
from cowfs.model import Mounted

_LINK: Final = re.compile(r"l/[A-Z0-9]{20,64}")
_TARGET: Final = re.compile(r"\.\./([0-9a-z]{25,64}(?:-init)?)/diff")
_LIMIT: Final = 16 << 20  # bytes of a container's configuration


def lowers(homes: Sequence[Path], directory: Path) -> tuple[Path, ...]:
    """What is below the upper of ``directory``, the top one first; links may lie in any of ``homes``."""
    try:
        text = (directory / "lower").read_text()
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise StoreError(f"{directory / 'lower'} cannot be read: {error}") from None
    return tuple(_resolved(homes, word, directory) for word in text.strip().split(":"))


def _resolved(homes: Sequence[Path], word: str, directory: Path) -> Path:
    for home in homes if _LINK.fullmatch(word) else ():
        try:
            target = _TARGET.fullmatch(os.readlink(home / word))
        except OSError:
            continue
        if target is not None:
            return home / target[1] / "diff"
    raise BrokenImage(f"{directory / 'lower'} names {word[:100]!r}, which is no layer")


def mounted() -> frozenset[Path]:
    """Where something is mounted, as far as we see."""
    return frozenset(mountpoints.places())


def is_served(journal: Path) -> bool:
    """Does a file system process hold this journal? We may not see its mount: rootless podman has its own namespace.

    Asks the kernel's table (proc_locks(5)): to try the lock could take it from a process that is just starting.
    """
    try:
        status = journal.stat()
        table = Path("/proc/locks").read_text()
    except OSError:
        return False
    place = f" {os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino} "
    return any("FLOCK" in line and place in line for line in table.splitlines())


def read_json(path: Path) -> dict[str, Any]:
    """An engine's own document about a container; empty where there is none or it is something else."""
    try:
        return parsed(foreign.read(path, _LIMIT))
    except (StoreError, BrokenImage):
        return {}


def parsed(data: bytes | str) -> dict[str, Any]:
    """The same of its text."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def text(value: Any) -> str:
    """A string of such a document."""
    return value if isinstance(value, str) else ""


def texts(value: Any) -> tuple[str, ...]:
    """A list of strings."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def seconds(moment: Any) -> float:
    """What Go writes for a time, in seconds since the epoch; 0 where it means none."""
    try:
        found = datetime.fromisoformat(text(moment))
    except ValueError:
        return 0.0
    return max(0.0, found.timestamp()) if found.year > 1 else 0.0


def mounts_of(config: dict[str, Any], injected_from: Sequence[Path]) -> tuple[Mounted, ...]:
    """The mounts of an OCI runtime's configuration; files that lie in ``injected_from`` are the engine's own."""
    found = []
    for one in config.get("mounts") or ():
        target = text(one.get("destination")) if isinstance(one, dict) else ""
        if not target.startswith("/"):
            continue
        kind, source = text(one.get("type")), text(one.get("source"))
        options = texts(one.get("options"))
        if kind == "bind" or "bind" in options or "rbind" in options:
            inside = any(Path(source).is_relative_to(place) for place in injected_from)
            kind = "injected" if inside else "volume"
        found.append(Mounted(os.path.normpath(target), kind or "mount", source, "ro" in options))
    return tuple(found)


def choose(engine: str, name: str, named: Sequence[tuple[str, tuple[str, ...], int]], where: str) -> int:
    """Of containers (id, names, number) the number of the one that ``name`` means. Raises NotFound, UsageError."""
    exact = [number for _, names, number in named if name in names]
    if exact:
        return exact[0]
    begun = [number for full, _, number in named if re.fullmatch(r"[0-9a-f]+", name) and full.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise UsageError(f"{name!r} begins the ids of {len(begun)} containers of {engine}")
    known = ", ".join((names or (full[:12],))[0] for full, names, _ in named[:10]) or "none"
    raise NotFound(f"{engine} has no container {name!r} in {where}; its containers: {known}")
