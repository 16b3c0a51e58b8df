"""OCI image layouts (image-spec, image-layout.md), as a directory or in a tar. Makes a Plan; unpacks nothing.

The blobs that a layout lacks are never fetched from anywhere, whatever ``urls`` say.
"""

import hashlib

from cowfs.errors import BrokenImage, NotFound
from cowfs.images import limits
from cowfs.images.config import parse_config
from cowfs.images.files import File, Files, read_document
from cowfs.images.manifest import (
    OCI_INDEX,
    Descriptor,
    Manifest,
    host_architecture,
    parse_document,
    select,
)
from cowfs.images.plan import Plan, layer_sources

_REF_NAME = "org.opencontainers.image.ref.name"


def plan_layout(files: Files, tag: str) -> Plan:
    """The image called ``tag`` in the layout, or the only one if ``tag`` is empty."""
    index = parse_document(read_document(files, "index.json", "index of the layout"), OCI_INDEX)
    assert not isinstance(index, Manifest)
    descriptor = _tagged(index, tag)
    for _ in range(limits.INDEX_DEPTH):
        data = _document(files, descriptor)
        found = parse_document(data, descriptor.media_type)
        if isinstance(found, Manifest):
            config_data = _document(files, found.config)
            config = parse_config(config_data)
            layers = layer_sources(found, config, lambda layer: _open_blob(files, layer))
            return Plan(descriptor.digest, found.config.digest, (data, config_data), config, layers)
        descriptor = select(found, host_architecture())
    raise BrokenImage(f"an index in an index, more than {limits.INDEX_DEPTH} deep")


def _tagged(index: list[Descriptor], tag: str) -> Descriptor:
    tags = {entry.annotations.get(_REF_NAME, ""): entry for entry in index}
    if tag in tags and tag:
        return tags[tag]
    if not tag and len(index) == 1:
        return index[0]
    names = ", ".join(sorted(name for name in tags if name)) or "none"
    raise NotFound(f"no image {tag!r} in the layout; its tags: {names}" if tag else f"name one of the tags: {names}")


def _document(files: Files, descriptor: Descriptor) -> bytes:
    """A manifest or config, its size and digest verified."""
    data = read_document(files, _blob_name(descriptor), "manifest")
    if len(data) != descriptor.size:
        raise BrokenImage(f"{descriptor.digest} has {len(data)} bytes instead of {descriptor.size}")
    if "sha256:" + hashlib.sha256(data).hexdigest() != descriptor.digest:
        raise BrokenImage(f"{descriptor.digest} is damaged: its digest is another one")
    return data


def _open_blob(files: Files, descriptor: Descriptor) -> File:
    return files.open(_blob_name(descriptor))


def _blob_name(descriptor: Descriptor) -> str:
    return "blobs/" + descriptor.digest.replace(":", "/")
