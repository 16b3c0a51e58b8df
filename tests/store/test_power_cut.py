"""C04, C05: the power goes at every step of an import and of a removal.

A file system of its own (ext4 on a loop device) is shut down by its ioctl: nothing that was not written by then will
be, as after a power cut. Once what the journal holds is lost as well, once it was written just before: then names are
there and the bytes of files are not, if nobody synced them.
"""

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cowfs.images.check import Report, check_image, check_layers
from cowfs.images.sources import resolve
from cowfs.store import Store
from tests.images.layouts import Layout
from tests.images.tars import DIRECTORY, entry, tar, whiteout
from tests.store.dying import STEPS_AT_MOST, dies_after

DATA = bytes(range(256)) * 40
LAYERS = [
    tar(entry(b"./", DIRECTORY), *(entry(b"d/%d" % number, data=DATA) for number in range(5))),
    tar(entry(b"two", data=DATA), whiteout(b"d/4")),
]
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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.unmount()


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


@pytest.mark.parametrize("flags", [LOG_LOST, LOG_WRITTEN])
def test_c04_the_power_goes_at_every_step_of_an_import(disk: Disk, layout: Layout, flags: int) -> None:
    text = layout.image(*LAYERS, how="gzip")

    def work() -> None:
        with Store.open(disk.store) as store:
            resolve(text, store)

    def after(store: Store) -> None:
        base = resolve(text, store)
        assert [(layer.directory / "two").exists() for layer in base.layers] == [False, True]
        store.remove_image(text)
        assert store.layers() == []

    steps = at_every_step(disk, flags, work, after)
    assert steps > 10, "nothing was counted"


@pytest.mark.parametrize("flags", [LOG_LOST, LOG_WRITTEN])
def test_c05_c07_the_power_goes_at_every_step_of_a_removal(disk: Disk, layout: Layout, flags: int) -> None:
    removed, kept = layout.image(*LAYERS, name="removed"), layout.image(LAYERS[0], name="kept")

    def again(store: Store) -> None:
        resolve(removed, store)
        resolve(kept, store)

    def work() -> None:
        with Store.open(disk.store) as store:
            store.remove_image(removed)

    def after(store: Store) -> None:
        assert kept in {image.reference for image in store.images()}
        again(store)

    with Store.open(disk.store) as store:
        again(store)
    os.sync()
    steps = at_every_step(disk, flags, work, after)
    assert steps > 5, "nothing was counted"
    with Store.open(disk.store) as store:
        assert [image.reference for image in store.images()] == [kept]
        assert len(store.layers()) == 1
