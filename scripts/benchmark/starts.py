"""Start and end of ``true`` in a small root, by cowrun and by podman in turn, everything warm.

Without a network, and with one of the run's own: cowrun's by pasta, podman's by slirp4netns, which needs no firewall.

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
PRIVATE: Final = "start-run-private"
PRIVATE_PROCESSOR: Final = "start-run-private-cpu"
_TIMES: Final = 10  # in a round
_PODMAN: Final = (
    "podman", "--runtime", "runc", "run", "--rm", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=32768:32768",
    "--network",
)  # fmt: skip


def measure(directory: Path, commands: Path, rounds: int, results: Results) -> None:
    """All rounds; ``commands``: the directory with the command ``cowrun``."""
    root = _root(directory / "root")
    store = str(directory / "store")
    ours = [str(commands / "cowrun"), "--root", store, "--network"]
    there = shutil.which("podman") is not None
    for names, network, other in (
        ((NAME, PROCESSOR), "none", "none"),
        ((PRIVATE, PRIVATE_PROCESSOR), "private", "slirp4netns"),
    ):
        if network == "private" and not all(map(shutil.which, ("pasta", "slirp4netns"))):
            results.fail(PRIVATE, OURS, "pasta or slirp4netns is not installed")
            continue
        systems = {OURS: [*ours, network, f"dir:{root}", "/bin/true"]}
        if there:
            systems[PODMAN] = [*_PODMAN, other, "--rootfs", str(root), "/bin/true"]
        else:
            results.fail(names[0], PODMAN, "it is not installed")
        _rounds(names, systems, rounds, results)


def _rounds(names: tuple[str, str], systems: dict[str, list[str]], rounds: int, results: Results) -> None:
    for line in systems.values():
        _once(line)
    for number in range(rounds):
        for system, line in sorted(systems.items(), reverse=bool(number % 2)):
            taken = [_once(line) for _ in range(_TIMES)]
            for name, values in zip(names, zip(*taken, strict=True), strict=True):
                results.figures[name][system][number] = statistics.median(values)
            shown = " ".join(f"{results.figures[name][system][number]:.3g}" for name in names)
            print(f"{names[0]} {number + 1} {system:8s} {shown}", file=sys.stderr, flush=True)


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
