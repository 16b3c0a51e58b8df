"""An ordinary user of the machine, with numbers given to it, and devices that it may open.

All of that is made up: it is mounted in the tests' own mount namespace, and nothing of the machine is changed.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from tests.run.conftest import wait_until
from tests.support.namespaces import check, libc

MS_BIND, MNT_DETACH = 0x1000, 2
UID = 23456
PLACE = Path("/mnt")  # everybody may enter it: the directory of the tests is root's
PROJECT = Path(__file__).parents[2]
INTERPRETER = os.path.realpath(sys.executable)  # the environment may lie where only root can go
DEVICES = {"fuse": (10, 229), "net/tun": (10, 200)}
MAIN = "from {0}.main import main; main()"


class Person(NamedTuple):
    """An ordinary user."""

    ids: int

    def line(self, program: str, *arguments: str) -> list[str]:
        """A command line of one of our programs."""
        return [INTERPRETER, "-c", MAIN.format(program), *arguments]

    @property
    def options(self) -> dict[str, Any]:
        """How a process is started as this user."""
        path = ":".join(map(str, (PLACE / "project" / part for part in ("", "launcher", "tools"))))
        site = f"{path}:{PLACE}/site"
        environment = {"PATH": "/usr/bin:/bin:/usr/sbin", "HOME": f"{PLACE}/home", "PYTHONPATH": site}
        return {"user": UID, "group": UID, "extra_groups": (), "cwd": f"{PLACE}/home", "env": environment}

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            self.line(program, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **self.options,
        )

    def inside(self, script: str, *options: str) -> str:
        """What a shell script in the small root prints; it must succeed."""
        done = self.run("cowrun", *options, f"dir:{PLACE}/root", "sh", "-c", script)
        assert done.returncode == 0, done
        return done.stdout

    @property
    def home(self) -> Path:
        return PLACE / "home"

    def program(self, path: Path, main: str) -> Path:
        """A program of ours as one file; ``main``: its text."""
        path.parent.mkdir(parents=True, exist_ok=True)
        where = self.options["env"]["PYTHONPATH"].split(":")
        path.write_text(f"#!{INTERPRETER}\nimport sys\nsys.path[:0] = {where!r}\n{main}\n")
        path.chmod(0o755)
        return path

    @property
    def store(self) -> Path:
        """Where the user's runs and images are."""
        return PLACE / "home" / ".local" / "share" / "cowfs"


def mount(source: Path | str, target: Path | str, kind: bytes | None = None, flags: int = 0, data: str = "") -> None:
    libc.mount.argtypes = (*(ctypes.c_char_p,) * 3, ctypes.c_ulong, ctypes.c_char_p)
    check(libc.mount(os.fsencode(source), os.fsencode(target), kind, flags, data.encode()))


@contextmanager
def ordinary_user(ids: int, *, root: Path | None = None, home: Path | None = None) -> Iterator[Person]:
    """The user, with the project, the packages and a home where they can be read.

    ``ids``: how many numbers it has; ``root``: is copied, to PLACE/root; ``home``: a directory for its home, which is
    else in memory.
    """
    mounted = [PLACE]
    mount("tests", PLACE, b"tmpfs", 0, "mode=755")
    try:
        for name in ("project", "site", "home"):
            (PLACE / name).mkdir()
        if home is not None:
            mount(home, PLACE / "home", None, MS_BIND)
            mounted.append(PLACE / "home")
        os.chown(PLACE / "home", UID, UID)
        if root is not None:
            shutil.copytree(root, PLACE / "root", symlinks=True)
        site = sysconfig.get_paths()["purelib"]
        assert Path(click.__file__).is_relative_to(site)
        binds = {PROJECT: PLACE / "project", Path(site): PLACE / "site"}
        for name, numbers in DEVICES.items():
            made = PLACE / name.replace("/", "-")
            os.mknod(made, 0o20666, os.makedev(*numbers))
            made.chmod(0o666)
            binds[made] = Path("/dev", name)
        given = f"person:300000:{ids - 1}\n" if ids > 1 else ""
        account = f"person:x:{UID}:{UID}::{PLACE}/home:/bin/sh\n"
        for name, content in (("subuid", given), ("subgid", given), ("passwd", account)):
            before = Path("/etc/passwd").read_text() if name == "passwd" else ""
            (PLACE / name).write_text(before + content)
            Path("/etc", name).touch()
            binds[PLACE / name] = Path("/etc", name)
        for source, target in binds.items():
            mount(source, target, None, MS_BIND)
            mounted.append(target)
        yield Person(ids)
        wait_until(lambda: not processes(), 10)
    finally:
        for target in reversed(mounted):
            check(libc.umount2(os.fsencode(target), MNT_DETACH))


def processes() -> list[str]:
    """What is still there that belongs to the user or to one of its numbers."""
    found = []
    for proc in Path("/proc").iterdir():
        try:
            if proc.name.isdigit() and proc.stat().st_uid in (UID, *range(300000, 365536)):
                found.append((proc / "comm").read_text())
        except OSError:
            continue
    return found
