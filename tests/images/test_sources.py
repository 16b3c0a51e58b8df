"""From what is typed to a base: layouts, archives, the store, and what is wrong with them (E14, E16, X03)."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cowfs.errors import BrokenImage, CowfsError, NotFound, UsageError
from cowfs.images.host import hidden_directories
from cowfs.images.sources import resolve
from cowfs.model import Base
from cowfs.store import Store
from tests.images import layouts, tars
from tests.images.layouts import DOCKER_LAYER, LAYER, MANIFEST, Layout, docker_archive, packed
from tests.images.tars import DIRECTORY, HARD_LINK, SYMLINK, entry, opaque, tar

ONE = tar(entry(b"./", DIRECTORY), entry(b"one", data=b"1"))
TWO = tar(entry(b"two", data=b"2"))


def names(base: Base) -> list[list[str]]:
    """What the layers hold, the bottom one first."""
    return [sorted(os.listdir(layer.directory)) for layer in base.layers]


def assert_nothing_is_left(store: Store) -> None:
    """Neither listed nor staged."""
    for part in ("layers/sha256", "images", "blobs/sha256", "staging"):
        assert os.listdir(store.root / part) == []


# --- directories and the host


def test_the_host_is_one_layer(store: Store) -> None:
    base = resolve("@host", store)
    assert (base.host, base.lowers) == (True, (Path("/"),))


def test_what_the_host_hides(store: Store) -> None:
    hidden = hidden_directories(store)
    assert {Path("/proc"), Path("/sys"), Path("/dev"), Path("/run"), store.root} <= hidden
    assert Path("/") not in hidden
    assert not [path for path in hidden if hidden.intersection(path.parents)]


def test_a_directory_is_one_layer(store: Store, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    os.symlink("tree", tmp_path / "link")
    base = resolve(f"dir:{tmp_path}/link", store)
    assert base.lowers == (tmp_path / "tree",)
    assert (base.digest, base.host) == ("", False)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("dir:", UsageError, "names no path"),
        ("dir:/nowhere", NotFound, "no directory"),
        ("dir:/etc/passwd", UsageError, "not a directory"),
        ("oci:/nowhere", NotFound, "no file or directory"),
        ("oci:/etc/passwd", UsageError, "oci-archive:"),
        ("oci-archive:/etc", UsageError, "oci:"),
        ("docker-archive:/etc", UsageError, "not an archive"),
        ("docker-archive:/etc/passwd", BrokenImage, "not an archive"),
        ("oci:/etc", BrokenImage, "index.json"),
        ("nothing", NotFound, "cowfs pull brings it"),
        ("/etc", UsageError, "dir:/etc"),
        ("Debian", UsageError, "lower case"),
    ],
)
def test_mistakes_get_one_line(store: Store, text: str, error: type[CowfsError], words: str) -> None:
    with pytest.raises(error) as caught:
        resolve(text, store)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# --- layouts


@pytest.mark.parametrize("how", ["none", "gzip", "zstd"])
def test_a_layout(store: Store, layout: Layout, how: str) -> None:
    base = resolve(layout.image(ONE, TWO, how=how), store)
    assert names(base) == [["one"], ["two"]]
    assert [layer.number for layer in base.layers] == [1, 2]
    assert [layer.created_by for layer in base.layers] == ["step 1", "step 2"]
    assert [layer.size for layer in base.layers] == [len(ONE), len(TWO)]
    assert base.config.cmd == ("sh",)
    assert base.digest == layout.entries[0]["digest"]


def test_compressions_may_be_mixed_and_docker_does_not_say_which(store: Store, layout: Layout) -> None:
    docker = [layout.blob(packed(layer, how), DOCKER_LAYER) for layer, how in ((ONE, "zstd"), (TWO, "none"))]
    assert names(resolve(layout.image(ONE, TWO, descriptors=docker), store)) == [["one"], ["two"]]


def test_an_index_in_the_layout(store: Store, layout: Layout) -> None:
    here = layout.manifest([ONE], platform={"os": "linux", "architecture": "amd64"})
    there = layout.manifest([TWO], platform={"os": "linux", "architecture": "arm64"})
    body = {"schemaVersion": 2, "mediaType": layouts.INDEX, "manifests": [there, here]}
    base = resolve(layout.tag("multi", layout.document(body, layouts.INDEX)), store)
    wanted = {"x86_64": ["one"], "aarch64": ["two"]}[os.uname().machine]
    assert names(base) == [wanted]


def test_tags(store: Store, layout: Layout) -> None:
    layout.image(ONE, name="a")
    assert names(resolve(f"oci:{layout.path}", store)) == [["one"]]
    layout.image(TWO, name="b:with/colon")
    assert names(resolve(f"oci:{layout.path}:b:with/colon", store)) == [["two"]]
    with pytest.raises(NotFound, match="a, b:with/colon"):
        resolve(f"oci:{layout.path}", store)
    with pytest.raises(NotFound, match="a, b:with/colon"):
        resolve(f"oci:{layout.path}:c", store)


def test_a_layer_is_unpacked_once_for_all_images(store: Store, layout: Layout) -> None:
    first = resolve(layout.image(ONE, TWO, name="a", how="gzip"), store)
    inode = os.stat(first.layers[0].directory).st_ino
    second = resolve(layout.image(ONE, name="b", how="zstd"), store)
    assert second.layers[0].directory == first.layers[0].directory
    assert os.stat(second.layers[0].directory).st_ino == inode
    assert len(os.listdir(store.root / "layers/sha256")) == 2


def test_the_same_layer_twice_in_an_image(store: Store, layout: Layout) -> None:
    assert names(resolve(layout.image(ONE, ONE), store)) == [["one"], ["one"]]


def test_a_tag_that_moved_is_followed(store: Store, layout: Layout) -> None:
    text = layout.image(ONE)
    resolve(text, store)
    layout.entries.clear()
    layout.image(TWO)
    assert names(resolve(text, store)) == [["two"]]
    assert len(store.images()) == 1


def test_an_image_outlives_its_layout(store: Store, layout: Layout) -> None:
    text = layout.image(ONE)
    resolve(text, store)
    shutil.rmtree(layout.path)
    assert names(resolve(text, store)) == [["one"]]


def test_layers_that_show_nothing_are_left_out_of_a_mount(store: Store, layout: Layout) -> None:
    hides = tar(opaque(), entry(b"new"))
    text = layout.image(ONE, hides, tar(), TWO)
    base = resolve(text, store)
    assert [layer.number for layer in base.layers] == [2, 4]
    assert [layer.number for layer in resolve(text, store, every_layer=True).layers] == [1, 2, 3, 4]


def test_an_image_of_an_empty_layer_has_one(store: Store, layout: Layout) -> None:
    assert names(resolve(layout.image(tar()), store)) == [[]]


# --- archives


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress], ids=["plain", "gzip"])
def test_an_archive_of_a_layout(store: Store, layout: Layout, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    layout.image(ONE, TWO, name="t", how="gzip")
    (tmp_path / "a:b.tar").write_bytes(pack(layout.archive()))
    assert names(resolve(f"oci-archive:{tmp_path}/a:b.tar", store)) == [["one"], ["two"]]
    assert names(resolve(f"oci-archive:{tmp_path}/a:b.tar:t", store)) == [["one"], ["two"]]


@pytest.mark.parametrize("old", [True, False], ids=["old", "new"])
def test_what_docker_saved(store: Store, tmp_path: Path, old: bool) -> None:
    data = docker_archive([ONE, TWO, ONE], ["app:1", "ghcr.io/a/app:2"], old=old)
    (tmp_path / "saved.tar").write_bytes(data)
    for name in ("", ":app:1", ":docker.io/library/app:1", ":ghcr.io/a/app:2"):
        base = resolve(f"docker-archive:{tmp_path}/saved.tar{name}", store)
        assert names(base) == [["one"], ["two"], ["one"]]
    with pytest.raises(NotFound, match="app:1"):
        resolve(f"docker-archive:{tmp_path}/saved.tar:other", store)


def test_links_of_an_archive_lead_to_members_only(store: Store, tmp_path: Path) -> None:
    config = json.dumps(layouts.config_of([ONE, ONE])).encode()
    layers = ["a/layer.tar", "b/layer.tar"]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [], "Layers": layers}]).encode()
    members = [
        entry(b"a/layer.tar", data=ONE),
        entry(b"config.json", data=config),
        entry(b"manifest.json", data=manifest),
    ]
    (tmp_path / "inside.tar").write_bytes(tar(*members, entry(b"b/layer.tar", SYMLINK, link=b"../a/layer.tar")))
    assert len(resolve(f"docker-archive:{tmp_path}/inside.tar", store).layers) == 2
    outside = tmp_path / "layer.tar"
    outside.write_bytes(TWO)
    for number, link in enumerate((os.fsencode(outside), b"../../../layer.tar", b"b/layer.tar")):
        path = tmp_path / f"{number}.tar"
        two = json.dumps(layouts.config_of([ONE, TWO])).encode()
        members[1] = entry(b"config.json", data=two)
        path.write_bytes(tar(*members, entry(b"b/layer.tar", HARD_LINK if number == 2 else SYMLINK, link=link)))
        with pytest.raises(BrokenImage, match="has no"):
            resolve(f"docker-archive:{path}", store)


# --- what is wrong with blobs


def damaged(layout: Layout, descriptor: layouts.Json, change: Callable[[bytes], bytes]) -> None:
    path = layout.path / "blobs/sha256" / descriptor["digest"][7:]
    path.write_bytes(change(path.read_bytes()))


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


CHANGES = {
    "flipped": flip,
    "appended": lambda data: data + b"\0",
    "cut": lambda data: data[:-1],
    "empty": lambda data: b"",
    "compressed again": lambda data: gzip.compress(data),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("which", ["manifest", "config", "gzip", "zstd", "none"])
def test_e14_a_blob_that_is_not_what_its_digest_says(store: Store, layout: Layout, which: str, change: str) -> None:
    how = which if which in ("gzip", "zstd", "none") else "gzip"
    text = layout.image(TWO, ONE, how=how)
    manifest = layout.entries[0]
    body = json.loads((layout.path / "blobs/sha256" / manifest["digest"][7:]).read_bytes())
    damaged(layout, {"manifest": manifest, "config": body["config"]}.get(which, body["layers"][1]), CHANGES[change])
    with pytest.raises(BrokenImage):
        resolve(text, store)
    assert_nothing_is_left(store)


def test_e14_the_digest_counts_even_if_the_content_is_right(store: Store, layout: Layout) -> None:
    """A bit of the time in the gzip header: same size, same tar."""
    data = packed(ONE, "gzip")
    blob = layout.blob(data, LAYER + "+gzip")
    damaged(layout, blob, lambda data: data[:4] + b"\1" + data[5:])
    with pytest.raises(BrokenImage, match="its digest is not"):
        resolve(layout.image(ONE, descriptors=[blob]), store)
    assert_nothing_is_left(store)


@pytest.mark.parametrize("size", [-1, +1])
def test_e14_a_size_that_is_wrong(store: Store, layout: Layout, size: int) -> None:
    blob = layout.blob(packed(ONE, "gzip"), LAYER + "+gzip")
    blob["size"] += size
    with pytest.raises(BrokenImage, match="bytes"):
        resolve(layout.image(ONE, descriptors=[blob]), store)
    assert_nothing_is_left(store)


def test_e14_a_layer_that_the_config_does_not_know(store: Store, layout: Layout) -> None:
    blob = layout.blob(packed(TWO, "gzip"), LAYER + "+gzip")
    with pytest.raises(BrokenImage, match="DiffID"):
        resolve(layout.image(ONE, descriptors=[blob]), store)
    assert_nothing_is_left(store)


def test_e14_more_layers_than_the_config_knows(store: Store, layout: Layout) -> None:
    with pytest.raises(BrokenImage, match="2 layers in the manifest, 1 in the config"):
        resolve(layout.image(ONE, TWO, config=layouts.config_of([ONE])), store)


@pytest.mark.parametrize("said", ["+gzip", "+zstd", ""])
@pytest.mark.parametrize("how", ["gzip", "zstd", "none"])
def test_e16_a_layer_that_is_packed_otherwise_than_said(store: Store, layout: Layout, said: str, how: str) -> None:
    text = layout.image(ONE, descriptors=[layout.blob(packed(ONE, how), LAYER + said)])
    if said.lstrip("+") == (how if how != "none" else ""):
        assert names(resolve(text, store)) == [["one"]]
        return
    with pytest.raises(BrokenImage, match="said to be"):
        resolve(text, store)
    assert_nothing_is_left(store)


def test_an_index_that_leads_to_itself_ends(store: Store, layout: Layout) -> None:
    inner = layout.manifest([ONE], platform={"os": "linux", "architecture": "amd64"})
    for _ in range(6):
        inner = layout.document({"schemaVersion": 2, "mediaType": layouts.INDEX, "manifests": [inner]}, layouts.INDEX)
    with pytest.raises(BrokenImage, match="deep"):
        resolve(layout.tag("deep", inner), store)


def test_a_blob_that_is_a_fifo_does_not_block(store: Store, layout: Layout) -> None:
    text = layout.image(ONE)
    body = json.loads((layout.path / "blobs/sha256" / layout.entries[0]["digest"][7:]).read_bytes())
    blob = layout.path / "blobs/sha256" / body["layers"][0]["digest"][7:]
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(BrokenImage, match="not a regular file"):
        resolve(text, store)


def test_a_hostile_layer_leaves_nothing_of_the_others(store: Store, layout: Layout) -> None:
    with pytest.raises(BrokenImage, match="leaves the layer"):
        resolve(layout.image(ONE, tar(entry(b"../evil"))), store)
    assert_nothing_is_left(store)


def test_e12_a_layer_that_unpacks_to_too_much_leaves_nothing(store: Store, layout: Layout) -> None:
    """100 MiB of zeros in a tar that is a tar: refused on its way for what it would become."""
    size = 100 << 20
    bomb = layout.blob(gzip.compress(tars.header(b"zeros", size=size) + bytes(size + 1024)), LAYER + "+gzip")
    with pytest.raises(BrokenImage, match="more than 200 times"):
        resolve(layout.image(ONE, descriptors=[bomb]), store)
    assert_nothing_is_left(store)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("none", "the image needs at least 8 MiB, 4 MiB are free"),
        ("gzip", "needs more room than the 4 MiB that were free"),
    ],
)
def test_x03_a_full_disk_is_said_and_left_clean(layout: Layout, tmp_path: Path, how: str, words: str) -> None:
    """A store on a file system of 4 MiB, in a mount namespace of its own. What is packed would fit."""
    noise = b"".join(hashlib.sha256(b"%d" % (number // 4)).digest() for number in range(256 << 10))
    text = layout.image(tar(entry(b"big", data=noise)), how=how)
    mountpoint = tmp_path / "small"
    mountpoint.mkdir()
    program = f"""
import os, sys
from pathlib import Path
from cowfs.errors import StoreError
from cowfs.images.sources import resolve
from cowfs.store import Store
store = Store.open(Path({str(mountpoint / "store")!r}))
try:
    resolve({text!r}, store)
except StoreError as error:
    print(error)
print([os.listdir(store.root / part) for part in ("staging", "layers/sha256", "images", "locks")])
"""
    script = 'mount -t tmpfs -o size=4m tmpfs "$1" && shift && exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(mountpoint)]
    done = subprocess.run(
        [*command, sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    message, left = done.stdout.splitlines()
    assert words in message
    assert left == "[[], [], [], []]"


def test_a_document_that_is_no_json_is_named(store: Store, layout: Layout) -> None:
    text = layout.image(ONE)
    (layout.path / "index.json").write_text("{")
    with pytest.raises(BrokenImage, match=rf"^{layout.path}: the index.json is not valid JSON: "):
        resolve(text, store)


def test_a_manifest_that_is_no_json_is_named(store: Store, layout: Layout) -> None:
    descriptor = layout.blob(b"{", MANIFEST)
    with pytest.raises(BrokenImage, match=rf"^{layout.path}: the manifest {descriptor['digest']} is not valid JSON: "):
        resolve(layout.tag("broken", descriptor), store)
