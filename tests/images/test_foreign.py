"""``docker:`` and ``podman:``: images in other people's stores, laid out here by hand as those programs do it."""

import base64
import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cowfs.errors import BrokenImage, CowfsError, NotFound, StoreError, UsageError
from cowfs.images import docker, podman
from cowfs.images.sources import resolve, resolve_image
from cowfs.options import MountOptions
from cowfs.overlay import Overlay
from cowfs.store import Store
from cowfs.store.runs import Runs

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.images.layouts import config_of, digest
from tests.images.tars import entry, tar

TARS = [tar(entry(b"f", data=b"1")), tar(entry(b"g", data=b"2"))]
CONFIG = json.dumps(config_of(TARS)).encode()
DIFF_IDS = [digest(data) for data in TARS]
ID = digest(CONFIG)[7:]


def trees(directories: list[Path]) -> None:
    """What is in the two layers: the second one takes a file away."""
    for directory in directories:
        directory.mkdir(parents=True)
    (directories[0] / "f").write_text("1")
    (directories[1] / "g").write_text("2")
    os.mknod(directories[1] / "f", stat.S_IFCHR, 0)


class Docker:
    """/var/lib/docker with one image."""

    def __init__(self, root: Path) -> None:
        self.root = root
        images = root / "image/overlay2"
        (images / "imagedb/content/sha256").mkdir(parents=True)
        (images / "imagedb/content/sha256" / ID).write_bytes(CONFIG)
        names = {"debian:12": f"sha256:{ID}", f"debian@sha256:{'a' * 64}": f"sha256:{ID}"}
        (images / "repositories.json").write_text(json.dumps({"Repositories": {"debian": names}}))
        chain = [DIFF_IDS[0], digest(f"{DIFF_IDS[0]} {DIFF_IDS[1]}".encode())]
        self.layerdb = [images / "layerdb/sha256" / name[7:] for name in chain]
        for layer, cache_id in zip(self.layerdb, ("c" * 64, "d" * 64), strict=True):
            layer.mkdir(parents=True)
            (layer / "cache-id").write_text(cache_id)
            (layer / "size").write_text("1")
        self.trees = [root / "overlay2" / name / "diff" for name in ("c" * 64, "d" * 64)]
        trees(self.trees)


class Podman:
    """/var/lib/containers/storage with one image; layers may lie in another store."""

    def __init__(self, root: Path, layers_in: Path | None = None, parent_of_first: str = "") -> None:
        self.root = root
        where = layers_in or root
        image = root / "overlay-images" / ID
        image.mkdir(parents=True)
        manifest = json.dumps({"schemaVersion": 2, "config": {"digest": f"sha256:{ID}"}})
        (image / "manifest").write_text(manifest)
        (image / ("=" + base64.b64encode(f"sha256:{ID}".encode()).decode())).write_bytes(CONFIG)
        names = ["docker.io/library/debian:12", "localhost/mine:latest"]
        self.images = [{"id": ID, "digest": digest(manifest.encode()), "names": names, "layer": "d" * 64}]
        self.layers: list[dict[str, Any]] = [
            {"id": "c" * 64, "diff-digest": DIFF_IDS[0], "diff-size": 10, "parent": parent_of_first},
            {"id": "d" * 64, "diff-digest": DIFF_IDS[1], "diff-size": 20, "parent": "c" * 64},
        ]
        self.trees = [where / "overlay" / name / "diff" for name in ("c" * 64, "d" * 64)]
        trees(self.trees)
        (where / "overlay-layers").mkdir()
        self.where = where
        self.write()

    def write(self) -> None:
        (self.root / "overlay-images/images.json").write_text(json.dumps(self.images))
        (self.where / "overlay-layers/layers.json").write_text(json.dumps(self.layers))


@pytest.fixture
def dock(tmp_path: Path) -> Docker:
    return Docker(tmp_path / "docker")


@pytest.fixture
def pod(tmp_path: Path) -> Podman:
    return Podman(tmp_path / "storage")


@pytest.mark.parametrize("program", [Docker, Podman])
def test_layers_are_used_where_they_lie(
    store: Store, tmp_path: Path, program: Callable[[Path], Docker | Podman]
) -> None:
    theirs = program(tmp_path / "theirs")
    scheme = "docker" if program is Docker else "podman"
    before = {path: path.lstat() for path in theirs.root.rglob("*")}
    base = resolve(f"{scheme}:[{theirs.root}]debian:12", store)
    assert base.lowers == tuple(reversed(theirs.trees))
    assert [layer.diff_id for layer in base.layers] == DIFF_IDS
    assert [layer.created_by for layer in base.layers] == ["step 1", "step 2"]
    assert base.config.cmd == ("sh",)

    with store.lease(base):
        made, lock = Runs(store.root).create(base, ["true"])
        overlay = Overlay(MountOptions(lowers=base.lowers, upper=made.upper, work=made.work))
        assert set(overlay.names(overlay.root)) == {b"g"}  # type: ignore[arg-type]
        overlay.close()
        lock.close()
    assert store.collect().layers == {}
    after = {path: path.lstat() for path in theirs.root.rglob("*")}
    assert {path: (status.st_mtime_ns, status.st_ctime_ns) for path, status in after.items()} == {
        path: (status.st_mtime_ns, status.st_ctime_ns) for path, status in before.items()
    }
    assert store.layers() == []


@pytest.mark.parametrize("name", ["debian:12", "docker.io/library/debian:12", ID, ID[:12], f"debian@sha256:{'a' * 64}"])
def test_names_of_docker(dock: Docker, name: str) -> None:
    assert docker.resolve("x", f"[{dock.root}]{name}").digest == f"sha256:{ID}"


@pytest.mark.parametrize("name", ["debian:12", "docker.io/library/debian:12", "mine", "localhost/mine", ID, ID[:12]])
def test_names_of_podman(pod: Podman, name: str) -> None:
    assert podman.resolve("x", f"[{pod.root}]{name}").digest == pod.images[0]["digest"]


@pytest.mark.parametrize("name", ["debian", "debian:13", "none", "f" * 64, "UPPER"])
def test_a_name_that_is_not_there_is_said_with_those_that_are(dock: Docker, pod: Podman, name: str) -> None:
    with pytest.raises(NotFound, match="its images: debian:12"):
        docker.resolve("x", f"[{dock.root}]{name}")
    with pytest.raises(NotFound, match=r"its images: docker\.io/library/debian:12, localhost/mine:latest"):
        podman.resolve("x", f"[{pod.root}]{name}")


def test_where_their_stores_are(dock: Docker, pod: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "daemon.json").write_text(json.dumps({"data-root": str(dock.root)}))
    monkeypatch.setattr(docker, "_DAEMON", tmp_path / "daemon.json")
    assert docker.resolve("docker:debian:12", "debian:12").layers

    other = Podman(tmp_path / "additional")
    other.images[0]["names"] = ["localhost/other:latest"]
    other.write()
    conf = tmp_path / "storage.conf"
    conf.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{pod.root}"\n'
        f'[storage.options]\nadditionalimagestores = ["{other.root}"]\n'
    )
    monkeypatch.setattr(podman, "_CONFIGS", (tmp_path / "none.conf", conf))
    assert podman.resolve("podman:mine", "mine").lowers == tuple(reversed(pod.trees))
    assert podman.resolve("podman:other", "other").layers
    conf.write_text('[storage]\ndriver = "vfs"\n')
    with pytest.raises(StoreError, match=r"not in directories: the driver in .* is 'vfs'"):
        podman.resolve("podman:mine", "mine")
    conf.write_text("[storage\n")
    with pytest.raises(UsageError, match="cannot be used"):
        podman.resolve("podman:mine", "mine")


def test_layers_in_an_additional_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Podman(tmp_path / "first", layers_in=tmp_path / "second")
    conf = tmp_path / "storage.conf"
    second = json.dumps(str(tmp_path / "second"))
    conf.write_text(f'[storage]\ngraphroot = "{first.root}"\n[storage.options]\nadditionalimagestores = [{second}]\n')
    monkeypatch.setattr(podman, "_CONFIGS", (conf,))
    assert podman.resolve("podman:mine", "mine").lowers == tuple(reversed(first.trees))


def hostile(pod: Podman, what: str) -> None:
    if what == "image id":
        pod.images[0]["id"] = "../../etc"
    elif what == "layer id":
        pod.layers[0]["id"] = "../escape"
    elif what == "loop":
        pod.layers[0]["parent"] = "d" * 64
    elif what == "missing layer":
        del pod.layers[0]
    elif what == "incomplete layer":
        pod.layers[0]["flags"] = {"incomplete": True}
    elif what == "other layer":
        pod.layers[0]["diff-digest"] = digest(b"another")
    elif what == "config":
        (next((pod.root / "overlay-images" / ID).glob("=*"))).write_bytes(b"{}")
    elif what == "a link in place of a tree":
        os.rename(pod.trees[0], pod.root / "away")
        pod.trees[0].symlink_to("/etc")
    elif what == "no tree":
        os.rename(pod.trees[0], pod.root / "away")
    elif what == "fuse-overlayfs":
        (pod.root / "overlay/.has-mount-program").write_text("true")
    elif what == "owner":
        os.chown(pod.root, 1000, 1000)
    pod.write()
    if what == "not JSON":
        (pod.root / "overlay-layers/layers.json").write_bytes(b"\0")


@pytest.mark.parametrize(
    "what",
    ["image id", "layer id", "loop", "missing layer", "incomplete layer", "other layer", "config", "no tree", "owner",
     "a link in place of a tree", "fuse-overlayfs", "not JSON"],
)  # fmt: skip
def test_e17_what_podmans_documents_say_is_checked(pod: Podman, what: str) -> None:
    hostile(pod, what)
    with pytest.raises((BrokenImage, StoreError)):
        podman.resolve("x", f"[{pod.root}]mine")


@pytest.mark.parametrize("what", ["cache-id", "size", "config", "id", "no layer", "list", "containerd"])
def test_e17_what_dockers_documents_say_is_checked(dock: Docker, what: str) -> None:
    images = dock.root / "image/overlay2"
    if what == "cache-id":
        (dock.layerdb[0] / "cache-id").write_text("../../../../etc")
    elif what == "size":
        (dock.layerdb[0] / "size").write_text("1e9")
    elif what == "config":
        (images / "imagedb/content/sha256" / ID).write_bytes(CONFIG + b" ")
    elif what == "id":
        (images / "repositories.json").write_text('{"Repositories": {"debian": {"debian:12": "sha256:../../x"}}}')
    elif what == "no layer":
        (dock.layerdb[1] / "cache-id").unlink()
    elif what == "list":
        (images / "repositories.json").write_text("[]")
    else:
        os.rename(images, dock.root / "image/overlayfs")
    with pytest.raises(CowfsError) as caught:
        docker.resolve("x", f"[{dock.root}]debian:12")
    assert what != "containerd" or "use docker save" in str(caught.value)


def test_e18_a_hostile_config_is_as_inert_as_a_pulled_one(tmp_path: Path, store: Store) -> None:
    theirs = Docker(tmp_path / "docker")
    config = json.dumps(config_of(TARS, config={"Env": ["LD_PRELOAD", "A=1"], "Labels": {"x": "y"}})).encode()
    name = hashlib.sha256(config).hexdigest()
    images = theirs.root / "image/overlay2"
    (images / "imagedb/content/sha256" / name).write_bytes(config)
    (images / "repositories.json").write_text(json.dumps({"Repositories": {"a": {"a:latest": f"sha256:{name}"}}}))
    assert resolve(f"docker:[{theirs.root}]a", store).config.env == ("A=1",)


@pytest.mark.parametrize("text", ["docker:[]x", "docker:[/tmp]", "docker:[/tmp", "podman:"])
def test_what_is_no_name(store: Store, text: str) -> None:
    with pytest.raises(UsageError):
        resolve(text, store)


def test_what_needs_an_image_of_ours_says_so(store: Store, dock: Docker) -> None:
    with pytest.raises(UsageError, match="docker save makes an archive of it"):
        resolve_image(f"docker:[{dock.root}]debian:12", store)
