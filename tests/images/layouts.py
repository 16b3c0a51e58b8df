"""Writes OCI layouts, docker archives and what they consist of, from the specifications' text."""

import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zstandard

from tests.images import tars

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

Json = dict[str, Any]


def digest(data: bytes) -> str:
    """``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def packed(data: bytes, how: str) -> bytes:
    """``data`` as gzip, zstd or itself."""
    if how == "gzip":
        return gzip.compress(data, 6, mtime=0)
    return zstandard.ZstdCompressor().compress(data) if how == "zstd" else data


def config_of(layers: Sequence[bytes], **more: Any) -> Json:
    """A config over the plain tars ``layers``."""
    return {
        "os": "linux",
        "architecture": "amd64",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        "history": [{"created_by": f"step {number}"} for number in range(1, len(layers) + 1)],
    } | more


class Layout:
    """A layout in a directory; every write is done at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[Json] = []
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.write_index()

    def blob(self, data: bytes, media_type: str, **more: Any) -> Json:
        """Store ``data`` and give its descriptor."""
        (self.path / "blobs/sha256" / digest(data)[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)} | more

    def document(self, value: Any, media_type: str, **more: Any) -> Json:
        """The same for JSON."""
        return self.blob(json.dumps(value).encode(), media_type, **more)

    def manifest(
        self,
        layers: Sequence[bytes],
        *,
        how: Sequence[str] | str = "none",
        config: Json | None = None,
        descriptors: Sequence[Json] | None = None,
        **more: Any,
    ) -> Json:
        """An image over the plain tars ``layers``: the descriptor of its manifest."""
        ways = [how] * len(layers) if isinstance(how, str) else how
        if descriptors is None:
            descriptors = [
                self.blob(packed(layer, way), LAYER + ("" if way == "none" else "+" + way))
                for layer, way in zip(layers, ways, strict=True)
            ]
        config_descriptor = self.document(config_of(layers) if config is None else config, CONFIG)
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config_descriptor, "layers": list(descriptors)}
        return self.document(body, MANIFEST, **more)

    def tag(self, name: str, descriptor: Mapping[str, Any]) -> str:
        """List an image; the text that names it on a command line."""
        self.entries.append(dict(descriptor) | {"annotations": {"org.opencontainers.image.ref.name": name}})
        self.write_index()
        return f"oci:{self.path}:{name}"

    def image(self, *layers: bytes, name: str = "image", **more: Any) -> str:
        """A tagged image over plain tars."""
        return self.tag(name, self.manifest(layers, **more))

    def write_index(self) -> None:
        """index.json from ``entries``."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}
        (self.path / "index.json").write_text(json.dumps(index))

    def archive(self) -> bytes:
        """The layout as a tar."""
        files = [path for path in sorted(self.path.rglob("*")) if path.is_file()]
        return tars.tar(
            *(tars.entry(str(path.relative_to(self.path)).encode(), data=path.read_bytes()) for path in files)
        )


def docker_archive(layers: Sequence[bytes], tags: Sequence[str], *, old: bool) -> bytes:
    """What docker save writes: before version 25 (``old``) a directory for each layer, since then blobs."""
    config = json.dumps(config_of(layers)).encode()
    hexes = [hashlib.sha256(layer).hexdigest() for layer in layers]
    names = [f"{name}/layer.tar" if old else f"blobs/sha256/{name}" for name in hexes]
    config_hex = digest(config)[7:]
    config_name = f"{config_hex}.json" if old else f"blobs/sha256/{config_hex}"
    out = io.BytesIO()
    for place, (name, layer) in enumerate(zip(names, layers, strict=True)):
        if name in names[:place]:  # docker writes a link for a layer that it wrote already
            continue
        out.write(tars.entry(name.encode(), data=layer))
    out.write(tars.entry(config_name.encode(), data=config))
    manifest = [{"Config": config_name, "RepoTags": list(tags), "Layers": names}]
    out.write(tars.entry(b"manifest.json", data=json.dumps(manifest).encode()))
    return out.getvalue() + tars.END
