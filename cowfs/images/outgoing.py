"""What an image of the store is when it leaves: layers as blobs, and the manifest over them. For export and push.

A layer's tar is put together again from its tree and its skeleton; what comes out has the DiffID, or StoreError is
raised: nothing that changed in the store gets out under an old name.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from cowfs.errors import StoreError
from cowfs.images import limits
from cowfs.images.ahead import Ahead
from cowfs.images.compression import BadCompression, gzip_writer
from cowfs.images.manifest import CONFIGS, LAYER_TYPES, OCI_MANIFEST
from cowfs.images.paths import BadPath
from cowfs.images.skeleton import rebuild
from cowfs.images.tarheader import BadTar
from cowfs.store import Store
from cowfs.store.records import StoredImage

LAYER_TYPE: Final = next(name for name in LAYER_TYPES if name.endswith(".layer.v1.tar+gzip"))
CONFIG_TYPE: Final = CONFIGS[0]


class Packed(NamedTuple):
    """A layer as a blob: gzip if we packed it."""

    diff_id: str
    digest: str
    size: int  # bytes
    media_type: str = LAYER_TYPE


def config_of(store: Store, image: StoredImage) -> bytes:
    """The config, byte for byte as it came: its digest is the image's id to docker. Raises StoreError."""
    return store.blob(image.config, limits.DOCUMENT)


def plain(store: Store, diff_id: str) -> Iterator[bytes]:
    """The uncompressed tar of a layer. Raises StoreError, at the end at the latest, if it is not what it was.

    The caller holds a lease on the layer.
    """
    hashed = hashlib.sha256()
    try:
        with store.open_layer(diff_id) as (root_fd, skeleton):
            for chunk in rebuild(skeleton, root_fd):
                hashed.update(chunk)
                yield chunk
    except (BadTar, BadPath, BadCompression) as error:
        raise _damaged(diff_id, str(error)) from error
    except OSError as error:
        raise _damaged(diff_id, error.strerror or str(error)) from error
    if "sha256:" + hashed.hexdigest() != diff_id:
        raise _damaged(diff_id, "its files are not those that came")


def pack(store: Store, diff_id: str, write: Callable[[bytes], object]) -> Packed:
    """The layer as a gzip blob, given to ``write`` in pieces: good only once this returns. Raises as ``plain``."""
    packer = gzip_writer()
    hashed = hashlib.sha256()
    size = 0

    def put(data: bytes) -> None:
        nonlocal size
        if data:
            hashed.update(data)
            size += len(data)
            write(data)

    with Ahead(plain(store, diff_id)) as chunks:
        for chunk in chunks:
            put(packer.compress(chunk))
    put(packer.flush())
    return Packed(diff_id, "sha256:" + hashed.hexdigest(), size)


def manifest(config: bytes, layers: Sequence[Packed]) -> bytes:
    """The OCI manifest of an image, its layers from the bottom (image-spec, manifest.md)."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(CONFIG_TYPE, config),
        "layers": [{"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size} for layer in layers],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def descriptor(media_type: str, data: bytes) -> dict[str, object]:
    """What another document says about ``data``."""
    return {"mediaType": media_type, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}


def _damaged(diff_id: str, why: str) -> StoreError:
    return StoreError(f"layer {diff_id[:19]} is damaged in the store ({why}): cowfs check says more")
