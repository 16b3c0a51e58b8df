"""Runs that are going, found by other commands: where the container's first process is, and what it was set up with.

The launcher keeps this in a memory file, as the values of variables are secrets and must not lie on a disk; the run's
directory says only which process and descriptor. Whoever may read the launcher's descriptors is root or its owner.
Used by session (publish) and by exec, ps, stop and kill (find).
"""

import json
import os
import pickle
import time
from pathlib import Path
from typing import Final, NamedTuple

from cowfs import ondisk
from cowfs.errors import NotRunning
from cowfs.model import Run
from cowfs.processes import Process
from cowfs.store.runs import FILES, Runs
from cowrun.settings import Settings

_RECORD: Final = ondisk.RUN_LAUNCHER
_PATIENCE: Final = 10.0  # seconds for a run that is being started
_PAUSE: Final = 0.02


class Running(NamedTuple):
    """A run whose command runs."""

    launcher: Process
    container: Process
    settings: Settings


def publish(run: Run, container: int, settings: Settings) -> int:
    """Let others find the run; to be called by its launcher. The descriptor is to be kept open as long as it lives."""
    running = Running(Process.of(os.getpid()), Process.of(container), settings)
    fd = os.memfd_create("cowrun-run")
    os.write(fd, pickle.dumps(running))
    record = {"pid": running.launcher.pid, "started": running.launcher.started, "descriptor": fd}
    path = run.directory / FILES / _RECORD
    path.with_suffix(".new").write_text(json.dumps(record))
    path.with_suffix(".new").rename(path)
    return fd


def find(runs: Runs, token: str) -> tuple[Run, Running]:
    """The run that ``token`` names, among those that are going first. Waits for one that is being started.

    Raises NotRunning, UsageError.
    """
    run = runs.find_running(token)
    deadline = time.monotonic() + _PATIENCE
    while (running := look(run)) is None:
        if time.monotonic() > deadline:
            raise NotRunning(f"run {run.id} does not get started")
        time.sleep(_PAUSE)
        run = runs.find_running(run.id)
    return run, running


def look(run: Run) -> Running | None:
    """The run's processes; None if its command does not run (yet, or any more)."""
    try:
        record = json.loads((run.directory / FILES / _RECORD).read_bytes())
        launcher = Process(int(record["pid"]), int(record["started"]))
        os.close(launcher.open())
        running = pickle.loads(Path(f"/proc/{launcher.pid}/fd/{record['descriptor']}").read_bytes())
    except (OSError, ValueError, KeyError, EOFError):
        return None
    except Exception as error:  # the launcher is of another version of ours
        raise NotRunning(f"run {run.id} was started by another version of cowrun: {error}") from None
    return running if isinstance(running, Running) and running.launcher == launcher else None
