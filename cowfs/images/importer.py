"""Carrying out a plan: missing layers are unpacked into the store, all digests verified, then the image is listed.

    size and digest of the blob     while it is read
    DiffID                          of the plain tar, while it is unpacked
    both right, for every layer     -> one durable commit, then the image's record

Nothing is listed when anything fails, and nothing stays behind. Raises BrokenImage, StoreError, PrivilegeError.
"""

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Iterator

from cowfs.errors import BrokenImage, NotFound, PrivilegeError, StoreError
from cowfs.images.ahead import Ahead
from cowfs.images.compression import MAGIC_SIZE, BadCompression, decompress, sniff
from cowfs.images.paths import BadPath
from cowfs.images.plan import LayerSource, Plan, Stream
from cowfs.images.tarheader import BadTar
from cowfs.images.unpack import unpack
from cowfs.store import Store
from cowfs.store.layers import LayerBuild
from cowfs.store.records import StoredImage, StoredLayer

_TRIES = 3  # somebody may remove a layer again before it is named by a record


def import_image(store: Store, plan: Plan, reference: str) -> StoredImage:
    """The image in the store as ``reference``, after what is missing was unpacked."""
    image = StoredImage(
        reference=reference,
        digest=plan.digest,
        config=plan.config_digest,
        diff_ids=plan.config.diff_ids,
        platform=plan.config.platform,
        stored=time.time(),
    )
    for attempt in range(_TRIES):
        _import_layers(store, plan)
        try:
            with store.lease_layers(list(image.diff_ids)):
                store.publish_image(image, plan.documents)
            return image
        except NotFound:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("not reached")


def _import_layers(store: Store, plan: Plan) -> None:
    missing = _missing(store, plan)
    if not missing:
        return
    if os.geteuid() != 0:
        raise PrivilegeError("unpacking an image makes devices and other users' files: be root")
    with store.importing(missing), contextlib.ExitStack() as cleanup:
        builds = []
        for layer in _missing(store, plan).values():  # another import may have brought some meanwhile
            build = store.stage_layer()
            cleanup.callback(build.close)
            builds.append(build)
            with _explained(store, f"layer {layer.diff_id[len('sha256:') :][:12]}"):
                build.facts = _unpack_layer(layer, build)
        with _explained(store, "the image"):
            store.commit_layers(builds)


def _missing(store: Store, plan: Plan) -> dict[str, LayerSource]:
    """By diffID: an image may hold the same layer twice."""
    return {layer.diff_id: layer for layer in plan.layers if store.layer(layer.diff_id) is None}


def _unpack_layer(layer: LayerSource, build: LayerBuild) -> StoredLayer:
    with layer.open() as stream:
        blob = _Blob(stream, layer)
        compression = sniff(blob.start)
        if layer.compression not in (None, compression):
            raise BrokenImage(f"it is said to be {layer.compression.value} and is {compression.value}")
        plain = _Plain(decompress(blob.read, compression))
        with Ahead(plain) as chunks:
            result = unpack(chunks, build.root_fd)
        blob.verify()
    plain.verify(layer.diff_id)
    return StoredLayer(layer.diff_id, plain.size, result.entries, result.opaque)


class _Blob:
    """The blob as it is stored, counted and hashed while it is read."""

    def __init__(self, stream: Stream, layer: LayerSource) -> None:
        self._stream = stream
        self._layer = layer
        self._hash = hashlib.sha256()
        self._size = 0
        self.start = b""
        while len(self.start) < MAGIC_SIZE and (more := self._take(MAGIC_SIZE - len(self.start))):
            self.start += more
        self._again = self.start

    def read(self, size: int) -> bytes:
        if self._again:
            data, self._again = self._again[:size], self._again[size:]
            return data
        return self._take(size)

    def verify(self) -> None:
        """After the last byte. Size before digest: a blob of another size need not be hashed by anybody."""
        layer = self._layer
        if self._take(1):
            raise BrokenImage("something follows the compressed data")
        if layer.size is not None and self._size != layer.size:
            raise BrokenImage(f"the blob has {self._size} bytes instead of {layer.size}")
        if layer.digest and layer.digest != "sha256:" + self._hash.hexdigest():
            raise BrokenImage(f"the blob is damaged: its digest is not {layer.digest}")

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._size += len(data)
        if self._layer.size is not None and self._size > self._layer.size:
            raise BrokenImage(f"the blob is larger than {self._layer.size} bytes")
        if self._layer.digest:
            self._hash.update(data)
        return data


class _Plain:
    """The uncompressed tar, counted and hashed on its way."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._hash = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._hash.update(chunk)
            self.size += len(chunk)
            yield chunk

    def verify(self, diff_id: str) -> None:
        found = "sha256:" + self._hash.hexdigest()
        if found != diff_id:
            raise BrokenImage(f"the config names another layer: its DiffID is {found}")


@contextlib.contextmanager
def _explained(store: Store, what: str) -> Iterator[None]:
    """Errors in the words of a person who has an image and a disk."""
    free = _free(store)
    try:
        yield
    except (BadTar, BadPath, BadCompression, BrokenImage) as error:
        raise BrokenImage(f"{what}: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"{what} needs more room than the {free} MiB that were free in {store.root}") from error
        raise StoreError(f"{what} cannot be unpacked into {store.root}: {error.strerror}") from error


def _free(store: Store) -> int:
    found = os.statvfs(store.root)
    return found.f_bavail * found.f_frsize >> 20
