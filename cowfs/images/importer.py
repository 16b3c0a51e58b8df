"""Carrying out a plan: missing layers are unpacked into the store, all digests verified, then the image is listed.

    size and digest of the blob     while it is read
    DiffID                          of the plain tar, while it is unpacked
    both right, for every layer     -> one durable commit, then the image's record

Each layer is unpacked by a process of its own, several at once (cowfs.images.workers). Nothing is listed when anything
fails, and nothing stays behind but the downloads that can be gone on with. Raises BrokenImage, StoreError,
PrivilegeError, and what the plan's source raises.
"""

import contextlib
import errno
import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Set

from cowfs.errors import BrokenImage, NotFound, StoreError
from cowfs.images.ahead import Ahead
from cowfs.images.census import check_entries
from cowfs.images.compression import MAGIC_SIZE, BadCompression, decompress, sniff
from cowfs.images.paths import BadPath
from cowfs.images.plan import LayerSource, Plan, Stream
from cowfs.images.progress import Progress, Silent
from cowfs.images.skeleton import Recorder
from cowfs.images.tarheader import BadTar
from cowfs.images.unpack import Uncounted, unpack
from cowfs.images.workers import Note, TaskFailed, Tell, in_processes
from cowfs.store import Store
from cowfs.store.layers import LayerBuild
from cowfs.store.records import StoredImage, StoredLayer

_TRIES = 3  # somebody may remove a layer again before it is named by a record
_AT_ONCE = 4  # layers: each has a download, two cores are busy with two
_TOLD = 0.1  # seconds between two words about how far a layer is
_BROKEN = (BadTar, BadPath, BadCompression, BrokenImage)


def import_image(store: Store, plan: Plan, reference: str, progress: Progress | None = None) -> StoredImage:
    """The image in the store as ``reference``, after what is missing was unpacked."""
    image = StoredImage(
        reference=reference,
        digest=plan.digest,
        config=plan.config_digest,
        diff_ids=plan.config.diff_ids,
        platform=plan.config.platform,
        stored=time.time(),
    )
    progress = progress or Silent()
    with _explained(store, "the image", _free(store)):
        progress.begin(plan.layers, set(_missing(store, plan)))
        try:
            for _ in range(_TRIES - 1):
                with contextlib.suppress(NotFound):
                    return _import(store, plan, image, progress)
            return _import(store, plan, image, progress)
        finally:
            progress.end()


def _import(store: Store, plan: Plan, image: StoredImage, progress: Progress) -> StoredImage:
    _import_layers(store, plan, progress)
    with store.lease_layers(list(image.diff_ids)):
        store.publish_image(image, plan.documents)
    return image


def import_again(store: Store, plan: Plan, diff_ids: Set[str], progress: Progress | None = None) -> None:
    """Unpack layers of the plan once more and put them in the place of those that the store has, which are damaged.

    Raises StoreError if one of these is in use.
    """
    layers = {layer.diff_id: layer for layer in plan.layers if layer.diff_id in diff_ids}
    progress = progress or Silent()
    progress.begin(plan.layers, set(layers))
    try:
        with _explained(store, "the image", _free(store)), store.importing(layers) as ours:
            _unpack_layers(store, [layers[diff_id] for diff_id in ours], progress, replace=True)
    finally:
        progress.end()


def _import_layers(store: Store, plan: Plan, progress: Progress) -> None:
    while missing := _missing(store, plan):
        with store.importing(missing) as ours:
            missing = _missing(store, plan)
            for diff_id in ours.difference(missing):  # another import brought it meanwhile
                progress.done(diff_id)
            _unpack_layers(store, [missing[diff_id] for diff_id in ours if diff_id in missing], progress)


def _unpack_layers(store: Store, layers: list[LayerSource], progress: Progress, *, replace: bool = False) -> None:
    """The layers into the store, all or none. The largest one begins. ``replace``: also those that are there."""
    layers.sort(key=lambda layer: layer.size or 0, reverse=True)
    _check_room(store, sum(layer.size or 0 for layer in layers))
    free = _free(store)
    with contextlib.ExitStack() as cleanup:
        builds: dict[str, LayerBuild] = {}
        for layer in layers:
            builds[layer.diff_id] = build = store.stage_layer()
            cleanup.callback(build.close)

        def seen(diff_id: str, what: Note | StoredLayer) -> None:
            if isinstance(what, Note):
                progress.at(diff_id, what.value)
            else:
                builds[diff_id].facts = what
                progress.done(diff_id)

        try:
            tasks = {layer.diff_id: functools.partial(_unpack_layer, layer, builds[layer.diff_id]) for layer in layers}
            in_processes(tasks, _AT_ONCE, seen)
        except TaskFailed as failure:
            with _explained(store, f"layer {failure.task[len('sha256:') :][:12]}", free):
                raise failure.error from None
        for layer in layers:  # before the sync: what is gone need not be written
            if layer.digest:
                store.remove_part(layer.digest)
        with _explained(store, "the image", free):
            store.commit_layers(list(builds.values()), replace=replace)


def _missing(store: Store, plan: Plan) -> dict[str, LayerSource]:
    """By diffID: an image may hold the same layer twice."""
    return {layer.diff_id: layer for layer in plan.layers if store.layer(layer.diff_id) is None}


def _unpack_layer(layer: LayerSource, build: LayerBuild, tell: Tell) -> StoredLayer:
    """In a process of its own. What an earlier download left may be damaged: then all of it comes once more.

    A layer of very many tiny entries is read once more, too, to count them before they are made.
    """
    count = counted = again = False
    while True:
        with layer.open() as stream:
            try:
                if count:
                    _count_entries(stream, layer, tell)
                    count, counted = False, True
                else:
                    return _unpack_stream(stream, layer, build, tell, counted)
            except Uncounted:
                count = True
            except _BROKEN:
                if not stream.discard() or again or count:  # all that was counted is kept, be it from earlier or not
                    raise
                again = True
        build.restart()


def _count_entries(stream: Stream, layer: LayerSource, tell: Tell) -> None:
    """Raises BadTar for too many."""
    blob = _Blob(stream, layer, tell)
    with Ahead(decompress(blob.read, sniff(blob.start))) as chunks:
        check_entries(chunks)


def _unpack_stream(stream: Stream, layer: LayerSource, build: LayerBuild, tell: Tell, counted: bool) -> StoredLayer:
    blob = _Blob(stream, layer, tell)
    compression = sniff(blob.start)
    if layer.compression not in (None, compression):
        raise BrokenImage(f"it is said to be {layer.compression.value} and is {compression.value}")
    plain = _Plain(decompress(blob.read, compression))
    with build.skeleton() as file, Ahead(plain) as chunks, Recorder(file) as skeleton:
        result = unpack(chunks, build.root_fd, skeleton.add, counted=counted)
    blob.verify()
    plain.verify(layer.diff_id)
    return StoredLayer(layer.diff_id, plain.size, result.entries, result.opaque)


class _Blob:
    """The blob as it is stored, counted and hashed while it is read."""

    def __init__(self, stream: Stream, layer: LayerSource, tell: Callable[[int], None]) -> None:
        self._stream = stream
        self._layer = layer
        self._tell = tell
        self._told = 0.0
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
        if time.monotonic() > self._told + _TOLD:
            self._tell(self._size)
            self._told = time.monotonic()
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
def _explained(store: Store, what: str, free: int) -> Iterator[None]:
    """Errors in the words of a person who has an image and a disk, with ``free`` bytes before."""
    try:
        yield
    except _BROKEN as error:
        raise BrokenImage(f"{what}: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"{what} needs more room than the {_mib(free)} that were free in {store.root}") from error
        raise StoreError(f"{what} cannot be unpacked into {store.root}: {error.strerror}") from error


def _check_room(store: Store, need: int) -> None:
    """Raises StoreError where not even the packed layers would fit."""
    if need > (free := _free(store)):
        raise StoreError(f"the image needs at least {_mib(need)}, {_mib(free)} are free in {store.root}")


def _free(store: Store) -> int:
    found = os.statvfs(store.root)
    return found.f_bavail * found.f_frsize


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"
