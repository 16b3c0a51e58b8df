"""dockerd with a root of its own, on the ``fuse-overlayfs`` driver, which calls whatever has that name on the PATH.

Debian's package is not installed, as that would start a daemon: ``scripts/setup --test`` unpacks it.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]
PROGRAMS = TOP / "build" / "test-docker"  # unpacked packages
TIMEOUT = 300.0
# /run is the daemon's own: containerd's shims have their sockets there, wherever the rest is
_START = 'mount -t tmpfs -o mode=755 tmpfs /run && exec "$@"'


class Docker:
    """A daemon and its client; ``programs``: a directory with the program ``fuse-overlayfs``."""

    def __init__(self, programs: Path) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="docker-"))  # a short name: it has sockets
        path = [str(programs), *(str(PROGRAMS / part) for part in ("usr/sbin", "usr/bin")), os.environ["PATH"]]
        self.environment = {**os.environ, "PATH": ":".join(path), "DOCKER_BUILDKIT": "0", "HOME": str(self.place)}
        self._log = (self.place / "log").open("w")
        options = {
            "data-root": "data", "exec-root": "exec", "pidfile": "pid", "config-file": "config.json",
        }  # fmt: skip
        (self.place / "config.json").write_text("{}")
        self._daemon = subprocess.Popen(
            [
                "unshare", "--mount", "--propagation", "private", "sh", "-c", _START, "sh", self._program("dockerd"),
                *(f"--{name}={self.place / value}" for name, value in options.items()), f"--host={self._host}",
                "--storage-driver=fuse-overlayfs", "--iptables=false", "--ip6tables=false", "--bridge=none",
            ],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        self._wait()

    @property
    def _host(self) -> str:
        return f"unix://{self.place}/socket"

    def _program(self, name: str) -> str:
        found = shutil.which(name, path=self.environment["PATH"])
        assert found, f"{name} is missing: scripts/setup --test"
        return found

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while self.run("version").returncode:
            alive = self._daemon.poll() is None and time.monotonic() < end
            assert alive, (self.place / "log").read_text()[-3000:]
            time.sleep(0.1)

    def run(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """The client, to the end."""
        return subprocess.run(
            [self._program("docker"), "--host", self._host, *arguments],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, **more,
        )  # fmt: skip

    def docker(self, *arguments: str, **more: Any) -> str:
        """What the client prints; it must succeed."""
        done = self.run(*arguments, **more)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr[-3000:]}"
        text: str = done.stdout
        return text

    def mounts(self) -> list[str]:
        """What containers have mounted, in the daemon's namespace."""
        lines = Path(f"/proc/{self._daemon.pid}/mountinfo").read_text().splitlines()
        return [point for point in (line.split(" ")[4] for line in lines) if point.endswith("/merged")]

    def close(self) -> None:
        """Remove all containers, and end the daemon; its mounts go with its namespace."""
        containers = self.run("ps", "--all", "--quiet").stdout.split()
        if containers:
            self.run("rm", "--force", *containers)
        left = self.mounts()
        self._daemon.terminate()
        self._daemon.wait(timeout=60)
        self._log.close()
        shutil.rmtree(self.place)
        assert left == []
