"""An image of the store to a registry. Used by ``cowfs push``.

    a layer whose blob, as some image brought it, the registry has     named as it is
    any other                                                          packed, uploaded unless it is there
    then the config, and last the manifest                             the tag changes at once, or not at all

Where the registry has all blobs of the manifest that came with the image, that one is used: the digest stays.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping
from io import BytesIO

from cowfs.errors import BrokenImage, StoreError, UsageError
from cowfs.images import limits
from cowfs.images.manifest import LAYER_TYPES, MANIFESTS, OCI_MANIFEST, Manifest, parse_document
from cowfs.images.outgoing import Packed, config_of, manifest, pack
from cowfs.images.plan import digest
from cowfs.images.reference import Reference
from cowfs.images.registry.pull import Registries
from cowfs.images.registry.repository import Repository
from cowfs.images.workers import Note, TaskFailed, in_processes
from cowfs.store import Store
from cowfs.store.records import StoredImage

_AT_ONCE = 2  # layers: packing keeps a core busy each
_OCI_TYPES = tuple(name for name, compression in LAYER_TYPES.items() if compression is not None)


def push(
    registries: Registries,
    store: Store,
    image: StoredImage,
    reference: Reference,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """The digest of the manifest that ``reference`` names now. ``say`` gets a line for each layer.

    Raises RegistryError, NotFound, StoreError, UsageError.
    """
    if reference.digest:
        raise UsageError(f"{reference.familiar}: an image is pushed to a tag, its digest comes of itself")
    repository = registries.repository(
        registries.settings.endpoint(reference.domain, reference.path), actions="pull,push"
    )
    if original := _all_there(repository, store, image):
        repository.put_manifest(reference.tag, *original)
        return digest(original[0])
    config = config_of(store, image)
    with store.lease_layers(list(image.diff_ids)):
        layers = _push_layers(repository, store, image, say)
    if not repository.has_blob(image.config):
        repository.upload(image.config, BytesIO(config))
    data = manifest(config, layers)
    repository.put_manifest(reference.tag, data, OCI_MANIFEST)
    return digest(data)


def _all_there(repository: Repository, store: Store, image: StoredImage) -> tuple[bytes, str] | None:
    """The manifest that came with the image, if the registry has all that it names."""
    blobs = _blobs_of(store, image)
    if not blobs or not repository.has_blob(image.config):  # which also gets us a challenge and a token, once
        return None
    return _manifest_of(store, image) if all(repository.has_blob(blob.digest) for blob in blobs) else None


def _push_layers(repository: Repository, store: Store, image: StoredImage, say: Callable[[str], None]) -> list[Packed]:
    known = _known_blobs(store)
    pushed: dict[str, Packed] = {}

    def seen(diff_id: str, what: Note | Packed) -> None:
        if isinstance(what, Packed):
            pushed[diff_id] = what
            say(f"layer {diff_id.removeprefix('sha256:')[:12]} is there")

    tasks = {
        diff_id: functools.partial(_push_layer, repository, store, diff_id, known.get(diff_id, []))
        for diff_id in image.diff_ids
    }
    try:
        in_processes(tasks, _AT_ONCE, seen)
    except TaskFailed as failure:
        raise failure.error from None
    return [pushed[diff_id] for diff_id in image.diff_ids]


def _push_layer(
    repository: Repository, store: Store, diff_id: str, known: list[Packed], _tell: Callable[[int], None]
) -> Packed:
    for packed in known:
        if repository.has_blob(packed.digest):
            return packed
    with open(store.scratch_file(), "w+b") as file:
        try:
            packed = pack(store, diff_id, file.write)
            file.flush()
        except OSError as error:
            raise StoreError(f"layer {diff_id[:19]} cannot be packed in {store.root}: {error.strerror}") from error
        if not repository.has_blob(packed.digest):
            repository.upload(packed.digest, file)
    return packed


def _known_blobs(store: Store) -> Mapping[str, list[Packed]]:
    """The blobs that images came with, by DiffID, as far as an OCI manifest may name them."""
    found: dict[str, list[Packed]] = {}
    for image in store.images():
        for packed in _blobs_of(store, image):
            if packed.media_type in _OCI_TYPES:
                found.setdefault(packed.diff_id, []).append(packed)
    return found


def _blobs_of(store: Store, image: StoredImage) -> list[Packed]:
    """The layers as the manifest of ``image`` names them; none where there is no manifest."""
    data = _manifest_of(store, image)
    if data is None:
        return []
    found = parse_document(*data)
    assert isinstance(found, Manifest)
    return [
        Packed(diff_id, layer.digest, layer.size, layer.media_type)
        for diff_id, layer in zip(image.diff_ids, found.layers, strict=True)
    ]


def _manifest_of(store: Store, image: StoredImage) -> tuple[bytes, str] | None:
    """The manifest that came with an image, and its type."""
    with contextlib.suppress(StoreError):
        data = store.blob(image.digest, limits.DOCUMENT)
        for media_type in MANIFESTS:
            with contextlib.suppress(BrokenImage):
                found = parse_document(data, media_type)
                if isinstance(found, Manifest) and len(found.layers) == len(image.diff_ids):
                    return data, media_type
    return None
