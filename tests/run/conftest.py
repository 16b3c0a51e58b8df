"""Real runs: a store and a small root of its own for each test, and the proof that nothing was left behind.

Needs root, /dev/fuse, and a statically linked busybox.
"""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pexpect
import pytest
from cowrun.cgroups import PREFIX, hierarchies

from cowfs.model import Run, RunState
from cowfs.store.runs import Runs

PROGRAM = [sys.executable, "-c", "from cowrun.main import main; main()"]
PROMPT = "ready> "
APPLETS = (
    "sh", "cat", "ls", "ps", "echo", "true", "false", "sleep", "id", "pwd", "touch", "rm", "mkdir", "mknod",
    "mount", "umount", "hostname", "env", "stty", "tty", "kill", "grep", "ln", "chmod", "readlink", "dd", "stat",
    "seq", "wc", "head", "test", "sed", "nc", "ip", "chroot", "cmp", "mv", "uniq",
)  # fmt: skip
TIMEOUT = 30.0
_GROUP_FILES = ("mountinfo", "cgroup")


def wait_until(true: Callable[[], object], seconds: float = TIMEOUT) -> None:
    """Fail if it does not become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class Launcher:
    """``cowrun`` with a store of its own. What it starts carries ``token``, on the host and inside."""

    store: Path
    root: str  # the small root, as typed for IMAGE
    token: str
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the launcher: the tests' own."""
        return os.environ | {"COWRUN_TEST": self.token}

    def line(self, *arguments: str) -> list[str]:
        """The command line."""
        return [*PROGRAM, "--root", str(self.store), "-e", "COWRUN_TEST", *arguments]

    def run(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run to the end, without a terminal."""
        more = {"stdin": subprocess.DEVNULL} | more if "input" not in more else more
        return subprocess.run(
            self.line(*arguments),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env=self.environment | more.pop("env", {}),
            check=False,
            **more,
        )

    def inside(self, script: str, *options: str) -> str:
        """What a shell script in the small root prints; it must succeed."""
        result = self.run(*options, self.root, "sh", "-c", script)
        assert result.returncode == 0, result
        return result.stdout

    def shell_alone(self, script: str) -> subprocess.CompletedProcess[str]:
        """A script of the host's shell in a mount namespace of its own."""
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script],
            capture_output=True, text=True, timeout=2 * TIMEOUT, env=self.environment, check=False,
        )  # fmt: skip

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """Start, with pipes."""
        process = subprocess.Popen(
            self.line(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            **more,
        )
        self.started.append(process)
        return process

    def start_ready(self, script: str, *options: str) -> subprocess.Popen[str]:
        """Start a script in the small root that says ``up`` when it is ready."""
        process = self.start(*options, self.root, "sh", "-c", script)
        assert process.stdout
        line = process.stdout.readline()
        assert line == "up\n", (line, process.stderr and process.stderr.read())
        return process

    def terminal(self, *arguments: str, size: tuple[int, int] = (24, 80)) -> "pexpect.spawn[str]":
        """Start in a terminal of ``size`` (rows, columns); a shell has PROMPT."""
        line = self.line("-e", f"PS1={PROMPT}", *arguments)
        return pexpect.spawn(
            line[0], line[1:], env=self.environment, dimensions=size, timeout=TIMEOUT, encoding="utf-8", echo=True
        )

    @property
    def runs(self) -> list[Run]:
        """The runs of the store, the newest first."""
        return Runs(self.store).list()

    @property
    def upper(self) -> Path:
        """The changes of the last run."""
        return self.runs[0].upper

    def groups(self) -> list[str]:
        """The control groups of the store's runs, in every hierarchy that is mounted."""
        trees = {tree.mountpoint for tree in hierarchies(*(Path("/proc/self", n).read_text() for n in _GROUP_FILES))}
        ids = {f"{PREFIX}{run.id}" for run in self.runs}
        found = (path for tree in trees for path in glob.iglob(f"{tree}/**/{PREFIX}*", recursive=True))
        return [path for path in found if os.path.basename(path) in ids]

    def processes(self) -> list[int]:
        """Everything that runs for this test: by its environment, or by a mount that only it can have."""
        token, store = f"COWRUN_TEST={self.token}".encode(), os.fsencode(self.store)
        found = []
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            with contextlib.suppress(OSError):
                proc = Path("/proc", str(pid))
                if token in (proc / "environ").read_bytes() or store in (proc / "mountinfo").read_bytes():
                    found.append(pid)
        return found

    def container(self) -> int:
        """The container's first process, by its number on the host."""
        wait_until(lambda: any(self._is_first(pid) for pid in self.processes()))
        return next(pid for pid in self.processes() if self._is_first(pid))

    def _is_first(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            proc = Path("/proc", str(pid))
            numbers = status_field((proc / "status").read_text(), "NSpid").split()
            return numbers[1:] == ["1"] and b"cowrun.inside" not in (proc / "cmdline").read_bytes()
        return False


@pytest.fixture
def small_root(tmp_path: Path) -> Iterator[Path]:
    """A root with busybox and the usual files; whatever umask earlier tests left, here it is the usual one."""
    umask = os.umask(0o022)
    try:
        yield _small_root(tmp_path)
    finally:
        os.umask(umask)


def _small_root(tmp_path: Path) -> Path:
    busybox = shutil.which("busybox")
    assert busybox, "busybox is missing: apt-get install busybox-static"
    root = tmp_path / "root"
    for name in ("bin", "etc", "root", "tmp", "srv"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:50:App:/srv:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\nstaff:x:50:\ndev:x:60:app\n")
    (root / "bin" / "plain").write_text("no program\n")
    return root


@pytest.fixture
def cowrun(tmp_path: Path, small_root: Path) -> Iterator[Launcher]:
    """The launcher; afterwards no mount, no process and no unfinished run may be left."""
    before = mounts()
    launcher = Launcher(tmp_path / "store", f"dir:{small_root}", hashlib.sha256(os.fsencode(tmp_path)).hexdigest()[:16])
    yield launcher
    for process in launcher.started:
        process.kill()
        with process:
            pass
    wait_until(lambda: not launcher.processes(), 10)
    left = [line for line in mounts() - before if os.fsencode(tmp_path) in line]
    assert not left
    assert all(run.state is not RunState.RUNNING for run in launcher.runs)
    assert launcher.groups() == []
    staging = launcher.store / "staging"
    assert not staging.exists() or os.listdir(staging) == []


def mounts() -> set[bytes]:
    """The mounts of the tests' own namespace, which is the host's."""
    return set(Path("/proc/self/mountinfo").read_bytes().splitlines())


@pytest.fixture
def image(tmp_path: Path, small_root: Path) -> Callable[..., str]:
    """The small root as an OCI layout with a config."""

    def make(**config: Any) -> str:
        layout = tmp_path / "layout"
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)

        def blob(data: bytes, kind: str) -> dict[str, Any]:
            name = hashlib.sha256(data).hexdigest()
            (blobs / name).write_bytes(data)
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{name}", "size": len(data)}

        tree = BytesIO()
        with tarfile.open(fileobj=tree, mode="w") as tar:
            tar.add(small_root, ".")
        layer = blob(tree.getvalue(), "layer.v1.tar")
        rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
        full = {"os": "linux", "architecture": _architecture(), "config": config, "rootfs": rootfs}
        body = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(json.dumps(full).encode(), "config.v1+json"),
            "layers": [layer],
        }
        manifest = blob(json.dumps(body).encode(), "manifest.v1+json")
        manifest["annotations"] = {"org.opencontainers.image.ref.name": "test"}
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
        (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        return f"oci:{layout}:test"

    return make


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def status_field(text: str, name: str) -> str:
    """A field of /proc/PID/status."""
    return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(f"{name}:"))
