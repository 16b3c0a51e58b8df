"""After kill -9 of the file system process: big files of which only parts were copied up are read right."""

import mmap
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

SIZE = 3 << 20
RANDOM = random.Random(1).randbytes(SIZE)


def write(file, offset, data):
    fd = os.open(file, os.O_WRONLY)
    os.pwrite(fd, data, offset)
    os.close(fd)


def through_a_mapping(file):
    with open(file, "r+b") as opened, mmap.mmap(opened.fileno(), SIZE) as view:
        view[1_500_000:1_500_004] = b"view"
        view.flush()


CHANGES = {
    "written": lambda top: write(top / "big", 1_000_001, b"new"),
    "written through a mapping": lambda top: through_a_mapping(top / "big"),
    "written and attributes": lambda top: (write(top / "big", 5, b"new"), os.chmod(top / "big", 0o4711)),
    "beyond the end": lambda top: write(top / "big", SIZE + 10_000, b"far"),
    "cut and grown": lambda top: (
        write(top / "big", 0, b"new"),
        os.truncate(top / "big", 2_000_001),
        write(top / "big", 2_900_000, b"again"),
    ),
    "renamed": lambda top: (write(top / "big", 77, b"new"), (top / "d").mkdir(), (top / "big").rename(top / "d/big")),
    "linked": lambda top: (write(top / "big", 77, b"new"), os.link(top / "big", top / "second")),
    "one of two names": lambda top: write(top / "name", 2_000_000, b"new"),
    "renamed and written": lambda top: ((top / "big").rename(top / "moved"), write(top / "moved", 4096, b"y" * 4096)),
}


def state(top: Path):
    return {
        os.fspath(path.relative_to(top)): (
            path.stat().st_mode,
            path.stat().st_size,
            path.stat().st_nlink,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(top.rglob("*"))
    }


def fill(top: Path):
    (top / "big").write_bytes(RANDOM)
    (top / "linked").write_bytes(RANDOM)
    os.link(top / "linked", top / "name")


def kill(mount):
    os.kill(mount.pid, signal.SIGKILL)
    os.waitpid(mount.pid, 0)
    subprocess.run(["umount", "-l", mount.merged], check=True)


@pytest.mark.parametrize("transport", ["auto", "plain"])
@pytest.mark.parametrize("change", CHANGES)
def test_parts_are_read_right_at_the_next_mount(mounted, change, transport):
    def check(mount):
        expected = mount.top / "expected"
        expected.mkdir()
        fill(expected)
        for top in (expected, mount.merged):
            CHANGES[change](top)
        wanted = state(expected)
        assert state(mount.merged) == wanted
        kill(mount)
        marks = {mark for path in mount.upper.rglob("*") for mark in os.listxattr(path)}
        assert "trusted.overlay.partial" in marks
        mount.start()
        assert state(mount.merged) == wanted
        write(next(path for path in mount.merged.rglob("*") if path.name in ("big", "moved", "name")), 9, b"more")
        later = state(mount.merged)
        kill(mount)
        mount.start()
        assert state(mount.merged) == later
        mount.stop()
        marks = {mark for path in mount.upper.rglob("*") for mark in os.listxattr(path)}
        assert not {"trusted.overlay.partial", "trusted.overlay.metacopy"} & marks
        mount.start()
        assert state(mount.merged) == later

    mounted(check, transport, prepare=lambda mount: fill(mount.lower))


def test_the_kernel_shows_the_lowers_bytes_of_what_a_kill_left(mounted):
    """As docs/format.md says; the attributes are those of the upper. A mount of ours makes it whole."""

    def shown(mount):
        options = f"lowerdir={mount.lower},upperdir={mount.upper},workdir={mount.top / 'work'}"
        options += ",redirect_dir=on,index=on,metacopy=on"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, mount.merged], check=True)
        try:
            return (mount.merged / "big").read_bytes(), (mount.merged / "big").stat().st_mode & 0o7777
        finally:
            subprocess.run(["umount", mount.merged], check=True)

    def check(mount):
        write(mount.merged / "big", 1_000_001, b"new")
        os.chmod(mount.merged / "big", 0o600)
        kill(mount)
        assert shown(mount) == (RANDOM, 0o600)
        mount.start()
        mount.stop()
        whole = RANDOM[:1_000_001] + b"new" + RANDOM[1_000_004:]
        assert shown(mount) == (whole, 0o600)
        mount.start()

    mounted(check, prepare=lambda mount: fill(mount.lower))
