"""Images to a registry: what is uploaded, what is not, and that it comes back as it went."""

import json
from pathlib import Path

import pytest

from tests.images.layouts import CONFIG, LAYER, MANIFEST, Layout, digest
from tests.images.tars import entry, tar
from tests.registry.conftest import Commands
from tests.support.registry import BASIC, PASSWORD, Registry, Request, login_file

ONE, TWO = tar(entry(b"one", data=b"1" * 5000)), tar(entry(b"two", data=b"2"))


def uploads(registry: Registry) -> int:
    return len(registry.asked("PUT", "/blobs/uploads/"))


def push(cowfs: Commands, image: str, reference: str) -> str:
    done = cowfs("push", "-q", image, reference)
    assert (done.returncode, done.stderr) == (0, "")
    name, found = done.stdout.split()
    assert name == reference
    return found


def test_a_layout_travels_through_a_registry(
    cowfs: Commands, registry: Registry, layout: Layout, tmp_path: Path
) -> None:
    name = f"{registry.name}/out:1"
    found = push(cowfs, layout.image(ONE, TWO, how="zstd"), name)
    data, media_type = registry.manifests["out", "1"]
    document = json.loads(data)
    assert (found, media_type, document["mediaType"]) == (digest(data), MANIFEST, MANIFEST)
    assert document["config"]["mediaType"] == CONFIG
    assert [layer["mediaType"] for layer in document["layers"]] == [LAYER + "+gzip"] * 2
    for blob in (document["config"], *document["layers"]):
        assert len(registry.blobs[blob["digest"]]) == blob["size"]
    assert uploads(registry) == 3
    cowfs.environ["COWFS_ROOT"] = str(tmp_path / "another")
    pulled = cowfs.pull(name)
    assert pulled["digest"] == found
    assert [layer["diff_id"] for layer in pulled["layers"]] == [digest(ONE), digest(TWO)]


def test_what_is_there_is_not_uploaded(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    text = layout.image(ONE, TWO)
    first = push(cowfs, text, f"{registry.name}/out:1")
    registry.log.clear()
    assert push(cowfs, text, f"{registry.name}/out:2") == first
    assert uploads(registry) == 0


@pytest.mark.parametrize("how", ["gzip", "zstd", "none"])
def test_an_image_that_came_from_there_keeps_its_digest(
    cowfs: Commands, registry: Registry, layout: Layout, how: str
) -> None:
    layout.image(ONE, TWO, how=how)
    registry.add(layout.path)
    name = f"{registry.name}/image:image"
    pulled = cowfs.pull(name)
    registry.log.clear()
    assert push(cowfs, name, f"{registry.name}/image:again") == pulled["digest"]
    assert uploads(registry) == 0


def test_of_another_image_the_layers_that_came_from_there_are_named(
    cowfs: Commands, registry: Registry, layout: Layout
) -> None:
    layout.image(ONE, how="zstd", name="base")
    registry.add(layout.path)
    cowfs.pull(f"{registry.name}/image:base")
    registry.log.clear()
    push(cowfs, layout.image(ONE, TWO, name="more"), f"{registry.name}/image:more")
    assert uploads(registry) == 2  # the layer that is new, and the config
    layers = json.loads(registry.manifests["image", "more"][0])["layers"]
    assert [layer["mediaType"] for layer in layers] == [LAYER + "+zstd", LAYER + "+gzip"]


@pytest.mark.parametrize("login", ["basic", "bearer"])
def test_a_login_is_needed(cowfs: Commands, registry: Registry, layout: Layout, login: str) -> None:
    registry.login = login
    text = layout.image(ONE, TWO)
    done = cowfs("push", text, f"{registry.name}/out:1")
    assert done.returncode == 125
    assert f"docker login {registry.name}" in done.stderr
    login_file(cowfs.home / ".docker/config.json", registry.name)
    registry.log.clear()
    push(cowfs, text, f"{registry.name}/out:1")
    if login == "bearer":
        assert {found.path.partition("scope=")[2] for found in registry.asked("GET", "/token")} == {
            "repository%3Aout%3Apull%2Cpush"
        }
    assert not [found for found in registry.asked("PUT", "/v2/") if not found.authorization]


def test_r01_an_upload_elsewhere_gets_no_secret(
    cowfs: Commands, registry: Registry, other: Registry, layout: Layout
) -> None:
    """Registries keep blobs with others, and send us there by the Location of an upload."""
    registry.login = "basic"
    login_file(cowfs.home / ".docker/config.json", registry.name)
    other.blobs = registry.blobs
    registry.faults.append(
        lambda request: (
            request.command == "POST"
            and request.entry.authorization == BASIC
            and not request.answer(202, Location=f"{other.url}/v2/out/blobs/uploads/1?signature=x")
        )
    )
    push(cowfs, layout.image(ONE), f"{registry.name}/out:1")
    assert len(other.log) == 2
    assert {found.authorization for found in other.log} == {""}
    assert PASSWORD not in str(other.log)


def test_an_upload_that_fails_is_begun_again(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    failed: set[str] = set()

    def fault(request: Request) -> bool:
        if request.command != "PUT" or request.path.partition("?")[0] in failed or len(failed) == 2:
            return False
        failed.add(request.path.partition("?")[0])
        request.answer(503, Retry_After="0")
        return True

    registry.faults.append(fault)
    push(cowfs, layout.image(ONE), f"{registry.name}/out:1")
    assert len(failed) == 2


def test_a_layer_that_changed_in_the_store_does_not_leave_it(
    cowfs: Commands, registry: Registry, layout: Layout
) -> None:
    text = layout.image(ONE, TWO)
    push(cowfs, text, f"{registry.name}/out:1")
    (cowfs.layer(digest(ONE)) / "one").write_bytes(b"2" * 5000)
    registry.blobs.clear()
    done = cowfs("push", text, f"{registry.name}/elsewhere:1")
    assert done.returncode == 125
    assert "is damaged in the store" in done.stderr
    assert ("elsewhere", "1") not in registry.manifests


def test_a_digest_is_no_target(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    done = cowfs("push", layout.image(ONE), f"{registry.name}/out@{digest(b'')}")
    assert done.returncode == 125
    assert "is pushed to a tag" in done.stderr
    assert registry.log == []
