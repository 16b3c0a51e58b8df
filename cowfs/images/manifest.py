"""Manifests and indexes of the OCI image specification and of docker's schema 2: bytes in, values out, no I/O.

A document is one or the other: its own mediaType, the one by which it was named and what it holds must agree, or it is
refused (a document that is both has made registries and runtimes disagree, CVE-2021-41190).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from cowfs.errors import BrokenImage, NotFound
from cowfs.images import limits
from cowfs.images.compression import Compression
from cowfs.images.jsondoc import Fields, parse
from cowfs.images.platforms import Platform

_OCI = "application/vnd.oci.image."
_DOCKER = "application/vnd.docker."
OCI_INDEX = _OCI + "index.v1+json"
OCI_MANIFEST = _OCI + "manifest.v1+json"
INDEXES = (OCI_INDEX, _DOCKER + "distribution.manifest.list.v2+json")
MANIFESTS = (OCI_MANIFEST, _DOCKER + "distribution.manifest.v2+json")
CONFIGS = (_OCI + "config.v1+json", _DOCKER + "container.image.v1+json")

# None: docker never held its types to the compression that they name
LAYER_TYPES: dict[str, Compression | None] = {
    base + suffix: compression
    for base in (_OCI + "layer.v1.tar", _OCI + "layer.nondistributable.v1.tar")
    for suffix, compression in (("", Compression.NONE), ("+gzip", Compression.GZIP), ("+zstd", Compression.ZSTD))
} | {
    _DOCKER + f"image.rootfs.{kind}tar{suffix}": None
    for kind in ("diff.", "foreign.diff.")
    for suffix in ("", ".gzip", ".zstd")
}

_ATTESTATION = "vnd.docker.reference.type"  # BuildKit's annotation of what is no image


class Descriptor(NamedTuple):
    """What one document says about another one."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = MappingProxyType({})


class Manifest(NamedTuple):
    """One image of one platform."""

    config: Descriptor
    layers: tuple[Descriptor, ...]  # bottom first


def parse_document(data: bytes, media_type: str, what: str = "manifest") -> Manifest | list[Descriptor]:
    """A manifest, or the descriptors of an index. It was named as ``media_type``; messages call it ``what``."""
    fields = parse(data, what)
    own_type = fields.text("mediaType", media_type)
    if own_type != media_type:
        raise BrokenImage(f"the {what} says that it is {own_type!r}, and was named as {media_type!r}")
    if fields.integer("schemaVersion") != 2:
        raise BrokenImage(f"the {what} is one of docker's schema 1, which is not supported")
    if "manifests" in fields and ("layers" in fields or "config" in fields):
        raise BrokenImage(f"the {what} is a manifest and an index at once")
    if media_type in INDEXES:
        return [_descriptor(item) for item in fields.objects("manifests")]
    if media_type in MANIFESTS:
        return _manifest(fields)
    raise BrokenImage(f"{media_type!r} is not an image")


def select(index: list[Descriptor], wanted: Platform) -> Descriptor:
    """The entry that fits ``wanted`` best. Raises NotFound, naming what there is."""
    images = [entry for entry in index if not _is_attestation(entry)]
    ranks = [(rank, entry) for entry in images if entry.platform and (rank := wanted.rank(entry.platform)) is not None]
    if ranks:
        return min(ranks, key=lambda found: found[0])[1]
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    there = ", ".join(str(entry.platform) for entry in images if entry.platform)
    raise NotFound(f"the image is not there for {wanted}, only for: {there or 'nothing'}")


def _is_attestation(entry: Descriptor) -> bool:
    return _ATTESTATION in entry.annotations or (entry.platform is not None and entry.platform.os == "unknown")


def _manifest(fields: Fields) -> Manifest:
    config = _descriptor(fields.fields("config"))
    layers = tuple(_descriptor(item) for item in fields.objects("layers"))
    if config.media_type not in CONFIGS:
        raise BrokenImage(f"{config.media_type!r} is the config of something that is not an image")
    if config.size > limits.DOCUMENT:
        raise BrokenImage(f"a config of more than {limits.DOCUMENT} bytes")
    if len(layers) > limits.LAYERS:
        raise BrokenImage(f"an image of more than {limits.LAYERS} layers")
    for layer in layers:
        if layer.media_type not in LAYER_TYPES:
            raise BrokenImage(f"a layer of the unknown type {layer.media_type!r}")
    return Manifest(config, layers)


def _descriptor(fields: Fields) -> Descriptor:
    where = fields.fields("platform")
    annotations = fields.fields("annotations")
    return Descriptor(
        media_type=fields.text("mediaType"),
        digest=fields.digest("digest"),
        size=fields.integer("size"),
        platform=Platform(where.text("os", ""), where.text("architecture", ""), where.text("variant", ""))
        if "platform" in fields
        else None,
        annotations={key: annotations.text(key) for key in annotations.names()},
    )
