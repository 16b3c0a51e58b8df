"""Scenes for the diff: a base, changes made to it through the kernel's overlayfs, and an independent look at both.

``Scene.changes`` is the code under test; ``snapshot`` reads whole trees the plain way and shares nothing with it.
"""

import hashlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from cowfs.cli.diffs.render import line
from cowfs.model import Base, LayerInfo, Run
from cowfs.runs.changes import Change
from cowfs.runs.scan import scan
from cowfs.runs.trees import base_of
from cowfs.store import Store
from cowfs.store.runs import Runs

OPTIONS = {
    "full": "redirect_dir=on,metacopy=on,index=on",  # every mark that overlayfs can write
    "plain": "redirect_dir=off,metacopy=off,index=off",
}

# "exchange A B" and "attribute NAME VALUE FILE" are not in every machine's shell
PRELUDE = """umask 022
attribute() { python3 -c 'import os, sys; os.setxattr(sys.argv[3], sys.argv[1], sys.argv[2].encode())' "$@"; }
exchange() { python3 -c 'import ctypes, sys
old, new = (name.encode() for name in sys.argv[1:])
sys.exit(ctypes.CDLL(None).renameat2(-100, old, -100, new, 2))' "$@"; }"""


class File(NamedTuple):
    """Everything about one file of a tree that a comparison may look at."""

    kind: int
    mode: int
    owner: tuple[int, int]
    content: str
    rdev: int
    xattrs: tuple[tuple[str, bytes], ...]
    mtime_ns: int


def snapshot(top: Path) -> dict[str, File]:
    """Every file of a small tree, by its path from ``top``, which is "/"."""
    found = {"/": _file(top)}
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            path = Path(directory, name)
            found["/" + str(path.relative_to(top))] = _file(path)
    return found


def _file(path: Path) -> File:
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    content = ""
    if kind == stat.S_IFREG:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif kind == stat.S_IFLNK:
        content = os.readlink(path)
    names = [name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("trusted.overlay.")]
    xattrs = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names))
    mode = 0 if kind == stat.S_IFLNK else stat.S_IMODE(status.st_mode)
    return File(kind, mode, (status.st_uid, status.st_gid), content, status.st_rdev, xattrs, status.st_mtime_ns)


class Scene:
    """Lower directories (``lower`` is the bottom one) and one run over them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lower = directory / "lower"
        self.merged = directory / "merged"
        self.lowers = [self.lower]
        self.volumes: tuple[str, ...] = ()
        self.hidden: tuple[Path, ...] = ()
        self.host = False
        self.started = 0.0
        for name in ("lower", "merged", "upper", "work"):
            (directory / name).mkdir()
            (directory / name).chmod(0o755)

    @property
    def upper(self) -> Path:
        return self.directory / "upper"

    @property
    def run(self) -> Run:
        return Run(
            "0" * 12,
            self.directory,
            "dir:lower",
            tuple(self.lowers),
            ("sh",),
            host=self.host,
            hidden=self.hidden,
            volumes=self.volumes,
            started=self.started,
        )

    def base(self, script: str) -> None:
        """Run a shell script in the lower directory. Everything in it gets an old time, so that a new one shows."""
        sh(script, self.lower)
        for path in [*self.lower.rglob("*"), self.lower]:
            os.utime(path, (1e9, 1e9), follow_symlinks=False)

    @contextmanager
    def mounted(self, options: str = "full") -> Iterator[Path]:
        """The kernel's overlayfs over the scene."""
        lowers = ":".join(map(str, self.lowers))
        layers = f"lowerdir={lowers},upperdir={self.upper},workdir={self.directory / 'work'},{OPTIONS[options]}"
        subprocess.run(["mount", "-t", "overlay", "cowdiff-test", "-o", layers, self.merged], check=True, timeout=20)
        try:
            yield self.merged
        finally:
            subprocess.run(["umount", self.merged], check=True, timeout=20)

    def change(self, script: str, options: str = "full") -> dict[str, File]:
        """Run a shell script in the merged tree; the tree as it left it."""
        with self.mounted(options) as merged:
            sh(script, merged)
            return snapshot(merged)

    def changes(self) -> list[Change]:
        """What cowdiff says."""
        with base_of(self.run) as before:
            return scan(self.run, before)

    def shell(self, script: str, directory: Path) -> None:
        """Run a shell script."""
        sh(script, directory)

    def lines(self) -> list[str]:
        """The same as ``cowdiff show`` prints it."""
        return [line(change) for change in self.changes()]


def sh(script: str, directory: Path) -> None:
    """Run a shell script in a directory; any command that fails fails the test."""
    shell = subprocess.Popen(
        ["sh", "-euc", f"{PRELUDE}\n{script}"], cwd=directory, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        assert shell.wait(timeout=60) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture(name="snapshot")
def snapshot_function() -> Callable[[Path], dict[str, File]]:
    return snapshot


MAIN = "from cowdiff.main import main; main()"
Cowdiff = Callable[..., subprocess.CompletedProcess[str]]
MakeRun = Callable[..., Run]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    Store.open(root).close()
    return root


@pytest.fixture
def cowdiff(store: Path) -> Cowdiff:
    """Run the command; a traceback fails any test."""

    def call(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*call.command, *arguments],  # type: ignore[attr-defined]
            env=os.environ | call.environment | environment,  # type: ignore[attr-defined]
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        assert "Traceback" not in done.stderr
        return done

    call.command = [sys.executable, "-c", MAIN]  # type: ignore[attr-defined]
    call.environment = {"COWFS_ROOT": str(store), "TZ": "UTC"}  # type: ignore[attr-defined]
    return call


@pytest.fixture
def make_run(store: Path, tmp_path: Path) -> MakeRun:
    """Make a run over a small base whose ``script`` is done through the kernel's overlayfs."""
    lower = tmp_path / "lower"
    (lower / "etc").mkdir(parents=True)
    (lower / "doc/deep").mkdir(parents=True)
    (lower / "etc/passwd").write_text("root:x:0:0\n")
    (lower / "doc/one").write_text("1\n")
    (lower / "doc/deep/two").write_text("2\n")
    for path in (lower, *lower.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    merged = tmp_path / "merged"
    merged.mkdir()

    def make(
        script: str, *, name: str = "", seal: bool = True, status: int = 0, index: str = "off", **more: object
    ) -> Run:
        base = Base("dir:lower", (LayerInfo(1, lower),))
        run, lock = Runs(store).create(base, ["sh", "-c", script], name=name, **more)  # type: ignore[arg-type]
        marks = f"redirect_dir=on,metacopy=on,index={index}"
        layers = f"lowerdir={lower},upperdir={run.upper},workdir={run.work},{marks}"
        subprocess.run(["mount", "-t", "overlay", "cowdiff-test", "-o", layers, merged], check=True, timeout=20)
        try:
            subprocess.run(["sh", "-euc", f"umask 022\n{script}"], cwd=merged, check=True, timeout=20)
        finally:
            subprocess.run(["umount", merged], check=True, timeout=20)
        if not seal:
            make.locks.append(lock)  # type: ignore[attr-defined]
            return run
        lock.close()
        return Runs(store).seal(run, status)

    make.locks = []  # type: ignore[attr-defined]
    make.base = lambda script: sh(script, lower)  # type: ignore[attr-defined]
    return make
