"""The file systems that are compared: how each is mounted over a lower and a fresh upper. Used by ``measuring``.

All run inside the private mount and process namespaces of scripts/bench, where this process is the first one: what a
mount leaves behind is ours to reap.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OURS: Final = "cowfs"
PLAIN: Final = "cowfs-plain"
KERNEL: Final = "overlayfs"
FUSE: Final = "fuse-overlayfs"
PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where one mount has its parts."""

    lower: Path
    upper: Path
    work: Path
    mountpoint: Path

    def overlay_options(self) -> str:
        """The words that overlayfs and fuse-overlayfs have in common."""
        return f"lowerdir={self.lower},upperdir={self.upper},workdir={self.work}"


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A name and the command that mounts; the command returns when the mount is usable."""

    name: str
    command: Callable[[Place], list[str]]


@dataclass(frozen=True, slots=True)
class Mount:
    """A live mount."""

    place: Place
    daemons: tuple[int, ...]
    seconds_to_start: float


def known(commands: Path) -> dict[str, FileSystem]:
    """All file systems by name; ``commands``: the directory with the command ``cowfs``."""

    def ours(place: Place, transport: str) -> list[str]:
        layers = [f"dir:{place.lower}", "--upper", str(place.upper), "--work", str(place.work)]
        return [str(commands / "cowfs"), "mount", "--transport", transport, *layers, str(place.mountpoint)]

    return {
        system.name: system
        for system in (
            FileSystem(OURS, lambda place: ours(place, "auto")),
            FileSystem(PLAIN, lambda place: ours(place, "plain")),
            FileSystem(
                KERNEL,
                lambda place: ["mount", "-t", "overlay", "bench", "-o", place.overlay_options(), str(place.mountpoint)],
            ),
            FileSystem(FUSE, lambda place: ["fuse-overlayfs", "-o", place.overlay_options(), str(place.mountpoint)]),
        )
    }


@contextlib.contextmanager
def mounted(system: FileSystem, lower: Path, directory: Path) -> Iterator[Mount]:
    """A mount with a fresh upper in ``directory``, which is emptied before and removed after."""
    shutil.rmtree(directory, ignore_errors=True)
    place = Place(lower, directory / "upper", directory / "work", directory / "merged")
    for path in (place.upper, place.work, place.mountpoint):
        path.mkdir(parents=True)
    before = _processes()
    begin = time.perf_counter()
    with (directory / "log").open("w") as log:
        subprocess.run(
            system.command(place), check=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    os.listdir(place.mountpoint)
    seconds = time.perf_counter() - begin
    daemons = tuple(_processes() - before)
    try:
        yield Mount(place, daemons, seconds)
    finally:
        _unmount(place.mountpoint, daemons)
        subprocess.run(["rm", "-rf", "--one-file-system", str(directory)], check=True)


def resident(pid: int) -> int:
    """Bytes in memory that belong to a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    """The time that all threads of a process ran, to the nanosecond where the kernel counts it."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def _processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _unmount(mountpoint: Path, daemons: tuple[int, ...]) -> None:
    if subprocess.run(["umount", str(mountpoint)], capture_output=True, timeout=PATIENCE).returncode:
        subprocess.run(["umount", "--lazy", str(mountpoint)], check=True, timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    for pid in daemons:
        while os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > deadline:
                os.kill(pid, 9)
            time.sleep(0.01)
