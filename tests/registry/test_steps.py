"""C04: a pull that is killed, or loses its power, at any step; and what is damaged afterwards is pulled again."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cowfs.images.reference import parse_reference
from cowfs.images.registry.pull import Registries, pull
from cowfs.store import Store
from tests.images.layouts import Layout, digest
from tests.images.tars import DIRECTORY, entry, tar, whiteout
from tests.registry.conftest import Commands
from tests.support.dying import STEPS_AT_MOST, dies_after
from tests.support.power import LOG_WRITTEN, Disk, assert_right, at_every_step
from tests.support.registry import Registry

DATA = bytes(range(256)) * 40
LAYERS = [
    tar(entry(b"./", DIRECTORY), *(entry(b"d/%d" % number, data=DATA) for number in range(3))),
    tar(entry(b"two", data=DATA), whiteout(b"d/2")),
]


@pytest.fixture
def name(registry: Registry, layout: Layout) -> str:
    """An image of a registry."""
    layout.image(*LAYERS, how="gzip")
    registry.add(layout.path)
    return f"{registry.name}/image:image"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.unmount()


def pulling(root: Path, name: str, home: Path) -> Callable[[], None]:
    def work() -> None:
        with Store.open(root) as store:
            pull(Registries.configured({"HOME": str(home)}), store, parse_reference(name))

    return work


def test_c04_the_power_goes_at_every_step_of_a_pull(disk: Disk, name: str, home: Path) -> None:
    work = pulling(disk.store, name, home)

    def after(store: Store) -> None:
        work()
        (image,) = store.images()
        assert image.diff_ids == tuple(map(digest, LAYERS))
        store.remove_image(image.reference)
        assert store.layers() == []

    assert at_every_step(disk, LOG_WRITTEN, work, after) > 10, "nothing was counted"


def test_c04_a_pull_that_is_killed_is_done_by_the_next_one(tmp_path: Path, name: str, home: Path) -> None:
    root = tmp_path / "store"
    work = pulling(root, name, home)
    step = 0
    while dies_after(step, work, counted=("rename", "fsync", "unlink", "mkdir", "pwrite", "mknod", "setxattr")):
        with Store.open(root) as store:
            assert os.listdir(root / "staging") == []
            for image in store.images():
                assert all(store.layer(diff_id) for diff_id in image.diff_ids)
            work()
            assert_right(store)
            (image,) = store.images()
            store.remove_image(image.reference)
        step += 1
        assert step < STEPS_AT_MOST
    assert step > 15, "nothing was counted"


def test_x08_what_is_damaged_is_pulled_again(cowfs: Commands, registry: Registry, layout: Layout, name: str) -> None:
    """By its digest: the tag may be on another image by then."""
    cowfs.pull(name)
    file = cowfs.layer(digest(LAYERS[0])) / "d/0"
    before = file.stat()
    file.write_bytes(DATA[:-1] + b"!")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    (layout.path / "index.json").unlink()
    layout.entries.clear()
    layout.image(tar(entry(b"another", data=b"1")))
    registry.add(layout.path)
    blobs = len(registry.asked("GET", "/blobs/"))
    assert cowfs("check").returncode == 1
    done = cowfs("check", "--repair")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "3 layers and images checked: all as they came")
    assert file.read_bytes() == DATA
    assert len(registry.asked("GET", "/blobs/")) == blobs + 1, "only what is damaged is downloaded"
