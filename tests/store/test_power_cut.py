"""C04, C05: the power goes at every step of an import and of a removal.

Once what the journal holds is lost as well, once it was written just before (tests/support/power.py).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cowfs.images.sources import resolve
from cowfs.store import Store
from tests.images.layouts import Layout
from tests.images.tars import DIRECTORY, entry, tar, whiteout
from tests.support.power import LOG_LOST, LOG_WRITTEN, Disk, at_every_step

DATA = bytes(range(256)) * 40
LAYERS = [
    tar(entry(b"./", DIRECTORY), *(entry(b"d/%d" % number, data=DATA) for number in range(5))),
    tar(entry(b"two", data=DATA), whiteout(b"d/4")),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.unmount()


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
