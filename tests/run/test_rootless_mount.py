"""``cowfs mount`` as an ordinary user: by fusermount3, read-only, seen by that user alone; nothing is left after it."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.images.layouts import Layout
from tests.images.tars import DIRECTORY, entry, tar, whiteout
from tests.run.conftest import wait_until
from tests.run.test_rootless import PLACE, UID, Person, person

__all__ = ["person"]

LAYERS = (
    tar(entry(b"etc", DIRECTORY), entry(b"etc/shadow", data=b"secret", mode=0o600), entry(b"gone", data=b"1")),
    tar(whiteout(b"gone"), entry(b"app", data=b"2")),
)


@pytest.fixture
def image(person: Person) -> str:
    layout = Layout(PLACE / "home/layout")
    text = layout.image(*LAYERS)
    for path in (PLACE / "home").rglob("*"):
        os.chown(path, UID, UID)
    return text


def _as(person: Person, *line: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        line, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL, **person.options
    )


def _mounts() -> str:
    return Path("/proc/self/mounts").read_text()


def _mount(person: Person, *arguments: str) -> Path:
    target = PLACE / "home/mnt"
    assert _as(person, "mkdir", "-p", str(target)).returncode == 0
    done = person.run("cowfs.cli", "mount", *arguments, str(target))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert f"{target} fuse.cowfs ro,nosuid,nodev" in _mounts()
    return target


@pytest.mark.parametrize("end", [["cowfs.cli", "umount"], ["fusermount3", "-u"]])
def test_a_mount_of_the_users_own(person: Person, image: str, end: list[str]) -> None:
    target = _mount(person, image)
    assert _as(person, "cat", f"{target}/etc/shadow", f"{target}/app").stdout == "secret2"
    assert _as(person, "ls", str(target)).stdout.split() == ["app", "etc"]
    assert _as(person, "touch", f"{target}/new").returncode == 1
    with pytest.raises(PermissionError):
        os.stat(target)  # not even root's
    listed = person.run("cowfs.cli", "mounts")
    assert f"{target}  {image}  ro" in listed.stdout, listed
    if end[0] == "cowfs.cli":
        ended = person.run(*end, str(target))
    else:
        ended = _as(person, *end, str(target))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert str(target) not in _mounts()


def test_each_layer(person: Person, image: str) -> None:
    target = _mount(person, "--layers", image)
    seen = _as(person, "find", str(target), "-name", "*gone").stdout
    assert ".wh.gone" in seen
    assert "/upto/01/gone" in seen
    assert _as(person, "fusermount3", "-u", str(target)).returncode == 0


def test_a_killed_process_leaves_no_mount(person: Person, image: str) -> None:
    target = _mount(person, image)
    (server,) = [
        int(proc.name)
        for proc in Path("/proc").iterdir()
        if proc.name.isdigit() and _serves(proc)
    ]  # fmt: skip
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: str(target) not in _mounts(), 10)


def _serves(proc: Path) -> bool:
    try:
        is_users = f"\nUid:\t{UID}\t" in (proc / "status").read_text()
        return is_users and any(os.readlink(link) == "/dev/fuse" for link in (proc / "fd").iterdir())
    except OSError:
        return False


def test_what_needs_root_and_what_cannot_be(person: Person, image: str) -> None:
    home = PLACE / "home"
    assert _as(person, "mkdir", str(home / "up"), str(home / "work"), str(home / "mnt")).returncode == 0
    done = person.run("cowfs.cli", "mount", "--upper", "up", "--work", "work", image, "mnt")
    said = "cowfs: a mount with an upper needs root: run it with sudo (cowrun works without)\n"
    assert (done.returncode, done.stderr) == (125, said)
    done = person.run("cowfs.cli", "mount", image, "/usr/share/doc")
    assert done.returncode == 125
    assert done.stderr.count("\n") == 1, done.stderr
    assert str(home) not in _mounts()
