"""What a person may type as IMAGE, and what it becomes. Used by every command that takes one.

@host                        the machine's own root, as one layer
dir:PATH                     a directory, as one layer
oci:PATH[:TAG]               an OCI image layout
oci-archive:FILE[:TAG]       a tar of one
docker-archive:FILE[:NAME]   what docker save wrote
docker:[[ROOT]]NAME          an image in docker's own store
podman:[[ROOT]]NAME          an image in podman's own store
anything else                an image in the store, by its reference
"""

from collections.abc import Callable
from pathlib import Path

from cowfs.errors import NotFound, StoreError, UsageError
from cowfs.images.host import HOST
from cowfs.images.reference import Reference, parse_reference
from cowfs.model import Base, LayerInfo, shown_layers
from cowfs.store import Store
from cowfs.store.records import StoredImage

ARCHIVES = ("oci", "oci-archive", "docker-archive")
_FOREIGN = ("docker", "podman")
_SCHEMES = ("dir", *ARCHIVES, *_FOREIGN)

# Given a reference and what the store has under it, the image to use; None if there is none.
Bring = Callable[[Reference, StoredImage | None], StoredImage | None]


def resolve(
    text: str, store: Store, *, every_layer: bool = False, bring: Bring | None = None, any_form: bool = False
) -> Base:
    """The base that ``text`` names; what is missing in the store is unpacked into it.

    An image of a registry must be in the store, unless ``bring`` gets it.

    Its layers are those that a mount needs: without the ones that hold nothing, or of which an opaque root above hides
    everything. ``every_layer`` is for who describes the image, ``any_form`` for who reads fuse-overlayfs's marks, too.

    Raises NotFound, UsageError, BrokenImage, StoreError, PrivilegeError.
    """
    if text == HOST:
        return Base(source=text, layers=(LayerInfo(1, Path("/")),), host=True, live=True)
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in _SCHEMES:
        return base_of(text, _stored(text, store, bring), store, every_layer)
    if not rest:
        raise UsageError(f"{text!r} names no path: {scheme}:PATH")
    if scheme == "dir":
        return Base(source=text, layers=(LayerInfo(1, _directory(Path(rest))),))
    if scheme in _FOREIGN:
        return _foreign(text, scheme, rest, any_form)
    from cowfs.images.archives import imported  # the readers of archives and layers take longer to import than a mount

    return base_of(text, imported(scheme, rest, store), store, every_layer)


def resolve_image(text: str, store: Store) -> StoredImage:
    """The image that ``text`` names, in the store after what is missing was unpacked. Raises as ``resolve``."""
    scheme, colon, rest = text.partition(":")
    if text == HOST or (colon and scheme == "dir"):
        raise UsageError(f"{text!r} is a directory, not an image")
    if colon and scheme in _FOREIGN:
        raise UsageError(f"{text!r} is not in our store: {scheme} save makes an archive of it")
    if not colon or scheme not in _SCHEMES:
        return _stored(text, store, None)
    from cowfs.images.archives import imported

    return imported(scheme, rest, store)


def stored_reference(text: str, store: Store) -> str:
    """The exact name under which the store holds the image ``text``. Raises NotFound."""
    found = next((image.reference for image in store.images() if text in (image.reference, image.familiar)), "")
    if not found:
        scheme, colon, rest = text.partition(":")
        if colon and scheme in ARCHIVES:
            from cowfs.images.archives import archive_reference

            found = archive_reference(scheme, rest)
        else:
            found = str(parse_reference(text))
    if store.image(found) is None:
        raise NotFound(f"no image {text!r} in the store (cowfs images lists them)")
    return found


def _foreign(text: str, scheme: str, rest: str, any_form: bool) -> Base:
    from cowfs.images import docker, podman

    return docker.resolve(text, rest) if scheme == "docker" else podman.resolve(text, rest, any_form=any_form)


def _directory(path: Path) -> Path:
    try:
        found = path.resolve(strict=True)
    except FileNotFoundError:
        raise NotFound(f"no directory {path}") from None
    except (OSError, RuntimeError) as error:
        raise NotFound(f"{path} cannot be used: {error}") from None
    if not found.is_dir():
        raise UsageError(f"{path} is not a directory")
    return found


def _stored(text: str, store: Store, bring: Bring | None) -> StoredImage:
    reference = parse_reference(text)
    image = store.image(str(reference))
    if bring is not None:
        image = bring(reference, image)
    if image is None:
        raise NotFound(f"no image {reference.familiar!r} in the store (cowfs pull brings it; also: oci:, dir:, @host)")
    return image


def base_of(text: str, image: StoredImage, store: Store, every_layer: bool = False) -> Base:
    """The base that ``image``, typed as ``text``, is. ``every_layer``: also those of which nothing shows.

    Raises StoreError.
    """
    from cowfs.images import limits
    from cowfs.images.config import parse_config

    config = parse_config(store.blob(image.config, limits.DOCUMENT))
    layers: list[LayerInfo] = []
    for number, (diff_id, created_by) in enumerate(zip(config.diff_ids, config.created_by, strict=True), start=1):
        layer = store.layer(diff_id)
        if layer is None:
            raise StoreError(f"layer {diff_id} of {image.reference} is missing: import the image again")
        directory, empty = store.layer_directory(diff_id), not layer.entries and number > 1
        layers.append(LayerInfo(number, directory, diff_id, layer.size, created_by, opaque=layer.opaque, empty=empty))
    return Base(
        source=text,
        layers=tuple(layers) if every_layer else shown_layers(layers),
        config=config.image,
        digest=image.digest,
        steps=config.steps,
    )
