"""Images out of the store, into a file or a directory that other tools read.

    oci:PATH[:TAG]               an OCI image layout: new, or one image more in one that is there
    docker-archive:FILE[:NAME]   what docker load takes

Built aside and published by one rename: a new layout or an archive is there whole or not at all; of a layout that is
there, index.json is replaced last. The same image becomes the same bytes.
"""

import contextlib
import fcntl
import functools
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from cowfs.errors import BrokenImage, CowfsError, StoreError, UsageError
from cowfs.images.config import parse_config
from cowfs.images.manifest import OCI_INDEX, OCI_MANIFEST
from cowfs.images.outgoing import Packed, config_of, descriptor, manifest, pack, plain
from cowfs.images.reference import parse_reference
from cowfs.images.tarstream import Entry, Type
from cowfs.images.tarwriter import END, headers, padding
from cowfs.images.workers import TaskFailed, in_processes
from cowfs.store import Store
from cowfs.store.records import StoredImage, digest_hex
from cowfs.store.trees import remove_tree

_REF_NAME = "org.opencontainers.image.ref.name"
_LATEST = "latest"
_AT_ONCE = 2  # layers: packing keeps a core busy each


def export(store: Store, image: StoredImage, target: str) -> str:
    """Write ``image`` to ``target``; returns the digest of the manifest, or of the config where there is none.

    Raises UsageError, StoreError, BrokenImage.
    """
    scheme, _, rest = target.partition(":")
    write = _TARGETS.get(scheme)
    if write is None or not rest:
        raise UsageError(f"{target!r} is no target: oci:PATH[:TAG] or docker-archive:FILE[:NAME]")
    path, _, name = rest.partition(":")
    with store.lease_layers(list(image.diff_ids)), _explained(Path(path)):
        return write(store, image, Path(path), name)


# --- layouts


def _layout(store: Store, image: StoredImage, path: Path, tag: str) -> str:
    if not path.exists():
        with _aside(path) as new:
            new.mkdir()
            return _add(store, image, new, tag)
    if any(path.iterdir()) and not (path / "oci-layout").is_file():
        raise UsageError(f"{path} is not empty and not an OCI layout")
    return _add(store, image, path, tag)


def _add(store: Store, image: StoredImage, path: Path, tag: str) -> str:
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    config = config_of(store, image)
    document = manifest(config, _packed(store, image, blobs))
    entry = descriptor(OCI_MANIFEST, document)
    for data in (config, document):
        with _aside(blobs / _hex(data)) as new:
            new.write_bytes(data)
    with _aside(path / "oci-layout") as new:
        new.write_text('{"imageLayoutVersion":"1.0.0"}')
    entry["platform"] = _platform(config)
    entry["annotations"] = {_REF_NAME: tag or _tag_of(image)}
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # two of us would lose one image
        _list(path / "index.json", entry)
        os.fsync(fd)
    finally:
        os.close(fd)
    return str(entry["digest"])


def _packed(store: Store, image: StoredImage, blobs: Path) -> list[Packed]:
    """Each layer as a blob in ``blobs``, several at once."""
    found: dict[str, Packed] = {}
    files = {diff_id: blobs / f".{secrets.token_hex(8)}" for diff_id in image.diff_ids}
    tasks = {diff_id: functools.partial(_pack, store, diff_id, file) for diff_id, file in files.items()}
    try:
        in_processes(tasks, _AT_ONCE, found.__setitem__)  # type: ignore[arg-type]  # they tell no notes
        for diff_id, packed in found.items():
            files[diff_id].rename(blobs / digest_hex(packed.digest))
    except TaskFailed as failure:
        raise failure.error from None
    finally:
        for file in files.values():
            file.unlink(missing_ok=True)
    return [found[diff_id] for diff_id in image.diff_ids]


def _pack(store: Store, diff_id: str, path: Path, _tell: Callable[[int], None]) -> Packed:
    with path.open("xb") as file:
        packed = pack(store, diff_id, file.write)
        file.flush()
        os.fsync(file.fileno())
    return packed


def _list(index: Path, entry: dict[str, Any]) -> None:
    """Put ``entry`` into the index, in the place of one with the same tag."""
    try:
        document = json.loads(index.read_bytes())
        others = [other for other in document["manifests"] if _tag_in(other) != _tag_in(entry)]
    except FileNotFoundError:
        document, others = {"schemaVersion": 2, "mediaType": OCI_INDEX}, []
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BrokenImage(f"{index} is not an index of images") from None
    document["manifests"] = [*others, entry]
    with _aside(index) as new:
        new.write_text(json.dumps(document, separators=(",", ":")))


def _tag_in(entry: dict[str, Any]) -> object:
    return (entry.get("annotations") or {}).get(_REF_NAME)


def _platform(config: bytes) -> dict[str, str]:
    names = ("os", "architecture", "variant")
    return dict(zip(names, parse_config(config).platform.split("/"), strict=False))


# --- archives


def _archive(store: Store, image: StoredImage, path: Path, name: str) -> str:
    if path.is_dir():
        raise UsageError(f"{path} is a directory, not a file")
    config = config_of(store, image)
    with _aside(path) as new, new.open("xb") as file:
        layers = [f"{digest_hex(diff_id)}.tar" for diff_id in image.diff_ids]
        for diff_id, layer in dict(zip(image.diff_ids, layers, strict=True)).items():
            _add_layer(store, file, diff_id, layer)
        config_name = f"{_hex(config)}.json"
        tags = [_docker_name(name or image.reference)] if name or _is_reference(image) else []
        _add_file(file, config_name, config)
        document = [{"Config": config_name, "RepoTags": tags, "Layers": layers}]
        _add_file(file, "manifest.json", json.dumps(document, separators=(",", ":")).encode())
        file.write(END)
    return image.config


def _add_layer(store: Store, file: BinaryIO, diff_id: str, name: str) -> None:
    layer = store.layer(diff_id)
    if layer is None:
        raise StoreError(f"layer {diff_id[:19]} is missing in the store: import the image again")
    file.write(_header(name, layer.size))
    for chunk in plain(store, diff_id):
        file.write(chunk)
    file.write(padding(layer.size))


def _add_file(file: BinaryIO, name: str, data: bytes) -> None:
    file.write(_header(name, len(data)) + data + padding(len(data)))


def _header(name: str, size: int) -> bytes:
    return headers(Entry(Type.FILE, name.encode(), b"", 0o644, 0, 0, 0, 0, size))


def _docker_name(text: str) -> str:
    """As docker writes names: with a tag, and without its own registry."""
    return parse_reference(text).familiar


def _is_reference(image: StoredImage) -> bool:
    """False for what came from a layout or an archive, and for images by digest: they have no tag."""
    try:
        return bool(parse_reference(image.reference).tag)
    except CowfsError:
        return False


def _tag_of(image: StoredImage) -> str:
    return parse_reference(image.reference).tag if _is_reference(image) else _LATEST


# --- both


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A new name beside ``path``; what is made there takes its place, durably, if the body ends well."""
    new = path.parent / f".{path.name[:100]}.{secrets.token_hex(8)}"
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield new
        fd = os.open(new, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        new.rename(path)
        os.fsync(parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            remove_tree(parent, os.fsencode(new.name))
        raise
    finally:
        os.close(parent)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def _hex(data: bytes) -> str:
    return digest_hex(str(descriptor("", data)["digest"]))


_TARGETS = {"oci": _layout, "docker-archive": _archive}
