"""podman on the kernel's overlayfs, on fuse-overlayfs and on ours: a start of ``true``, and a build of eight steps.

Each has a store of its own with the same image; the build is without a cache, and what it made is removed before the
next one.
"""

import contextlib
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Final

from benchmark.filesystems import FUSE, KERNEL, OURS
from benchmark.results import Results
from tests.engines import eight_steps
from tests.support import debian
from tests.support.podman import KERNEL as NO_PROGRAM
from tests.support.podman import Engine

NAME: Final = "engines"
START: Final = "engine-start"
BUILD: Final = "engine-build"
_TIMES: Final = 10  # starts in a round


def measure(directory: Path, commands: Path, rounds: int, results: Results) -> None:
    """All rounds; ``commands``: the directory with the command ``cowfs-overlay``."""
    shutil.rmtree(directory, ignore_errors=True)
    programs = {KERNEL: NO_PROGRAM, FUSE: shutil.which("fuse-overlayfs") or FUSE, OURS: str(commands / "cowfs-overlay")}
    engines = {system: Engine(directory / system, program) for system, program in programs.items()}
    try:
        contexts = {system: _prepare(engine) for system, engine in engines.items()}
        for number in range(rounds):
            for system in _turned(list(engines), number):
                _rest()
                starts = [_start(engines[system]) for _ in range(_TIMES)]
                _rest()
                build = _build(engines[system], contexts[system])
                results.figures[START][system][number] = statistics.median(starts)
                results.figures[BUILD][system][number] = build
                print(f"{NAME} {number + 1} {system:15s} {statistics.median(starts):.3g} {build:.3g}", file=sys.stderr)
    finally:
        for engine in engines.values():
            engine.close()


def _prepare(engine: Engine) -> Path:
    engine.podman("pull", "--quiet", debian.image())
    engine.podman("tag", engine.podman("images", "--quiet").strip(), eight_steps.BASE)
    _start(engine)
    return eight_steps.write(engine.place / "context", eight_steps.BASE)


def _turned(systems: list[str], number: int) -> list[str]:
    first = number % len(systems)
    return systems[first:] + systems[:first]


def _rest() -> None:
    """Nobody pays for what another wrote. Processes that podman leaves are ours to reap: we are the first one."""
    os.sync()
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _start(engine: Engine) -> float:
    begin = time.perf_counter()
    engine.podman("run", "--rm", eight_steps.BASE, "true")
    return time.perf_counter() - begin


def _build(engine: Engine, context: Path) -> float:
    begin = time.perf_counter()
    engine.build("--no-cache", "--quiet", "--tag", eight_steps.BUILT, str(context))
    seconds = time.perf_counter() - begin
    engine.podman("rmi", eight_steps.BUILT)
    engine.podman("image", "prune", "--force")
    return seconds
