"""What an image is made of, before any of it is unpacked: the common form of every kind of source.

A layout, an archive or a registry makes a :class:`Plan`; the importer (cowfs.images.importer) carries it out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from cowfs.errors import BrokenImage
from cowfs.images.compression import Compression
from cowfs.images.config import ParsedConfig
from cowfs.images.manifest import LAYER_TYPES, Descriptor, Manifest


class Stream(Protocol):
    """The bytes of a blob, in order."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, b"" at the end."""

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


def layer_sources(
    manifest: Manifest, config: ParsedConfig, open_blob: Callable[[Descriptor], Stream]
) -> tuple[LayerSource, ...]:
    """The layers of a manifest, each with the diffID that the config gives it."""
    if len(manifest.layers) != len(config.diff_ids):
        raise BrokenImage(f"{len(manifest.layers)} layers in the manifest, {len(config.diff_ids)} in the config")
    return tuple(
        LayerSource(
            diff_id=diff_id,
            open=lambda layer=layer: open_blob(layer),  # type: ignore[misc]
            digest=layer.digest,
            size=layer.size,
            compression=LAYER_TYPES[layer.media_type],
        )
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    )
