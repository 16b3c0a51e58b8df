"""What an image is made of, before any of it is unpacked: the common form of every kind of source.

A layout, an archive or a registry makes a :class:`Plan`; the importer (cowfs.images.importer) carries it out.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from cowfs.errors import BrokenImage, NotFound
from cowfs.images import limits, platforms
from cowfs.images.compression import Compression
from cowfs.images.config import ParsedConfig, parse_config
from cowfs.images.manifest import LAYER_TYPES, Descriptor, Manifest, parse_document, select
from cowfs.images.platforms import Platform


class Stream(Protocol):
    """The bytes of a blob, in order."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, b"" at the end."""

    def discard(self) -> bool:
        """What was read is wrong. True if some of it was kept from earlier, and is forgotten now: try again."""

    def __enter__(self) -> "Stream": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class LayerSource:
    """Where a layer can be had. ``open`` is called only if the store lacks ``diff_id``."""

    diff_id: str
    open: Callable[[], Stream]
    digest: str = ""  # of the blob as it is stored, empty if the source names none
    size: int | None = None  # of the blob
    compression: Compression | None = None  # None: what the first bytes say


@dataclass(frozen=True, slots=True)
class Plan:
    """One image. ``digest`` is its manifest's; docker's archives have none, there it is the config's."""

    digest: str
    config_digest: str
    documents: tuple[bytes, ...]  # manifest and config as they were read
    config: ParsedConfig
    layers: tuple[LayerSource, ...]  # bottom first


class Source(Protocol):
    """Where the documents and blobs of an image are, by descriptor: a layout or a registry."""

    def document(self, descriptor: Descriptor, what: str) -> bytes:
        """A manifest or config; see :func:`verified`."""

    def open(self, descriptor: Descriptor) -> Stream:
        """A layer. Who reads it verifies it."""


def plan_image(source: Source, descriptor: Descriptor, wanted: Platform | None = None) -> Plan:
    """The image that ``descriptor`` names, for ``wanted``; through indexes, for this machine if that is None.

    Raises BrokenImage, and NotFound if it is there for other platforms only.
    """
    for depth in range(limits.INDEX_DEPTH):
        what = f"manifest {descriptor.digest}"
        data = source.document(descriptor, what)
        found = parse_document(data, descriptor.media_type, what)
        if isinstance(found, Manifest):
            config_data = source.document(found.config, f"config {found.config.digest}")
            config = parse_config(config_data)
            if wanted and not depth and wanted.rank(Platform(*config.platform.split("/"))) is None:
                raise NotFound(f"the image is not there for {wanted}, only for: {config.platform}")
            layers = _layer_sources(source, found, config)
            return Plan(descriptor.digest, found.config.digest, (data, config_data), config, layers)
        descriptor = select(found, wanted or platforms.host())
    raise BrokenImage(f"an index in an index, more than {limits.INDEX_DEPTH} deep")


def verified(data: bytes, descriptor: Descriptor) -> bytes:
    """``data`` if it has the size and the digest of ``descriptor``. Size before digest."""
    if len(data) != descriptor.size:
        raise BrokenImage(f"{descriptor.digest} has {len(data)} bytes instead of {descriptor.size}")
    if digest(data) != descriptor.digest:
        raise BrokenImage(f"{descriptor.digest} is damaged: its digest is another one")
    return data


def digest(data: bytes) -> str:
    """``sha256:<64 hex digits>``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _layer_sources(source: Source, manifest: Manifest, config: ParsedConfig) -> tuple[LayerSource, ...]:
    """The layers of a manifest, each with the diffID that the config gives it."""
    if len(manifest.layers) != len(config.diff_ids):
        raise BrokenImage(f"{len(manifest.layers)} layers in the manifest, {len(config.diff_ids)} in the config")
    return tuple(
        LayerSource(
            diff_id=diff_id,
            open=lambda layer=layer: source.open(layer),  # type: ignore[misc]
            digest=layer.digest,
            size=layer.size,
            compression=LAYER_TYPES[layer.media_type],
        )
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    )
