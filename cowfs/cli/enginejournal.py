"""The journal of a mount that an engine asked for: where it lies, and what becomes of it at the end.

It is ``cowfs/journal`` in the work directory: that is the file system's own by definition, so it is in no layer, no
engine and no overlayfs that is mounted over the same directories looks at it, it is found again when the container is
started again, and it goes with the container, whoever removes that. Used by ``cowfs-overlay``; imports next to nothing,
as a container waits for it.
"""

import logging
import os
import time
from pathlib import Path
from typing import Any

from cowfs import ondisk, userns


def settings(upper: Path, work: Path, below: Path) -> dict[str, Any]:
    """The fields of MountOptions for a mount of ``upper``; ``below`` is the layer under it."""
    if os.environ.get(ondisk.JOURNAL_ENV) == "no":
        return {}
    started = time.time()

    def ended(journal: int) -> None:
        _keep(journal, upper, below, started)

    return {
        "journal": work / ondisk.PRIVATE / ondisk.RUN_JOURNAL,
        "journal_when_needed": True,
        "journal_ended": ended,
    }


def _keep(journal: int, upper: Path, below: Path, started: float) -> None:
    """After the mount: a build's is copied, for its container goes at once. Nobody waits for this, and it may fail."""
    from cowfs.engines import builds
    from cowfs.errors import CowfsError

    try:
        builds.keep(journal, upper, below, started, _store())
    except (CowfsError, OSError) as failure:
        logging.getLogger(__name__).warning("no copy of the journal of %s is kept: %s", upper, failure)


def _store() -> Path:
    named = os.environ.get(ondisk.STORE_ENV)
    if named:
        return Path(named)
    if userns.is_root_of_machine():
        return Path(ondisk.STORE_DEFAULT)
    data = os.environ.get("XDG_DATA_HOME") or Path(os.environ.get("HOME", "/"), ".local/share")
    return Path(data, "cowfs")
