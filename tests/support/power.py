"""A file system of its own (ext4 on a loop device) whose power can be cut, and a store on it.

The shutdown ioctl ends it: nothing that was not written by then will be. What the journal holds is lost as well, or it
is written just before: then names are there and the bytes of files are not, if nobody synced them.
"""

import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from cowfs.images.check import Report, check_image, check_layers
from cowfs.store import Store
from tests.support.dying import STEPS_AT_MOST, dies_after

STEPS = ("rename", "fsync", "unlink", "mkdir", "rmdir", "link")
EXT4_IOC_SHUTDOWN = 0x8004587D
LOG_LOST, LOG_WRITTEN = 2, 1


class Disk:
    """A file system whose power can be cut."""

    def __init__(self, path: Path) -> None:
        self.image, self.mounted = path / "disk", path / "mounted"
        self.mounted.mkdir()
        with self.image.open("wb") as file:
            file.truncate(32 << 20)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True)
        self.mount()
        self.store = self.mounted / "store"

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.mounted], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.mounted], check=True)

    def cut(self, flags: int) -> None:
        fd = os.open(self.mounted, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, flags.to_bytes(4, "little"))

    def power_on(self) -> None:
        self.unmount()
        self.mount()


def at_every_step(disk: Disk, flags: int, work: Callable[[], None], after: Callable[[Store], None]) -> int:
    """Cut the power before each step of ``work``; ``after`` looks at what is there then. The number of steps."""
    step = 0
    while dies_after(step, work, counted=STEPS, blow=lambda: disk.cut(flags)):
        disk.power_on()
        with Store.open(disk.store) as store:
            assert os.listdir(disk.store / "staging") == []
            assert_right(store)
            after(store)
            assert_right(store)
        os.sync()
        step += 1
        assert step < STEPS_AT_MOST
    return step


def assert_right(store: Store) -> None:
    """Everything that is listed is what it was, whole."""
    reports: list[Report] = [check_image(store, image) for image in store.images()]
    check_layers(store, store.layers(), reports.append)
    assert not {report.name: report.problems for report in reports if report.problems}
    listed = set(store.layers())
    assert all(listed.issuperset(image.diff_ids) for image in store.images())
