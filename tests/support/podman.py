"""podman and buildah with a store of their own, on a mount program of the tests' choice or on the kernel's overlayfs.

Everything is said in files, as an administrator would: storage.conf and containers.conf. Locks are files, as the
usual ones in shared memory are those of all stores of the machine.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pexpect

from tests.run.conftest import wait_until

TOP = Path(__file__).parents[2]
TIMEOUT = 300.0
KERNEL = ""  # instead of a program: the kernel's overlayfs
# Without a network: that of root's builds is a bridge of the machine, which stays there. A chroot has the machine's.
BUILDERS = {
    "podman": ("podman", "build", "--network", "none"),
    "buildah": ("buildah", "bud", "--layers", "--network", "none"),
    "buildah-chroot": ("buildah", "bud", "--layers", "--isolation", "chroot"),
}
_CLEANING = ("/usr/bin/conmon", "/usr/bin/podman")
_CONTAINERS = """
[containers]
netns = "none"
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{place}/tmp"
"""
_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{place}/store"
runroot = "{place}/run"
"""
_PROGRAM = """
[storage.options.overlay]
mount_program = "{program}"
"""


def short_directory() -> Path:
    """For an engine: podman takes no directory for what runs that has more than 50 characters."""
    return Path(tempfile.mkdtemp(prefix="e"))


def program(directory: Path, name: str = "cowfs-overlay") -> Path:
    """Our mount program, of this checkout, as a file that can be executed; COWFS_TEST_MOUNT_PROGRAM names another."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    other = os.environ.get("COWFS_TEST_MOUNT_PROGRAM")
    if other:
        path.symlink_to(other)
        return path
    sources = [str(TOP / part) for part in ("", "launcher", "tools")]
    lines = (f"#!{sys.executable}", "import sys", f"sys.path[:0] = {sources!r}", MAIN)
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


MAIN = "from cowfs.cli.overlay import main\nmain()"


@dataclass
class Engine:
    """podman and buildah; ``place`` has the store and all else that they keep."""

    place: Path
    program: Path | str = KERNEL
    more: dict[str, Any] = field(default_factory=dict)  # how its processes are started, for subprocess

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        name = os.path.basename(self.program) or "kernel"
        self._storage = self.place / f"storage-{name}.conf"
        added = _PROGRAM.format(program=self.program) if self.program else ""
        self._storage.write_text(_STORAGE.format(place=self.place) + added)
        self._containers = self.place / "containers.conf"
        self._containers.write_text(_CONTAINERS.format(place=self.place))
        self.give(self.place)

    def give(self, top: Path) -> None:
        """What we made below ``top`` becomes the user's."""
        if "user" in self.more:
            for path in (top, *top.rglob("*")):
                os.chown(path, self.more["user"], self.more["group"], follow_symlinks=False)

    @property
    def environment(self) -> dict[str, str]:
        ours = {"CONTAINERS_CONF": str(self._containers), "CONTAINERS_STORAGE_CONF": str(self._storage)}
        ours["COWFS_ROOT"] = str(self.place / "cowfs")  # where journals of builds are kept
        return {**os.environ, "TMPDIR": str(self.place), **self.more.get("env", {}), **ours}

    def run(self, *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command line that begins with ``podman`` or ``buildah``, to the end."""
        words = {"capture_output": True, "text": True, "timeout": TIMEOUT, "stdin": subprocess.DEVNULL, "cwd": "/"}
        if "input" in more:
            del words["stdin"]
        return subprocess.run(command, **{**words, **self.more, **more, "env": self.environment})

    def podman(self, *arguments: str, **more: Any) -> str:
        """What podman prints; it must succeed."""
        return self.run_well("podman", *arguments, **more)

    def run_well(self, *command: str, **more: Any) -> str:
        """What a command prints; it must succeed."""
        done = self.run(*command, **more)
        assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stderr[-3000:]}"
        text: str = done.stdout
        return text

    def build(self, *arguments: str, builder: str = "podman", **more: Any) -> str:
        """What a builder prints; it must succeed."""
        return self.run_well(*BUILDERS[builder], *arguments, **more)

    def terminal(self, *arguments: str) -> "pexpect.spawn[str]":
        """podman in a terminal."""
        return pexpect.spawn(
            "podman", list(arguments), env=self.environment, timeout=60, encoding="utf-8", dimensions=(24, 80)
        )

    def inspect(self, what: str, template: str) -> str:
        return self.podman("inspect", "--format", template, what).strip()

    def merged(self, container: str) -> str:
        """Where the file system of a running container is mounted."""
        return self.inspect(container, "{{.GraphDriver.Data.MergedDir}}")

    def forget_the_program(self) -> None:
        """Remove what the driver keeps to know that a program mounted its layers: it would not go back to the kernel.

        When all that cleans up after a container ended is at its end: it is written again by that.
        """
        wait_until(lambda: not any(command_line(pid).startswith(_CLEANING) for pid in self.processes()))
        (self.place / "store/overlay/.has-mount-program").unlink(missing_ok=True)

    def kind(self, container: str) -> str:
        """The type of the file system of a running container: ``overlay``, or a program's."""
        (found,) = (line for line in self._mountinfo() if line.split(" ")[4] == self.merged(container))
        return found.partition(" - ")[2].split(" ")[0]

    # --- what is there

    def mounts(self) -> list[str]:
        """Mount points below ``place``, the innermost last."""
        points = (line.split(" ")[4] for line in self._mountinfo())
        return [point for point in points if point.startswith(f"{self.place}/")]

    def _mountinfo(self) -> list[str]:
        """Of the namespace in which podman mounts: an ordinary user's is another one than ours."""
        pid = next(self._pausing(), "self")
        with contextlib.suppress(OSError):  # it is gone, or going: EINVAL
            return Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        return []

    def overlays(self) -> list[str]:
        """Those of containers: nothing of podman's own."""
        return [point for point in self.mounts() if point.endswith("/merged")]

    def processes(self) -> list[int]:
        """Every process whose command line or environment names ``place``."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            proc = Path("/proc", str(pid))
            name = os.fsencode(self.place)
            return pid != os.getpid() and (
                name in (proc / "cmdline").read_bytes() or name in (proc / "environ").read_bytes()
            )
        return False

    def servers(self, mountpoint: str) -> list[int]:
        """The processes that serve a FUSE mount: they have its mount point in their command line."""
        return [pid for pid in self.all_servers() if _last_argument(pid) == mountpoint]

    def all_servers(self) -> list[int]:
        """The processes that serve any mount of a container."""
        return [pid for pid in self.processes() if _last_argument(pid).endswith("/merged")]

    def close(self) -> None:
        """Remove every container, and what podman leaves behind on purpose; fails where more was left."""
        self.run("podman", "rm", "--all", "--force", "--time", "0")
        self.run("buildah", "rm", "--all")
        left = self.overlays()
        self._end_pausing()
        self._unmount()
        end = time.monotonic() + 60
        while (processes := self.processes()) and time.monotonic() < end:
            self._end_pausing()  # a late clean-up of podman's begins another
            time.sleep(0.05)
        assert (left, [command_line(pid) for pid in processes]) == ([], [])
        self._unmount()  # a late clean-up of podman's has made its store a mount point again
        shutil.rmtree(self.place)

    def _unmount(self) -> None:
        for point in reversed(self.mounts()):
            subprocess.run(["umount", "--lazy", point], check=False)

    def _pausing(self) -> Iterator[int]:
        """The process that keeps the user namespace of a rootless podman."""
        with contextlib.suppress(OSError, ValueError):  # the store changes meanwhile
            for path in self.place.rglob("pause.pid"):
                yield int(path.read_text())

    def _end_pausing(self) -> None:
        for pid in self._pausing():
            if pid in self.processes():  # the number may be another's by now
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _last_argument(pid: int) -> str:
    with contextlib.suppress(OSError):
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")[-1])
    return ""
