"""Manifests, indexes, configs and references: one reading or none (E15, E16, E18)."""

import json
from typing import Any

import pytest

from cowfs.errors import BrokenImage, NotFound, UsageError
from cowfs.images.config import parse_config
from cowfs.images.jsondoc import check_digest
from cowfs.images.manifest import Descriptor, Manifest, parse_document, select
from cowfs.images.platforms import Platform
from cowfs.images.reference import parse_reference
from tests.images.layouts import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    MANIFEST,
    digest,
)

DIGEST = digest(b"")


def descriptor(media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": DIGEST, "size": 2} | more


def manifest(**more: Any) -> dict[str, Any]:
    base = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG), "layers": [descriptor(LAYER)]}
    return base | more


def parsed(document: Any, media_type: str = MANIFEST) -> Manifest | list[Descriptor]:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_document(data, media_type)


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        pytest.param(manifest(), MANIFEST, id="OCI"),
        pytest.param(
            {key: value for key, value in manifest().items() if key != "mediaType"}, MANIFEST, id="without mediaType"
        ),
        pytest.param(
            manifest(mediaType=DOCKER_MANIFEST, config=descriptor(DOCKER_CONFIG), layers=[descriptor(DOCKER_LAYER)]),
            DOCKER_MANIFEST,
            id="docker",
        ),
        pytest.param(manifest(layers=[descriptor(LAYER + "+zstd"), descriptor(LAYER + "+gzip")]), MANIFEST, id="mixed"),
        pytest.param(manifest(manifests=None, annotations={"a": "b"}, unknown=[1]), MANIFEST, id="with other members"),
    ],
)
def test_manifests_of_all_types(document: Any, media_type: str) -> None:
    found = parsed(document, media_type)
    assert isinstance(found, Manifest)
    assert found.config.digest == DIGEST


REFUSED: dict[str, Any] = {
    "manifest and index at once": manifest(manifests=[descriptor(MANIFEST)]),
    "another mediaType than it was named by": manifest(mediaType=DOCKER_MANIFEST),
    "an index named as a manifest": {"schemaVersion": 2, "mediaType": INDEX, "manifests": []},
    "schema 1": manifest(schemaVersion=1),
    "schema as a string": manifest(schemaVersion="2"),
    "duplicate key": b'{"schemaVersion":2,' + json.dumps(manifest()).encode()[1:],
    "duplicate key inside": json.dumps(manifest()).replace('"size": 2', '"size": 2, "size": 3').encode(),
    "NaN": json.dumps(manifest()).replace('"size": 2', '"size": NaN').encode(),
    "depth of 100,000": b"[" * 100_000,
    "deep member": b'{"a":' * 100_000,
    "not an object": b"[]",
    "empty": b"",
    "UTF-16": json.dumps(manifest()).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(manifest()).encode(),
    "something after the end": json.dumps(manifest()).encode() + b"{}",
    "negative size": manifest(layers=[descriptor(LAYER, size=-1)]),
    "size that is a float": manifest(layers=[descriptor(LAYER, size=1.5)]),
    "size that is true": manifest(layers=[descriptor(LAYER, size=True)]),
    "size of 5,000 digits": json.dumps(manifest()).replace('"size": 2', '"size": ' + "9" * 5000).encode(),
    "layers that are an object": manifest(layers={}),
    "layer that is a string": manifest(layers=["x"]),
    "no config": manifest(config=None),
    "unknown layer type": manifest(layers=[descriptor("application/x-thing")]),
    "config of something else": manifest(config=descriptor("application/vnd.cncf.helm.config.v1+json")),
    "config of 5 MiB": manifest(config=descriptor(CONFIG, size=5 << 20)),
    "501 layers": manifest(layers=[descriptor(LAYER)] * 501),
}


@pytest.mark.parametrize("what", REFUSED)
def test_e16_refused(what: str) -> None:
    with pytest.raises(BrokenImage):
        parsed(REFUSED[what])


BAD_DIGESTS = [
    "",
    "sha256:",
    "sha256:" + "0" * 63,
    "sha256:" + "0" * 65,
    "sha256:" + "A" * 64,
    "sha256:" + "g" * 64,
    "SHA256:" + "0" * 64,
    "sha512:" + "0" * 128,
    "md5:" + "0" * 32,
    "sha256:../../../../etc/passwd",
    "../" + "0" * 64,
    "sha256:" + "0" * 64 + "\n",
    "sha256:" + "0" * 64 + "/..",
    "\0" * 71,
    " sha256:" + "0" * 64,
]


@pytest.mark.parametrize("text", BAD_DIGESTS)
def test_e15_malformed_digests(text: str) -> None:
    with pytest.raises(BrokenImage):
        check_digest(text, "test")
    with pytest.raises(BrokenImage):
        parsed(manifest(layers=[descriptor(LAYER, digest=text)]))
    with pytest.raises(BrokenImage):
        parse_config(json.dumps({"rootfs": {"type": "layers", "diff_ids": [text]}}).encode())


def entry(os: str, architecture: str, variant: str = "", **more: Any) -> dict[str, Any]:
    platform = {"os": os, "architecture": architecture} | ({"variant": variant} if variant else {})
    return descriptor(MANIFEST, platform=platform, digest=digest(f"{os}{architecture}{variant}".encode()), **more)


def index(*entries: dict[str, Any], media_type: str = INDEX) -> list[Descriptor]:
    found = parsed({"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries)}, media_type)
    assert isinstance(found, list)
    return found


ATTESTATION = entry("unknown", "unknown", annotations={"vnd.docker.reference.type": "attestation-manifest"})


@pytest.mark.parametrize("media_type", [INDEX, DOCKER_LIST])
def test_the_platform_decides_not_the_order(media_type: str) -> None:
    entries = [entry("linux", "arm64", "v8"), ATTESTATION, entry("windows", "amd64"), entry("linux", "amd64")]
    found = index(*entries, media_type=media_type)
    assert select(found, Platform("linux", "amd64")).platform == Platform("linux", "amd64")
    assert select(found, Platform("linux", "arm64")).platform == Platform("linux", "arm64", "v8")
    with pytest.raises(NotFound, match="linux/arm64/v8, windows/amd64, linux/amd64"):
        select(found, Platform("linux", "riscv64"))


def test_the_best_variant_is_taken() -> None:
    found = index(
        entry("linux", "arm", "v5"), entry("linux", "arm", "v7"), entry("linux", "amd64", "v3"), entry("linux", "amd64")
    )
    assert select(found, Platform("linux", "arm")).platform == Platform("linux", "arm", "v7")
    assert select(found, Platform("linux", "amd64")).platform == Platform("linux", "amd64")


def test_a_single_image_needs_no_platform_and_an_attestation_is_none() -> None:
    assert select(index(ATTESTATION, descriptor(MANIFEST)), Platform("linux", "amd64")).platform is None
    with pytest.raises(NotFound):
        select(index(ATTESTATION), Platform("linux", "amd64"))


# --- configs


def config(**image: Any) -> bytes:
    return json.dumps({"rootfs": {"type": "layers", "diff_ids": [DIGEST]}, "config": image}).encode()


def test_a_config_with_all_that_decides_how_a_command_starts() -> None:
    found = parse_config(
        json.dumps(
            {
                "os": "linux",
                "architecture": "arm64",
                "variant": "v8",
                "config": {
                    "Entrypoint": ["/bin/echo", "entry"],
                    "Cmd": ["cmd 2"],
                    "Env": ["A=1", "EMPTY=", "HOME=/x=y"],
                    "User": "app:staff",
                    "WorkingDir": "/w",
                    "Volumes": {"/data": {}},
                    "ExposedPorts": {"80/tcp": {}},
                    "StopSignal": "SIGINT",
                    "Labels": {"a": "b"},
                },
                "rootfs": {"type": "layers", "diff_ids": [DIGEST, DIGEST]},
                "history": [{"created_by": "one"}, {"created_by": "ENV", "empty_layer": True}, {"created_by": "two"}],
            }
        ).encode()
    )
    assert found.image.entrypoint == ("/bin/echo", "entry")
    assert found.image.env == ("A=1", "EMPTY=", "HOME=/x=y")
    assert (found.image.user, found.image.working_dir, found.image.stop_signal) == ("app:staff", "/w", "SIGINT")
    assert (found.image.volumes, found.image.exposed_ports, found.image.labels) == (("/data",), ("80/tcp",), {"a": "b"})
    assert found.created_by == ("one", "two")
    assert found.platform == "linux/arm64/v8"


def test_null_is_absent_as_docker_writes_it() -> None:
    found = parse_config(config(Entrypoint=None, Cmd=None, Env=None, Labels=None, Volumes=None, User=None))
    assert found.image.cmd == ()
    assert found.image.labels == {}


def test_history_that_does_not_add_up_is_left_out() -> None:
    data = json.dumps({"rootfs": {"type": "layers", "diff_ids": [DIGEST] * 2}, "history": [{"created_by": "x"}]})
    assert parse_config(data.encode()).created_by == ("", "")


@pytest.mark.parametrize("env", ["NOTHING", "", "=", "=value"])
def test_e18_env_without_a_name_and_a_value_is_dropped(env: str) -> None:
    assert parse_config(config(Env=["A=1", env])).image.env == ("A=1",)


@pytest.mark.parametrize(
    "image",
    [
        {"Entrypoint": "sh -c evil"},
        {"Cmd": [1]},
        {"Cmd": ["a\0b"]},
        {"Env": {"A": "1"}},
        {"Env": ["A=\0"]},
        {"User": 0},
        {"User": "a\0b"},
        {"WorkingDir": ["/"]},
        {"WorkingDir": "/a\0"},
        {"Labels": {"a": 1}},
        {"Labels": []},
        {"Volumes": ["/x"]},
        {"StopSignal": 9},
    ],
)
def test_e18_values_of_the_wrong_kind_are_refused(image: dict[str, Any]) -> None:
    with pytest.raises(BrokenImage):
        parse_config(config(**image))


@pytest.mark.parametrize("rootfs", [{}, {"type": "layers", "diff_ids": "x"}, {"type": "squashfs", "diff_ids": []}])
def test_e18_a_config_without_layers_is_refused(rootfs: dict[str, Any]) -> None:
    with pytest.raises(BrokenImage):
        parse_config(json.dumps({"rootfs": rootfs}).encode())


# --- references


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("ghcr.io/a/b", "ghcr.io/a/b:latest", "ghcr.io/a/b:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1"),
        ("127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000/a/b/c:t"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        (f"x@{DIGEST}", f"docker.io/library/x@{DIGEST}", f"x@{DIGEST}"),
        (f"x:1@{DIGEST}", f"docker.io/library/x:1@{DIGEST}", f"x:1@{DIGEST}"),
        ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest", "a__b/c--d.e:latest"),
    ],
)
def test_references(text: str, full: str, familiar: str) -> None:
    found = parse_reference(text)
    assert (str(found), found.familiar) == (full, familiar)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "x:",
        "/etc",
        "./x",
        "../x",
        "X",
        "a//b",
        "a/",
        "-a",
        "a..b",
        "x:a b",
        "x:" + "t" * 129,
        "x@sha256:1",
        "x@md5:0",
        "host:port/x",
        "a/../b",
        "x\n",
        "a/" + "b" * 255,
        "hos_t.com/x",
        "é",
    ],
)
def test_e15_malformed_references(text: str) -> None:
    with pytest.raises(UsageError):
        parse_reference(text)
