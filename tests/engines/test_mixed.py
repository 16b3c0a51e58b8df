"""A container that was started on one file system goes on with another: overlayfs, fuse-overlayfs, ours."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines.conftest import SMALL, Once, small_tar
from tests.engines.saved import differences
from tests.images.model import Tree, merged
from tests.support.podman import KERNEL, Engine

# Each leaves marks of every kind, and goes on with what the one before it left
STEPS = (
    "rm /srv/full/1; rm -r /srv/gone; echo a > /a; mkdir /d; echo 1 > /d/1; echo 2 > /d/2; chmod 700 /srv/full/2",
    "rm -r /srv/deep; mkdir /srv/deep; echo b > /srv/deep/b; rm /d/1; echo 3 > /d/3; mv /a /b; chmod 711 /srv/full/2",
    "mkdir /srv/gone; echo c > /srv/gone/c; rm -r /d; mkdir /d; echo 4 > /d/4; echo more >> /srv/full/3; ln /b /c",
    "cp -r /srv/deep /d/er; rm -r /srv/deep; mv /srv/moved /srv/m; rm /srv/full/3; echo 5 > /srv/full/1; mkdir /moved",
    "echo end >> /srv/m/sub/file; rm -r /srv/gone; mkdir /srv/gone; mv /srv/full /srv/old; rm /srv/old/9; echo z >> /c",
)
ORDERS = {
    "kernel": ("kernel", "ours", "kernel", "ours", "kernel"),
    "fuse": ("fuse", "ours", "fuse", "ours", "fuse"),
    "all": ("kernel", "ours", "fuse", "ours", "kernel"),
}

KINDS = {"kernel": "overlay", "ours": "fuse.cowfs", "fuse": "fuse.fuse-overlayfs"}


def start(place: Callable[[str], Engine], name: str) -> Engine:
    """Start the container on that file system; again, where a late clean-up wrote that a program is to mount."""
    for _ in range(5):
        engine = place(name)
        engine.podman("start", "c")
        if engine.kind("c") == KINDS[name]:
            return engine
        engine.podman("stop", "--time", "0", "c")
    raise AssertionError(f"it cannot be mounted by {name}")


def play(place: Callable[[str], Engine], order: tuple[str, ...], small: Path, directory: Path) -> Tree:
    """Take the steps, each on the next of ``order``; the tree at the end."""
    engine = place(order[0])
    engine.podman("import", "--quiet", str(small), SMALL)
    engine.podman("create", "--name", "c", SMALL, "sleep", "1000")
    for name, script in zip(order, STEPS, strict=True):
        engine = start(place, name)
        engine.podman("exec", "c", "sh", "-ec", script)
        engine.podman("stop", "--time", "0", "c")
    engine.podman("export", "-o", str(directory / "exported"), "c")
    return merged([(directory / "exported").read_bytes()])


@pytest.mark.parametrize("order", ORDERS)
def test_a_container_goes_on(
    order: str, engines: Callable[..., Engine], ours: Path, once: Once, tmp_path: Path
) -> None:
    programs = {"kernel": KERNEL, "ours": ours, "fuse": shutil.which("fuse-overlayfs")}

    def make(directory: Path) -> tuple[Path, float, Tree]:
        directory.mkdir()
        small, began = small_tar(directory), float(int(time.time()))
        pure = engines("kernel")
        return small, began, play(lambda _: pure, ("kernel",) * len(STEPS), small, directory)

    def mixed(name: str) -> Engine:
        engine = engines("mixed", programs[name])
        engine.forget_the_program()
        return engine

    small, began, right = once("mixed", make)
    told = play(mixed, ORDERS[order], small, tmp_path)
    assert differences(right, told, since=began) == {}
