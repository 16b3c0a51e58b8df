"""The store: who may use it, what is removed and what is not, damage, and several commands at once."""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cowfs.errors import NotFound, StoreError
from cowfs.images.sources import resolve
from cowfs.model import Base
from cowfs.store import Store
from cowfs.store.descriptors import try_lock
from cowfs.store.records import StoredLayer
from tests.images.layouts import Layout, digest
from tests.images.tars import DIRECTORY, entry, tar

ONE = tar(entry(b"./", DIRECTORY), entry(b"one", data=b"1"))
TWO = tar(entry(b"two", data=b"2"))
THREE = tar(entry(b"three", data=b"3"))


def listed(store: Store) -> set[str]:
    return set(os.listdir(store.root / "layers/sha256"))


def hexes(base: Base) -> list[str]:
    return [layer.diff_id[7:] for layer in base.layers]


def keep_run(store: Store, base: Base, name: str = "0123456789ab") -> Path:
    """What a run leaves: a record that names its layers."""
    run = store.runs_directory / name
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"lowers": [str(path) for path in base.lowers]}))
    return run


# --- opening


def test_a_store_is_private(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a/b/store") as store:
        assert stat.S_IMODE(os.stat(store.root).st_mode) == 0o700
        for part in os.listdir(store.root):
            assert stat.S_IMODE(os.stat(store.root / part).st_mode) == 0o700


def test_an_empty_directory_becomes_a_private_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o755)
    with Store.open(tmp_path / "store") as store:
        assert stat.S_IMODE(os.stat(store.root).st_mode) == 0o700


@pytest.mark.parametrize("made", [["images"], ["images", "blobs"]])
def test_a_store_that_was_left_half_made_is_finished(tmp_path: Path, made: list[str]) -> None:
    for name in made:
        (tmp_path / "store" / name).mkdir(parents=True, mode=0o700)
    (tmp_path / "store").chmod(0o700)
    with Store.open(tmp_path / "store") as store:
        assert {"images", "blobs", "layers", "runs"} <= set(os.listdir(store.root))


def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        Store.open(path)
    return str(caught.value)


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o755)
    (other / "file").write_text("x")
    assert "not a store and not empty" in refusal(other)
    assert os.listdir(other) == ["file"]
    assert stat.S_IMODE(os.stat(other).st_mode) == 0o755
    assert "cannot be used" in refusal(other / "file")


def test_a_store_of_somebody_else_or_open_to_others_is_refused(store: Store) -> None:
    os.chown(store.root, 1000, 1000)
    assert "belongs to uid 1000" in refusal(store.root)
    os.chown(store.root, 0, 0)
    store.root.chmod(0o755)
    assert f"chmod 700 {store.root}" in refusal(store.root)


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "ro").mkdir()
    script = 'mount -t tmpfs -o ro tmpfs "$1" && shift && exec "$@"'
    cowfs = [
        sys.executable,
        "-c",
        "from cowfs.cli.main import main; main()",
        "--root",
        str(tmp_path / "ro/store"),
        "images",
    ]
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(tmp_path / "ro"), *cowfs]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 125
    assert done.stderr == f"cowfs: the store {tmp_path}/ro/store cannot be used: Read-only file system\n"


# --- removal


def test_a_layer_goes_with_the_last_image_that_has_it(store: Store, layout: Layout) -> None:
    first, second = layout.image(ONE, TWO, name="a"), layout.image(ONE, THREE, name="b")
    one, two, three = hexes(resolve(first, store)) + hexes(resolve(second, store))[1:]
    assert list(store.remove_image(first).layers) == [two]
    assert listed(store) == {one, three}
    assert set(store.remove_image(second).layers) == {one, three}
    assert os.listdir(store.root / "blobs/sha256") == os.listdir(store.root / "staging") == []
    with pytest.raises(NotFound):
        store.remove_image(second)


def test_a_run_that_is_kept_keeps_its_layers(store: Store, layout: Layout) -> None:
    text = layout.image(ONE, TWO)
    base = resolve(text, store)
    run = keep_run(store, base)
    removed = store.remove_image(text)
    assert removed.layers == {}
    assert set(removed.in_use) == set(hexes(base)) == listed(store)
    assert set(removed.in_use.values()) == {(run.name,)}
    (run / "run.json").unlink()
    run.rmdir()
    assert set(store.collect().layers) == set(hexes(base))


def test_a_removal_that_a_damaged_run_stops_does_not_stop_other_commands(store: Store, layout: Layout) -> None:
    text = layout.image(ONE)
    run = keep_run(store, resolve(text, store))
    (run / "run.json").write_bytes(b"\0")
    with pytest.raises(StoreError, match=f"cowdiff rm {run.name}"):
        store.remove_image(text)
    said: list[str] = []
    with Store.open(store.root, said.append) as other:
        assert other.images() == []
    assert len(said) == 1
    assert said[0].endswith(f"cowdiff rm {run.name}")
    shutil.rmtree(run)
    Store.open(store.root).close()
    assert listed(store) == set()


def test_a_lease_keeps_layers_and_children_share_it(store: Store, layout: Layout) -> None:
    text = layout.image(ONE, TWO)
    base = resolve(text, store)
    lease = store.lease(base)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        lease.close()
        removed = store.remove_image(text)
        assert (removed.layers, set(removed.in_use.values())) == ({}, {()})
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert set(store.collect().layers) == set(hexes(base))
    with pytest.raises(NotFound):
        store.lease(base)


def test_a_record_of_a_run_that_cannot_be_read_keeps_everything(store: Store, layout: Layout) -> None:
    text = layout.image(ONE)
    base = resolve(text, store)
    run = keep_run(store, base)
    (run / "run.json").write_text("{")
    with pytest.raises(StoreError, match="cowdiff rm 0123456789ab"):
        store.remove_image(text)
    assert listed(store) == set(hexes(base))


def test_no_lease_is_needed_for_directories(store: Store) -> None:
    with store.lease(resolve("@host", store)):
        pass


# --- staging


def test_what_a_dead_maker_left_is_swept_and_what_a_living_one_has_is_not(store: Store) -> None:
    staging = store.root / "staging"
    (staging / "dead/root/deep").mkdir(parents=True)
    (staging / "file").write_text("x")
    build = store.stage_layer()
    Store.open(store.root).close()
    (left,) = os.listdir(staging)
    assert os.path.samestat(os.stat(staging / left), os.fstat(build.entry.fd))
    build.close()
    assert os.listdir(staging) == []


# --- damage


def test_x08_a_damaged_record_of_an_image_is_set_aside(store: Store, layout: Layout) -> None:
    texts = {name: layout.image(ONE, name=name) for name in ("a", "b")}
    for text in texts.values():
        resolve(text, store)
    record = next(path for path in (store.root / "images").iterdir() if b'layout:a"' in path.read_bytes())
    whole = record.read_bytes()
    said: list[str] = []
    with Store.open(store.root, said.append) as other:
        for broken in (
            b"",
            b"{}",
            whole[:-10],
            whole.replace(b"layout:a", b"layout:c"),
            whole.replace(b"sha256:", b"sha256;"),
            b"\xff",
        ):
            record.write_bytes(broken)
            assert [image.reference for image in other.images()] == [texts["b"]]
            assert "damaged" in said.pop()
            assert not record.exists()
        assert len(resolve(texts["a"], other).layers) == 1
        assert len(other.images()) == 2
        other.remove_image(texts["b"])
    assert len(os.listdir(store.root / "images")) == 1


@pytest.mark.parametrize("broken", [b"", b"{}", b"null", b"[" * 100_000, b'{"format": 2}'])
def test_x08_a_damaged_layer_is_imported_again(store: Store, layout: Layout, broken: bytes) -> None:
    text = layout.image(ONE, TWO)
    base = resolve(text, store)
    record = base.layers[0].directory.parent / "layer.json"
    record.write_bytes(broken)
    (base.layers[0].directory / "one").unlink()
    again = resolve(text, store)
    assert (again.layers[0].directory / "one").read_bytes() == b"1"
    assert os.listdir(store.root / "staging") == []


def test_x08_a_damaged_layer_in_use_is_not_taken_away(store: Store, layout: Layout) -> None:
    text = layout.image(ONE)
    base = resolve(text, store)
    (base.layers[0].directory.parent / "layer.json").write_bytes(b"")
    with store.lease(base), pytest.raises(StoreError, match="in use"):
        resolve(text, store)
    assert (base.layers[0].directory / "one").exists()


@pytest.mark.parametrize("broken", [b"", b"{}"])
def test_x08_a_damaged_blob_is_found(store: Store, layout: Layout, broken: bytes) -> None:
    text = layout.image(ONE)
    resolve(text, store)
    for blob in (store.root / "blobs/sha256").iterdir():
        blob.write_bytes(broken)
    with pytest.raises(StoreError, match="import the image again"):
        resolve(text, store)


# --- several at once


IMPORT = """
import sys
from pathlib import Path
from cowfs.images.sources import resolve
from cowfs.store import Store
with Store.open(Path(sys.argv[1])) as store:
    for text in sys.argv[2:]:
        base = resolve(text, store)
        with store.lease(base):
            assert all((layer.directory).is_dir() for layer in base.layers)
"""


def importer(store: Store, *texts: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", IMPORT, str(store.root), *texts], stderr=subprocess.PIPE)


def finish(process: "subprocess.Popen[bytes]") -> None:
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint.decode()


def test_e17_x05_imports_at_once_one_of_them_killed(store: Store, layout: Layout) -> None:
    """Each layer is unpacked by one of them, in any order of layers, and nothing is left of the one that died."""
    many = tar(*(entry(b"%d/%d" % (number % 50, number), data=b"x" * 2000) for number in range(3000)))
    texts = [layout.image(many, ONE, name="a", how="gzip"), layout.image(ONE, many, name="b", how="gzip")]
    processes = [importer(store, *texts[:: 1 if number % 2 else -1]) for number in range(5)]
    time.sleep(0.3)
    processes[0].kill()
    processes[0].communicate()
    for process in processes[1:]:
        finish(process)
    assert len(listed(store)) == 2
    Store.open(store.root).close()
    assert os.listdir(store.root / "staging") == []
    assert {image.reference for image in store.images()} == set(texts)
    assert sum(len(files) for _, _, files in os.walk(resolve(texts[0], store).layers[0].directory)) == 3000


def test_x05_who_comes_second_waits_and_takes_what_the_first_one_made(store: Store, layout: Layout) -> None:
    text = layout.image(ONE)
    diff_id = digest(ONE)
    program = IMPORT.replace("Path(sys.argv[1])", "Path(sys.argv[1]), say=lambda line: print(line, flush=True)")
    with store.importing([diff_id]):
        command = [sys.executable, "-c", program, str(store.root), text]
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert second.stdout.readline() == f"waiting for another command that imports layer {diff_id[7:19]}\n"
        assert os.listdir(store.root / "staging") == []
        build = store.stage_layer()
        build.facts = StoredLayer(diff_id, len(ONE), 2, False)
        inode = os.fstat(build.root_fd).st_ino
        store.commit_layers([build])
        build.close()
    _, complaint = second.communicate(timeout=60)
    assert second.returncode == 0, complaint
    assert os.stat(store.layer_directory(diff_id)).st_ino == inode


def test_x06_a_config_that_went_since_the_record_was_read(store: Store) -> None:
    with pytest.raises(StoreError, match="import the image again"):
        store.blob(digest(b"gone"), 100)


def test_x06_removal_while_others_import(store: Store, layout: Layout) -> None:
    """Whoever imported an image can use it, whatever is removed meanwhile."""
    texts = [layout.image(ONE, TWO, name="a"), layout.image(ONE, THREE, name="b"), layout.image(ONE, name="c")]
    program = """
import sys
from pathlib import Path
from cowfs.errors import NotFound
from cowfs.store import Store
with Store.open(Path(sys.argv[1])) as store:
    while not Path(sys.argv[2]).exists():
        for text in sys.argv[3:]:
            try:
                store.remove_image(text)
            except NotFound:
                pass
"""
    using = """
import sys
from pathlib import Path
from cowfs.errors import NotFound, StoreError
from cowfs.images.sources import resolve
from cowfs.store import Store
used = 0
with Store.open(Path(sys.argv[1])) as store:
    for _ in range(60):
        for text in sys.argv[2:]:
            try:
                base = resolve(text, store)
                lease = store.lease(base)
            except (NotFound, StoreError) as error:
                assert "again" in str(error), error
                continue
            with lease:
                for layer in base.layers:
                    assert (layer.directory.parent / "layer.json").read_bytes()
                used += 1
assert used
"""
    stop = store.root.parent / "stop"
    commands = [[sys.executable, "-c", using, str(store.root), *texts]] * 2
    commands.append([sys.executable, "-c", program, str(store.root), str(stop), *texts])
    *users, remover = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    try:
        for process in users:
            finish(process)
    finally:
        stop.touch()
        finish(remover)
    assert os.listdir(store.root / "staging") == []


def test_x07_a_lock_of_a_dead_process_is_free_and_a_living_one_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = store.root / "locks"
    (locks / "store").touch()  # as a process leaves it that was killed
    monkeypatch.setattr("cowfs.store.store._STORE_PATIENCE", 1.3)
    said: list[str] = []
    with Store.open(store.root, said.append) as other:
        other.collect()
        assert said == []
        fd = os.open(locks / "store", os.O_RDWR)
        assert try_lock(fd)
        with pytest.raises(StoreError, match=f"fuser -v {locks}/store"):
            other.collect()
        assert said == ["waiting for another command that changes the store"]
        os.close(fd)
        other.collect()
