"""Mounts as container engines make them, by our program, by fuse-overlayfs and by the kernel: the last two are right.

Each scene is one container's directories below a single one, over a base of two layers that holds something of all.
"""

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAMS = ("cowfs-overlay", "fuse-overlayfs", "overlay")
OURS = [sys.executable, "-c", "from cowfs.cli.overlay import main; main()"]
TOP = Path(__file__).parents[2]
# Names of one file of a lower are nodes of their own, which only the C library shows as one (docs/podman.md)
SHOWN_AS_ONE = os.environ.get("COWFS_TRANSPORT") != "plain"


def call(*arguments: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Our program, called as an engine does: its output is read to the end, which comes when nobody holds it open."""
    words = [*OURS, *map(os.fspath, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.fspath(TOP), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=environment, timeout=60)


class Scene:
    """The layers and the directories of one container."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.upper, self.work, self.merged = top / "diff", top / "work", top / "merged"
        for path in (top, self.upper, self.work, self.merged):
            path.mkdir(exist_ok=True)
        self.lowers: list[Path] = []
        self.mounted = False

    def lower(self, name: str) -> Path:
        """One more layer, above those that are there."""
        path = self.top / name
        path.mkdir()
        self.lowers.insert(0, path)
        return path

    def options(self, *more: str, read_only: bool = False) -> str:
        words = ["lowerdir=" + ":".join(map(str, self.lowers))]
        if not read_only:
            words += [f"upperdir={self.upper}", f"workdir={self.work}"]
        return ",".join([*words, *more])

    def mount(self, program: str, *more: str, read_only: bool = False) -> None:
        options = self.options(*more, read_only=read_only)
        if program == "cowfs-overlay":
            done = call("-o", options, self.merged)
        elif program == "fuse-overlayfs":
            done = subprocess.run([program, "-o", options, self.merged], capture_output=True, text=True, timeout=60)
        else:
            words = ["mount", "-t", "overlay", "overlay", "-o", options, self.merged]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        self.mounted = True

    def umount(self) -> None:
        subprocess.run(["umount", self.merged], check=True)
        self.mounted = False

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", self.merged], check=True)

    def next_layer(self) -> None:
        """What an engine does when it commits: the upper is a layer, and there is a new one."""
        layer = self.top / f"committed{len(self.lowers)}"
        self.upper.rename(layer)
        self.lowers.insert(0, layer)
        self.upper.mkdir()
        subprocess.run(["rm", "-rf", self.work], check=True)
        self.work.mkdir()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Callable[[str], Scene]]:
    made: list[Scene] = []

    def make(name: str = "container") -> Scene:
        made.append(Scene(tmp_path / name))
        return made[-1]

    yield make
    for one in made:
        one.close()


def fill(scene: Scene) -> None:
    """Two layers with something of all that programs change."""
    base, top = scene.lower("base"), scene.lower("top")
    (base / "etc").mkdir()
    for name in ("passwd", "group", "removed", "renamed", "replaced"):
        (base / "etc" / name).write_text(f"{name} of the base\n")
    (base / "big").write_bytes(os.urandom(1 << 21))
    os.utime(base / "big", ns=(10**18, 10**18))
    (base / "link").symlink_to("etc/passwd")
    os.mkfifo(base / "fifo")
    os.chown(base / "fifo", 3, 4)
    (base / "tree" / "sub").mkdir(parents=True)
    (base / "tree" / "file").write_text("in the tree\n")
    (base / "tree" / "sub" / "deep").write_text("deep\n")
    (base / "gone").mkdir()
    (base / "gone" / "file").write_text("gone\n")
    (base / "one").write_text("two names\n")
    (base / "two").hardlink_to(base / "one")
    (base / "setuid").write_text("#!/bin/true\n")
    (base / "setuid").chmod(0o4755)
    os.chown(base / "etc" / "group", 1000, 1001)
    os.setxattr(base / "etc" / "group", "user.kept", b"value")
    (top / "tree").mkdir(mode=0o700)
    (top / "tree" / "added").write_text("by the top\n")


def first_steps(root: Path) -> None:
    """What a container does."""
    (root / "etc" / "passwd").write_text("changed\n")
    (root / "etc" / "group").chmod(0o600)
    (root / "etc" / "removed").unlink()
    (root / "etc" / "renamed").rename(root / "etc" / "moved")
    (root / "etc" / "new").write_text("new\n")
    subprocess.run(["rm", "-rf", root / "gone"], check=True)
    (root / "gone").mkdir()
    (root / "gone" / "again").write_text("made again\n")
    subprocess.run(["mv", root / "tree", root / "moved-tree"], check=True)
    os.chown(root / "big", 7, 8)
    with (root / "big").open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"changed")
    (root / "two").write_text("parted\n")
    os.chown(root / "link", 5, 5, follow_symlinks=False)
    (root / "work").mkdir()
    (root / "work" / "a").write_text("a\n")
    (root / "work" / "b").hardlink_to(root / "work" / "a")
    with contextlib.suppress(PermissionError):  # root of a user namespace makes no devices
        os.mknod(root / "work" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(root / "work" / "a", "user.mine", b"mine")


def second_steps(root: Path) -> None:
    """What it does when it is started again."""
    (root / "etc" / "removed").write_text("back\n")
    (root / "etc" / "passwd").unlink()
    (root / "etc" / "replaced").unlink()
    (root / "etc" / "replaced").mkdir()
    (root / "etc" / "replaced" / "file").write_text("in what was a file\n")
    (root / "gone" / "file").write_text("another file of that name\n")
    subprocess.run(["rm", "-rf", root / "gone"], check=True)
    (root / "tree").mkdir()
    (root / "moved-tree" / "file").chmod(0o640)
    (root / "moved-tree" / "sub").rmdir() if not any((root / "moved-tree" / "sub").iterdir()) else None
    subprocess.run(["rm", "-rf", root / "moved-tree" / "sub"], check=True)
    (root / "work" / "b").write_text("both\n")
    (root / "fifo").unlink()
    os.symlink("nowhere", root / "fifo")
    (root / "setuid").rename(root / "work" / "setuid")


def tree(root: Path, *, marks: bool = False, numbers: bool = False) -> dict[str, object]:
    """Every path with what an image would keep of it. ``marks``: those of overlayfs that decide what is shown."""
    found: dict[str, object] = {}
    first: dict[tuple[int, int], str] = {}
    for where, directories, files in os.walk(root):
        for name in sorted([*directories, *files]):
            path = Path(where, name)
            status = path.lstat()
            relative = os.fspath(path.relative_to(root))
            facts: dict[str, object] = {
                "mode": oct(status.st_mode), "owner": (status.st_uid, status.st_gid), "rdev": status.st_rdev,
            }  # fmt: skip
            if stat.S_ISREG(status.st_mode):
                facts["bytes"] = hash(path.read_bytes())
                facts["same as"] = first.setdefault((status.st_dev, status.st_ino), relative)
            elif stat.S_ISLNK(status.st_mode):
                facts["to"] = os.readlink(path)
            wanted = ("user.", "security.") + (("trusted.overlay.opaque", "trusted.overlay.redirect") if marks else ())
            facts["attributes"] = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if key.startswith(wanted) and not key.startswith(("user.fuseoverlayfs.", "user.overlay."))
            }
            found[relative] = facts
    return found
