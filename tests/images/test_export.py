"""Images out of the store: what others read, with the DiffIDs of what came in."""

import gzip
import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from cowfs.errors import BrokenImage, StoreError, UsageError
from cowfs.images.export import export
from cowfs.images.sources import resolve, resolve_image
from cowfs.store import Store
from cowfs.store.records import StoredImage
from tests.images.layouts import Layout, docker_archive
from tests.images.tars import DIRECTORY, SYMLINK, entry, tar, whiteout

LAYERS = [
    tar(entry(b"./", DIRECTORY), entry(b"./d/", DIRECTORY), entry(b"./d/f", data=b"1" * 5000, time_ns=17)),
    tar(whiteout(b"d/f"), entry(b"l", SYMLINK, link=b"d")),
]


@pytest.fixture
def image(store: Store, layout: Layout) -> StoredImage:
    return resolve_image(layout.image(*LAYERS, how=["gzip", "zstd"]), store)


def read(layout: Path, descriptor: dict[str, object]) -> bytes:
    """A blob of a layout, by an eye that is not ours."""
    data = (layout / "blobs" / str(descriptor["digest"]).replace(":", "/")).read_bytes()
    assert len(data) == descriptor["size"]
    assert "sha256:" + hashlib.sha256(data).hexdigest() == descriptor["digest"]
    return data


@pytest.mark.parametrize("target", ["oci:{}:x", "docker-archive:{}"])
def test_what_comes_back_is_the_image(store: Store, image: StoredImage, tmp_path: Path, target: str) -> None:
    where = target.format(tmp_path / "out")
    digest = export(store, image, where)
    with Store.open(tmp_path / "other") as other:
        again = resolve_image(where, other)
        assert (again.diff_ids, again.config, again.platform) == (image.diff_ids, image.config, image.platform)
        assert again.digest == digest
        assert [path.name for path in resolve(where, other).lowers[0].iterdir()] == ["l", "d"]


def test_a_layout_is_what_the_specification_says(store: Store, image: StoredImage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(store, image, f"oci:{out}:v1")
    assert json.loads((out / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((out / "index.json").read_bytes())["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "v1"}
    assert entry["platform"] == {"os": "linux", "architecture": "amd64"}
    manifest = json.loads(read(out, entry))
    assert manifest["mediaType"] == entry["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert read(out, manifest["config"]) == store.blob(image.config, 1 << 20)
    assert [gzip.decompress(read(out, layer)) for layer in manifest["layers"]] == LAYERS
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    names = [*manifest["layers"], manifest["config"], entry]
    assert {name["digest"][7:] for name in names} == set(os.listdir(out / "blobs/sha256"))
    assert sorted(os.listdir(out)) == ["blobs", "index.json", "oci-layout"]


def test_an_archive_is_what_docker_saves(store: Store, image: StoredImage, tmp_path: Path) -> None:
    export(store, image, f"docker-archive:{tmp_path}/a.tar:test/it:1")
    with tarfile.open(tmp_path / "a.tar") as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    (said,) = json.loads(files["manifest.json"])
    assert said["RepoTags"] == ["test/it:1"]
    assert [files[name] for name in said["Layers"]] == LAYERS
    assert files[said["Config"]] == store.blob(image.config, 1 << 20)


def test_an_image_that_came_from_docker_goes_out_again(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in.tar").write_bytes(docker_archive([LAYERS[0], LAYERS[0]], ["a:1"], old=True))
    image = resolve_image(f"docker-archive:{tmp_path}/in.tar", store)
    export(store, image, f"docker-archive:{tmp_path}/out.tar:a:1")
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert len(archive.getnames()) == 3, "a layer that is there twice is written twice"
    assert resolve_image(f"docker-archive:{tmp_path}/out.tar:a:1", store).diff_ids == image.diff_ids
    export(store, image, f"oci:{tmp_path}/out")
    assert resolve_image(f"oci:{tmp_path}/out:latest", store).diff_ids == image.diff_ids


def test_the_same_image_is_the_same_bytes(store: Store, image: StoredImage, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(store, image, f"oci:{tmp_path}/{name}:x")
        export(store, image, f"docker-archive:{tmp_path}/{name}.tar:x")
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_one_image_more_in_a_layout(store: Store, layout: Layout, image: StoredImage, tmp_path: Path) -> None:
    other = resolve_image(layout.image(LAYERS[1], name="other"), store)
    out = f"oci:{tmp_path}/out"
    export(store, image, f"{out}:a")
    export(store, image, f"{out}:b")
    export(store, other, f"{out}:a")
    tags = [entry["annotations"] for entry in json.loads((tmp_path / "out/index.json").read_bytes())["manifests"]]
    assert [list(tag.values()) for tag in tags] == [["b"], ["a"]]
    assert resolve_image(f"{out}:a", store).config == other.config
    assert resolve_image(f"{out}:b", store).config == image.config


def test_what_changed_in_the_store_does_not_get_out(store: Store, image: StoredImage, tmp_path: Path) -> None:
    file = resolve(image.reference, store, every_layer=True).layers[0].directory / "d/f"
    file.write_bytes(b"2" * 5000)
    for target in (f"oci:{tmp_path}/out", f"docker-archive:{tmp_path}/out.tar:x"):
        with pytest.raises(StoreError, match="is damaged in the store"):
            export(store, image, target)
    assert not [name for name in os.listdir(tmp_path) if "out" in name and name != "layout"]


def test_a_layout_that_cannot_take_it_stays_as_it_was(store: Store, image: StoredImage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(store, image, f"oci:{out}:a")
    (resolve(image.reference, store, every_layer=True).layers[0].directory / "d/f").write_bytes(b"2" * 5000)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(StoreError):
        export(store, image, f"oci:{out}:b")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ("tar:x", UsageError, "is no target: oci:PATH"),
        ("oci:", UsageError, "is no target"),
        ("oci:{}/full", UsageError, "not empty and not an OCI layout"),
        ("oci:{}/broken", BrokenImage, "not an index of images"),
        ("oci:{}/no/such/dir/out", StoreError, "cannot be written: No such file"),
        ("docker-archive:{}/full", UsageError, "is a directory"),
        ("docker-archive:{}/out:UPPER", UsageError, "not an image reference"),
    ],
)
def test_targets_that_are_none(
    store: Store, image: StoredImage, tmp_path: Path, target: str, error: type[Exception], words: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/oci-layout").touch()
    (tmp_path / "broken/index.json").write_text("[]")
    with pytest.raises(error, match=words):
        export(store, image, target.format(tmp_path))
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
