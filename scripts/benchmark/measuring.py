"""Takes the times: one workload on one mount, and the figures it gave. Used by the workloads.

Before each measurement the disk is brought to rest, so that nobody pays for what another wrote.
"""

import os
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmark import filesystems
from benchmark.inputs import Inputs

PATIENCE: Final = 900.0
_REST: Final = 0.02
ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/nonexistent",
    "DEBIAN_FRONTEND": "noninteractive",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    "GIT_AUTHOR_NAME": "bench",
    "GIT_AUTHOR_EMAIL": "bench@localhost",
    "GIT_COMMITTER_NAME": "bench",
    "GIT_COMMITTER_EMAIL": "bench@localhost",
}


class Failed(Exception):
    """A command of a workload failed on the file system under test."""


@dataclass(slots=True)
class Bench:
    """A workload's view: the mount, the inputs, and where the figures go."""

    mount: filesystems.Mount
    inputs: Inputs
    figures: dict[str, float] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The mount point."""
        return self.mount.place.mountpoint

    def record(self, name: str, value: float) -> None:
        """A figure that a workload found by itself."""
        self.figures[name] = value

    def run(self, *command: str | Path, given: bytes = b"") -> bytes:
        """Run a command, not measured; its output. Raises Failed."""
        words = [str(word) for word in command]
        try:
            done = subprocess.run(
                words, cwd=self.root, env=ENVIRONMENT, timeout=PATIENCE, capture_output=True, input=given
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{words[0]}: not done after {PATIENCE:.0f} s") from None
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise Failed(f"{words[0]}: exit {done.returncode}: {last[0]}")
        return done.stdout

    def timed(self, name: str, *command: str | Path, cold: bool = False, times: int = 1) -> float:
        """Measure a command from its start to its end, the mean where it runs several ``times``."""
        self.rest(cold=cold)
        used, begin = self._processor_seconds(), time.perf_counter()
        for _ in range(times):
            self.run(*command)
        seconds = (time.perf_counter() - begin) / times
        self.processor[name] = (self._processor_seconds() - used) / times
        self.record(name, seconds)
        return seconds

    def loop(self, name: str, *arguments: str | Path | int, names: Sequence[str] = (), cold: bool = False) -> None:
        """Measure one of the loops in C, which take their own time; ``names``: what it reads on its input."""
        self.rest(cold=cold)
        given = "".join(f"{name}\n" for name in names).encode()
        program, used = self.inputs.loops, self._processor_seconds()
        self.record(name, float(self.run(program, *map(str, arguments), given=given)))
        self.processor[name] = self._processor_seconds() - used

    def rest(self, *, cold: bool = False) -> None:
        """Wait until nothing is left to be written and the daemon has nothing to do; ``cold``: and drop all caches."""
        os.sync()
        if cold:
            Path("/proc/sys/vm/drop_caches").write_text("3\n")
        self._settle()

    def _processor_seconds(self) -> float:
        """The time that commands and daemons ran so far."""
        commands = resource.getrusage(resource.RUSAGE_CHILDREN)
        return commands.ru_utime + commands.ru_stime + sum(map(filesystems.processor_seconds, self.mount.daemons))

    def _settle(self) -> None:
        before = -1.0
        for _ in range(500):
            now = sum(map(filesystems.processor_seconds, self.mount.daemons))
            if now - before < _REST / 50:
                return
            before = now
            time.sleep(_REST)
