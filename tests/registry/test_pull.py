"""What a pull brings and what it refuses, as a person sees it."""

import json
import os
from pathlib import Path

import pytest

from tests.images import model
from tests.images.layouts import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    MANIFEST,
    Layout,
    config_of,
    digest,
    packed,
)
from tests.images.tars import DIRECTORY, entry, tar
from tests.images.test_unpack import everything, same
from tests.registry.conftest import Commands
from tests.support.registry import Registry, Request

ONE = tar(entry(b"./", DIRECTORY), entry(b"one", data=b"1" * 5000))
TWO = tar(entry(b"two", data=b"2"))
THREE = tar(entry(b"three", data=b"3"))


def other_bytes(data: bytes) -> bytes:
    """As many bytes, one of them another."""
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize("how", ["none", "gzip", "zstd", "mixed"])
def test_layers_arrive(cowfs: Commands, registry: Registry, layout: Layout, how: str) -> None:
    layout.image(ONE, TWO, THREE, how=["none", "gzip", "zstd"] if how == "mixed" else how)
    registry.add(layout.path)
    found = cowfs.pull(f"{registry.name}/image:image")
    assert [layer["diff_id"] for layer in found["layers"]] == [digest(ONE), digest(TWO), digest(THREE)]
    assert (cowfs.layer(digest(ONE)) / "one").read_bytes() == b"1" * 5000
    assert (cowfs.layer(digest(THREE)) / "three").read_bytes() == b"3"
    assert cowfs.names("staging") == cowfs.names("locks") or cowfs.names("locks") == ["store"]
    assert not [name for name in cowfs.names("blobs/sha256") if name.endswith(".part")]


def test_what_unpackers_get_wrong_arrives_as_an_independent_reader_has_it(
    cowfs: Commands, registry: Registry, layout: Layout
) -> None:
    """Through the kernel's overlayfs over our layers: types, modes, owners, times, links, attributes and bytes."""
    layers = everything()
    layout.image(*layers, how=["gzip", "zstd", "none", "gzip"])
    registry.add(layout.path)
    cowfs.pull(f"{registry.name}/image:image")
    # a layer that holds nothing must not give its root to the merge
    directories = [cowfs.layer(digest(layer)) for layer in layers if layer != tar()]
    same(model.kernel_view(directories[::-1]), model.merged(layers))


def docker_image(layout: Layout) -> dict[str, object]:
    config = layout.document(config_of([ONE]), DOCKER_CONFIG)
    layer = layout.blob(packed(ONE, "gzip"), DOCKER_LAYER)
    body = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer]}
    return layout.document(body, DOCKER_MANIFEST)


def test_dockers_manifest(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.tag("docker", docker_image(layout))
    registry.add(layout.path)
    assert cowfs.pull(f"{registry.name}/image:docker")["layers"][0]["diff_id"] == digest(ONE)


@pytest.mark.parametrize("media_type", [INDEX, DOCKER_LIST])
def test_an_index_by_platform(cowfs: Commands, registry: Registry, layout: Layout, media_type: str) -> None:
    arm = layout.manifest([TWO], platform={"os": "linux", "architecture": "arm64", "variant": "v8"})
    attestation = layout.manifest(
        [THREE],
        platform={"os": "unknown", "architecture": "unknown"},
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )
    amd = layout.manifest([ONE], platform={"os": "linux", "architecture": "amd64"})
    index = {"schemaVersion": 2, "mediaType": media_type, "manifests": [arm, attestation, amd]}
    layout.tag("index", layout.document(index, media_type))
    registry.add(layout.path)
    name = f"{registry.name}/image:index"
    assert cowfs.pull(name, "--platform", "linux/amd64")["layers"][0]["diff_id"] == digest(ONE)
    assert cowfs.pull(name, "--platform", "arm64")["layers"][0]["diff_id"] == digest(TWO)
    done = cowfs("pull", "--platform", "linux/s390x", name)
    assert done.returncode == 125
    assert "not there for linux/s390x, only for: linux/arm64/v8, linux/amd64" in done.stderr


def test_a_platform_that_a_single_image_is_not_for(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(ONE)
    registry.add(layout.path)
    assert "only for: linux/amd64" in cowfs.refused(f"{registry.name}/image:image", "--platform", "linux/arm64")


def test_by_digest(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(ONE)
    registry.add(layout.path)
    wanted = layout.entries[0]["digest"]
    assert cowfs.pull(f"{registry.name}/image@{wanted}")["digest"] == wanted


def test_a_second_image_costs_its_new_layers(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(ONE, TWO, name="first")
    layout.image(ONE, TWO, THREE, name="second")
    registry.add(layout.path)
    cowfs.pull(f"{registry.name}/image:first")
    registry.log.clear()
    found = cowfs.pull(f"{registry.name}/image:second")
    assert [layer["fetched"] for layer in found["layers"]] == [False, False, True]
    assert set(registry.blobs_asked()) == {found["config_digest"], digest(THREE)}


def test_an_image_that_is_there_costs_one_request(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(ONE, TWO)
    registry.add(layout.path)
    cowfs.pull(f"{registry.name}/image:image")
    registry.log.clear()
    cowfs.pull(f"{registry.name}/image:image")
    assert [(entry.method, entry.path) for entry in registry.log] == [("GET", "/v2/image/manifests/image")]


def test_all_four_types_are_accepted(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(ONE)
    registry.add(layout.path)
    cowfs.pull(f"{registry.name}/image:image")
    accept = registry.log[0].headers["Accept"].split(", ")
    assert sorted(accept) == sorted([INDEX, MANIFEST, DOCKER_LIST, DOCKER_MANIFEST])


def test_what_is_printed(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(ONE, TWO)
    registry.add(layout.path)
    name = f"{registry.name}/image:image"
    done = cowfs("pull", name)
    assert done.stdout == f"{name} {layout.entries[0]['digest']} linux/amd64\n"
    first, *layers = done.stderr.splitlines()
    size = f"{(len(ONE) + len(TWO)) / 1024:.1f} KiB"
    assert first == f"cowfs: 2 of 2 layers are missing, {size}"
    assert sorted(layers) == sorted(
        f"cowfs: layer {digest(layer)[7:19]}: {len(layer) / 1024:.1f} KiB" for layer in (ONE, TWO)
    )
    done = cowfs("pull", "--quiet", name)
    assert (done.stdout, done.stderr) == (f"{name}\n", "")


# --- lies


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("lie", ["other", "shorter", "longer", "absent"])
def test_e14_every_blob_must_be_what_its_digest_says(
    cowfs: Commands, registry: Registry, layout: Layout, which: str, lie: str
) -> None:
    layout.image(ONE, TWO, how="gzip")
    registry.add(layout.path)
    manifest = json.loads(registry.blobs[layout.entries[0]["digest"]])
    wanted = {
        "manifest": layout.entries[0]["digest"],
        "config": manifest["config"]["digest"],
        "layer": manifest["layers"][1]["digest"],
    }[which]
    data = registry.blobs[wanted]
    lies = {"other": other_bytes(data), "shorter": data[:-1], "longer": data + b"\0", "absent": None}
    told = lies[lie]
    if told is None:
        del registry.blobs[wanted]
        registry.manifests.pop(("image", wanted), None)
    else:
        registry.blobs[wanted] = told
        registry.manifests["image", wanted] = told, MANIFEST
    tag = f"@{wanted}" if which == "manifest" else ":image"
    if (which, lie) == ("layer", "longer"):  # a byte after the last one is never asked for
        cowfs.pull(f"{registry.name}/image{tag}")
    elif (which, lie) == ("layer", "shorter"):
        registry.faults.append(_gone_after(2, wanted))
        assert f"has no blob {wanted}" in cowfs.refused(f"{registry.name}/image{tag}")
    else:
        cowfs.refused(f"{registry.name}/image{tag}")


def _gone_after(times: int, name: str):  # type: ignore[no-untyped-def]
    """The blob is a 404 from then on: who waits for the rest need not wait long."""

    def fault(request: Request) -> bool:
        if name in request.path and request.registry.blobs_asked()[name] > times:
            request.answer(404)
            return True
        return False

    return fault


def test_e14_another_manifest_under_the_digest_that_was_typed(
    cowfs: Commands, registry: Registry, layout: Layout
) -> None:
    layout.image(ONE, name="one")
    layout.image(TWO, name="two")
    registry.add(layout.path)
    wanted = layout.entries[0]["digest"]
    registry.manifests["image", wanted] = registry.manifests["image", "two"]
    assert "is damaged: its digest is" in cowfs.refused(f"{registry.name}/image@{wanted}")


def test_e14_a_layer_that_the_config_names_otherwise(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(ONE, TWO, config=config_of([ONE, THREE]))
    registry.add(layout.path)
    assert f"its DiffID is {digest(TWO)}" in cowfs.refused(f"{registry.name}/image:image")


@pytest.mark.parametrize(
    ("own", "told", "words"),
    [
        (MANIFEST, DOCKER_MANIFEST, "says that it is"),
        (MANIFEST, INDEX, "says that it is"),
        (MANIFEST, "text/html", "no image but 'text/html'"),
        (MANIFEST, "", "of no type"),
        (MANIFEST, "application/json", "no image but 'application/json'"),
    ],
)
def test_e16_content_type_and_media_type_must_agree(
    cowfs: Commands, registry: Registry, layout: Layout, own: str, told: str, words: str
) -> None:
    layout.image(ONE)
    registry.add(layout.path)
    data, _ = registry.manifests["image", "image"]
    registry.manifests["image", "image"] = data, told
    assert words in cowfs.refused(f"{registry.name}/image:image")


def test_e16_an_index_names_another_type_than_the_registry(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    inner = layout.manifest([ONE], platform={"os": "linux", "architecture": "amd64"})
    layout.tag("index", layout.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]}, INDEX))
    registry.add(layout.path)
    data, _ = registry.manifests["image", inner["digest"]]
    registry.manifests["image", inner["digest"]] = data, DOCKER_MANIFEST
    assert "was named as" in cowfs.refused(f"{registry.name}/image:index", "--platform", "linux/amd64")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"schemaVersion":2,"schemaVersion":2}', id="a key twice"),
        pytest.param(b"[" * 100_000, id="depth"),
        pytest.param(b'{"schemaVersion":NaN}', id="NaN"),
        pytest.param(b"{}" + b" " * (4 << 20), id="4 MiB and more"),
        pytest.param(b'{"schemaVersion":1,"name":"image","tag":"image"}', id="schema 1"),
        pytest.param(b'{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}', id="both at once"),
    ],
)
def test_e16_documents_that_are_refused(cowfs: Commands, registry: Registry, body: bytes) -> None:
    registry.manifests["image", "latest"] = body, MANIFEST
    cowfs.refused(f"{registry.name}/image")


@pytest.mark.parametrize(
    "wrong", ["sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "sha512:" + "a" * 128, "sha256:"]
)
def test_e15_a_digest_that_is_none_makes_no_request(
    cowfs: Commands, registry: Registry, layout: Layout, wrong: str
) -> None:
    layer = layout.blob(ONE, LAYER) | {"digest": wrong}
    layout.image(ONE, descriptors=[layer])
    registry.add(layout.path)
    assert "digest" in cowfs.refused(f"{registry.name}/image:image")
    assert len(registry.log) == 1


def test_r03_urls_of_a_layer_are_never_asked(
    cowfs: Commands, registry: Registry, other: Registry, layout: Layout
) -> None:
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    data = packed(ONE, "gzip")
    layer = {"mediaType": foreign, "digest": digest(data), "size": len(data), "urls": [f"{other.url}/layer"]}
    layout.image(ONE, descriptors=[layer])
    registry.add(layout.path)
    assert f"has no blob {digest(data)}" in cowfs.refused(f"{registry.name}/image:image")
    assert other.log == []


def test_r06_an_encoding_of_http_is_not_undone(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    """200 MB that came as 200 kB would be the body of requests' own reader."""
    layout.image(ONE)
    registry.add(layout.path)
    bomb = packed(bytes(200_000_000), "gzip")

    def fault(request: Request) -> bool:
        if digest(ONE) in request.path:
            request.answer(200, bomb, Content_Encoding="gzip")
            return True
        return False

    registry.faults.append(fault)
    assert "layer" in cowfs.refused(f"{registry.name}/image:image")
    asked = registry.asked("GET", digest(ONE))[0]
    assert asked.headers["Accept-Encoding"] == "identity"


# --- references, mirrors


def configured(cowfs: Commands, text: str) -> None:
    file = cowfs.home / ".config/cowfs/registries.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_docker_hubs_images_come_from_its_mirror(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(ONE, name="latest")
    registry.add(layout.path, "library/ubuntu")
    configured(cowfs, f'["docker.io"]\nmirrors = ["{registry.name}"]\n')
    found = cowfs.pull("ubuntu")
    assert (found["image"], found["reference"]) == ("ubuntu:latest", "docker.io/library/ubuntu:latest")


def test_a_mirror_may_be_a_path_and_the_next_one_is_asked(
    cowfs: Commands, registry: Registry, other: Registry, layout: Layout
) -> None:
    layout.image(ONE, name="12")
    registry.add(layout.path, "hub/library/debian")
    configured(cowfs, f'["docker.io"]\nmirrors = ["{other.name}", "{registry.name}/hub"]\n')
    done = cowfs("pull", "-q", "debian:12")
    assert (done.returncode, done.stdout) == (0, "docker.io/library/debian:12\n")
    assert f"the mirror {other.name} is left out" in done.stderr


def test_a_mirror_that_lacks_a_layer_is_left_out_in_the_middle(
    cowfs: Commands, registry: Registry, other: Registry, layout: Layout
) -> None:
    layout.image(ONE, TWO)
    registry.add(layout.path)
    other.add(layout.path)
    del other.blobs[digest(TWO)]
    configured(cowfs, f'["{registry.name}"]\nmirrors = ["{other.name}"]\n')
    done = cowfs("pull", "-q", f"{registry.name}/image:image")
    assert done.returncode == 0
    assert f"the mirror {other.name} is left out: {other.name} has no blob {digest(TWO)}" in done.stderr
    assert cowfs.names("layers/sha256") == sorted((digest(ONE)[7:], digest(TWO)[7:]))
    assert registry.blobs_asked()[digest(TWO)] == 1


def test_credentials_are_not_the_mirrors(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(ONE, name="latest")
    registry.add(layout.path, "x/y")
    registry.login = "basic"
    configured(cowfs, f'["registry.example"]\nmirrors = ["{registry.name}"]\n')
    (cowfs.home / ".docker").mkdir()
    (cowfs.home / ".docker/config.json").write_text('{"auths":{"registry.example":{"auth":"bGFiOnNlY3JldA=="}}}')
    done = cowfs("pull", "registry.example/x/y")
    assert done.returncode == 125
    assert [entry.authorization for entry in registry.log] == [""]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("proxy = 1", "'proxy' is not a string"),
        ('["docker.io"]\nmirror = []', "'mirror' of 'docker.io'"),
        ('["docker.io"]\nmirrors = "x"', "'mirrors' of 'docker.io'"),
        ('["docker.io"]\nmirrors = ["not a name"]', "'not a name' is not the name of a registry"),
        ('["https://x"]\ninsecure = true', "'https://x' is not the name of a registry"),
        ("insecure = true", "'insecure' is not known"),
        ("[", "registries.toml"),
    ],
)
def test_a_configuration_that_cannot_be_is_named(cowfs: Commands, text: str, words: str) -> None:
    configured(cowfs, text)
    message = cowfs.refused("debian")
    assert words in message
    assert message.startswith(str(cowfs.home / ".config/cowfs/registries.toml"))


# --- cowrun


def test_cowrun_pulls_what_is_missing(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(ONE, config=config_of([ONE]))
    registry.add(layout.path)
    name = f"{registry.name}/image:image"

    def cowrun(*options: str) -> tuple[int, str]:
        done = cowfs("--dry-run", *options, name, "sh", program="cowrun.main")
        return done.returncode, done.stderr

    status, complaint = cowrun("--pull", "never")
    assert status == 125
    assert f"no image '{name}' in the store (cowfs pull" in complaint
    assert registry.log == []
    assert cowrun()[0] == 0
    registry.log.clear()
    assert cowrun() == (0, "")
    assert registry.log == []
    assert cowrun("--pull", "always") == (0, "")
    assert len(registry.log) == 1
    status, complaint = cowrun("--platform", "linux/arm64")
    assert status == 125
    assert "only for: linux/amd64" in complaint
    status, complaint = cowrun("--pull", "never", "--platform", "linux/arm64")
    assert status == 125
    assert "is for linux/amd64, not linux/arm64" in complaint


def test_a_layer_that_was_damaged_is_pulled_again(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(ONE)
    registry.add(layout.path)
    name = f"{registry.name}/image:image"
    cowfs.pull(name)
    os.truncate(cowfs.layer(digest(ONE)).parent / "layer.json", 0)
    done = cowfs("--dry-run", "--quiet", name, "sh", program="cowrun.main")
    assert (done.returncode, done.stderr) == (0, "")
    assert (cowfs.layer(digest(ONE)) / "one").exists()


def test_requests_is_not_imported_without_a_pull(
    cowfs: Commands, registry: Registry, layout: Layout, tmp_path: Path
) -> None:
    layout.image(ONE)
    registry.add(layout.path)
    name = f"{registry.name}/image:image"
    cowfs.pull(name)
    trace = tmp_path / "modules"
    cowfs.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    done = cowfs("--dry-run", name, "sh", program="cowrun.main")
    trace.write_text(done.stderr)
    assert done.returncode == 0
    assert "cowfs.images.sources" in done.stderr
    assert not [
        line
        for line in done.stderr.splitlines()
        if line.rstrip().endswith((" requests", " isal", " cowfs.images.importer"))
    ]
