"""Killed at every step (C04's kill -9, C07): what changes the disk is counted, and the process ends at each count."""

import errno
import functools
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cowfs.images.check import Report, check_image, check_layers, repair
from cowfs.images.sources import resolve
from cowfs.store import Store, descriptors
from tests.images.layouts import Layout
from tests.images.tars import DIRECTORY, SYMLINK, entry, tar, whiteout
from tests.support.dying import STEPS_AT_MOST, dies_after

LAYERS = [
    tar(entry(b"./", DIRECTORY), entry(b"d/a", data=b"1"), entry(b"d/l", SYMLINK, link=b"a")),
    tar(entry(b"two", data=b"2"), whiteout(b"d")),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def content(store: Store, text: str) -> list[bytes]:
    """One file of each layer, after the next command used the image."""
    bottom, top = (layer.directory for layer in resolve(text, store).layers)
    return [(bottom / "d/a").read_bytes(), (top / "two").read_bytes()]


def problems(store: Store) -> dict[str, tuple[str, ...]]:
    """What ``cowfs check`` finds."""
    reports: list[Report] = [check_image(store, image) for image in store.images()]
    check_layers(store, store.layers(), reports.append)
    return {report.name: report.problems for report in reports if report.problems}


def assert_only_what_is_listed(store: Store, images: int) -> None:
    assert os.listdir(store.root / "staging") == []
    assert len(store.images()) == images
    assert len(os.listdir(store.root / "images")) == images
    assert not (store.root / "locks/removal").exists()


def test_c04_the_order_of_a_commit(root: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut would show: data first, then the facts, then the name, then the directory that has the name."""
    steps: list[str] = []

    def recorded(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def record(*arguments: object, **options: object) -> object:
            what = os.readlink(f"/proc/self/fd/{arguments[0]}") if isinstance(arguments[0], int) else str(arguments[1])
            steps.append(f"{name} {Path(what).name if len(Path(what).name) < 64 else 'layer'}")
            return real(*arguments, **options)

        return record

    with Store.open(root) as store:
        text = layout.image(*LAYERS)
        monkeypatch.setattr("cowfs.store.layers.sync_file_system", recorded("syncfs", descriptors.sync_file_system))
        for name in ("rename", "fsync"):
            monkeypatch.setattr(os, name, recorded(name, getattr(os, name)))
        resolve(text, store)
    layer = ["fsync layer.json", "rename layer"]
    assert steps[:6] == ["syncfs sha256", *layer, *layer, "fsync sha256"]
    assert steps[-2:] == ["rename layer", "fsync images"]


def test_c04_an_import_that_is_killed_is_done_by_the_next_one(root: Path, layout: Layout) -> None:
    text = layout.image(*LAYERS, how="gzip")

    def work() -> None:
        with Store.open(root) as store:
            resolve(text, store)

    step = 0
    while dies_after(step, work):
        with Store.open(root) as store:
            assert os.listdir(root / "staging") == []
            for image in store.images():  # listed is complete
                assert all(store.layer(diff_id) for diff_id in image.diff_ids)
            assert step % 10 or not problems(store)
            assert content(store, text) == [b"1", b"2"]
            assert step % 10 or not problems(store)
            store.remove_image(text)
            assert_only_what_is_listed(store, 0)
        step += 1
        assert step < STEPS_AT_MOST
    assert step > 50, "nothing was counted"


def test_c07_a_removal_that_is_killed_is_finished_by_the_next_command(root: Path, layout: Layout) -> None:
    removed, kept = layout.image(*LAYERS, name="removed"), layout.image(LAYERS[0], name="kept")

    def work() -> None:
        with Store.open(root) as store:
            store.remove_image(removed)

    step = 0
    died = True
    while died:
        with Store.open(root) as store:
            resolve(removed, store)
            resolve(kept, store)
        died = dies_after(step, work)
        with Store.open(root) as store:
            images = {image.reference for image in store.images()}
            assert kept in images
            assert_only_what_is_listed(store, len(images))
            wanted = 2 if removed in images else 1
            assert len(os.listdir(root / "layers/sha256")) == wanted
            assert len(os.listdir(root / "blobs/sha256")) == 2 * len(images)
        step += 1
        assert step < STEPS_AT_MOST
    assert step > 20, "nothing was counted"


def test_c04_a_repair_that_is_killed_leaves_the_old_layer_or_the_new_one(root: Path, layout: Layout) -> None:
    text = layout.image(*LAYERS)

    def damage() -> None:
        with Store.open(root) as store:
            (resolve(text, store).layers[0].directory / "d/a").write_bytes(b"!")

    def work() -> None:
        with Store.open(root) as store:
            image = store.image(text)
            assert image is not None
            repair(store, image, {image.diff_ids[0]}, {}, lambda line: None)

    step, kept = 0, 0
    damage()
    while dies_after(step, work):
        with Store.open(root) as store:
            assert os.listdir(root / "staging") == []
            assert content(store, text) in ([b"!", b"2"], [b"1", b"2"])
            kept += content(store, text)[0] == b"!"
        damage()
        step += 1
        assert step < STEPS_AT_MOST
    assert 10 < kept < step
    with Store.open(root) as store:
        assert not problems(store)
        assert content(store, text) == [b"1", b"2"]
        assert_only_what_is_listed(store, 1)


def test_x02_a_system_call_that_fails_at_any_step_leaves_a_clean_store(root: Path, layout: Layout) -> None:
    """It is told, in the words of an error that we know, or it did not matter; and the next import is complete."""
    text = layout.image(*LAYERS, how="gzip")
    errors = itertools.cycle((errno.EIO, errno.EMFILE, errno.ENOMEM, errno.ENOSPC))

    def work() -> None:
        with Store.open(root) as store:
            resolve(text, store)

    def fail(code: int) -> None:
        raise OSError(code, os.strerror(code))

    step = 0
    while dies_after(step, work, blow=functools.partial(fail, next(errors))):
        with Store.open(root) as store:
            assert os.listdir(root / "staging") == []
            for image in store.images():
                assert all(store.layer(diff_id) for diff_id in image.diff_ids)
            assert step % 10 or not problems(store)
            assert content(store, text) == [b"1", b"2"]
            store.remove_image(text)
            assert_only_what_is_listed(store, 0)
        step += 1
        assert step < STEPS_AT_MOST
    assert step > 50, "nothing was counted"
