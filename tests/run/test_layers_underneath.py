"""X04: a layer of a stored image changes below a mount: what was changed fails or shows it, all else is as it was.

Then ``cowfs check`` says so, and ``--repair`` mends it once the mount is gone.
"""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.images.layouts import Layout, digest
from tests.images.tars import DIRECTORY, entry, tar

PROGRAM = [sys.executable, "-c", "from cowfs.cli.main import main; main()"]
NAMES = [f"f{number}" for number in range(8)]
CONTENT = {name: name.encode() * 3000 for name in NAMES}
LAYER = tar(entry(b"d/", DIRECTORY), *(entry(f"d/{name}".encode(), data=data) for name, data in CONTENT.items()))
TOP = tar(entry(b"top", data=b"top"))


def swap(path: Path) -> None:
    (path.parent / "new").write_bytes(b"swapped" * 1000)
    (path.parent / "new").rename(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "removed": os.unlink,
    "truncated": lambda path: os.truncate(path, 10),
    "swapped": swap,
    "a directory in its place": lambda path: (path.unlink(), path.mkdir()),
}


class Stored:
    """An image in a store, and the commands."""

    def __init__(self, top: Path) -> None:
        self.root, self.mnt = top / "store", top / "mnt"
        self.mnt.mkdir()
        self.image = Layout(top / "layout").image(LAYER, TOP)
        self.layer = self.root / "layers/sha256" / digest(LAYER)[7:] / "root"

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [*PROGRAM, "--root", str(self.root), *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    found = Stored(tmp_path)
    (tmp_path / "upper").mkdir()
    (tmp_path / "work").mkdir()
    layers = ("--upper", str(tmp_path / "upper"), "--work", str(tmp_path / "work"))
    done = found("mount", *layers, found.image, str(found.mnt))
    assert done.returncode == 0, done
    yield found
    found("umount", str(found.mnt))
    assert not os.path.ismount(found.mnt)


def read(path: Path) -> int | None:
    """How many bytes it has, or the errno."""
    try:
        return len(path.read_bytes())
    except OSError as error:
        return error.errno


@pytest.mark.parametrize(("what", "looked"), [*((what, "read before") for what in CHANGES), ("swapped", "never seen")])
def test_x04_a_lower_changes_below_a_mount(stored: Stored, what: str, looked: str) -> None:
    place = stored.mnt / "d"
    if looked == "read before":
        for name in NAMES:
            assert (place / name).read_bytes() == CONTENT[name]
    CHANGES[what](stored.layer / "d/f3")
    Path("/proc/sys/vm/drop_caches").write_text("2")
    for name in NAMES:
        if name != "f3":
            assert (place / name).read_bytes() == CONTENT[name]
    assert read(place / "f3") in (errno.ESTALE, errno.EIO, errno.ENOENT, errno.EISDIR, 10, 7000, len(CONTENT["f3"]))
    assert set(os.listdir(place)) >= set(NAMES) - {"f3"}
    (place / "f4").write_bytes(b"written")
    (place / "more").touch()
    assert (place / "f4").read_bytes() == b"written"
    done = stored("check")
    assert done.returncode == 1
    assert f"layer {digest(LAYER)[7:19]}: " in done.stderr
    done = stored("check", "--repair")  # a mount uses it
    assert done.returncode != 0
    assert "in use" in done.stderr
    assert stored("umount", str(stored.mnt)).returncode == 0
    assert stored("check", "--repair").returncode == 0
    assert stored("check").returncode == 0
    assert stored("mount", stored.image, str(stored.mnt)).returncode == 0
    assert {name: (place / name).read_bytes() for name in NAMES} == CONTENT
