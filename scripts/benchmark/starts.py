"""Start and end of ``true`` in a small root without a network, by cowrun and by podman in turn, everything warm.

Wall time is what a person waits; processor time says more where the machine has other work. podman needs limits that
it can set: some machines forbid to raise them.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmark.pulls import OURS, PODMAN
from benchmark.results import Results

NAME: Final = "start-run"
PROCESSOR: Final = "start-run-cpu"
_TIMES: Final = 10  # in a round
_PODMAN: Final = (
    "podman", "--runtime", "runc", "run", "--rm", "--network", "none", "--ulimit", "nofile=20000:20000", "--ulimit",
    "nproc=32768:32768", "--rootfs",
)  # fmt: skip


def measure(directory: Path, commands: Path, rounds: int, results: Results) -> None:
    """All rounds; ``commands``: the directory with the command ``cowrun``."""
    root = _root(directory / "root")
    store = str(directory / "store")
    systems = {OURS: [str(commands / "cowrun"), "--root", store, "--network", "none", f"dir:{root}", "/bin/true"]}
    if shutil.which("podman"):
        systems[PODMAN] = [*_PODMAN, str(root), "/bin/true"]
    else:
        results.fail(NAME, PODMAN, "it is not installed")
    for line in systems.values():
        _once(line)
    for number in range(rounds):
        for system, line in sorted(systems.items(), reverse=bool(number % 2)):
            taken = [_once(line) for _ in range(_TIMES)]
            results.figures[NAME][system][number] = statistics.median(wall for wall, _ in taken)
            results.figures[PROCESSOR][system][number] = statistics.median(processor for _, processor in taken)
            shown = " ".join(f"{results.figures[name][system][number]:.3g}" for name in (NAME, PROCESSOR))
            print(f"{NAME} {number + 1} {system:8s} {shown}", file=sys.stderr, flush=True)


def _root(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    (path / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", path / "bin/busybox")
    (path / "bin/true").symlink_to("busybox")
    return path


def _once(line: list[str]) -> tuple[float, float]:
    """Seconds of wall time, and of processor time of all its processes."""
    before, begin = os.times(), time.perf_counter()
    subprocess.run(line, check=True, stdin=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - begin, os.times()
    return seconds, sum(after[2:4]) - sum(before[2:4])
