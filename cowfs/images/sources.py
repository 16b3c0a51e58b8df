"""What a person may type as IMAGE, and what it becomes. Used by every command that takes one.

@host                        the machine's own root, as one layer
dir:PATH                     a directory, as one layer
oci:PATH[:TAG]               an OCI image layout
oci-archive:FILE[:TAG]       a tar of one
docker-archive:FILE[:NAME]   what docker save wrote
anything else                an image in the store, by its reference
"""

import contextlib
import os
import re
from pathlib import Path

from cowfs.errors import BrokenImage, NotFound, StoreError, UsageError
from cowfs.images import limits
from cowfs.images.compression import BadCompression
from cowfs.images.config import parse_config
from cowfs.images.dockerarchive import plan_docker_archive
from cowfs.images.files import DirectoryFiles, Files, open_archive
from cowfs.images.importer import import_image
from cowfs.images.layout import plan_layout
from cowfs.images.reference import parse_reference
from cowfs.images.tarheader import BadTar
from cowfs.model import Base, LayerInfo
from cowfs.store import Store
from cowfs.store.records import StoredImage

HOST = "@host"
_SCHEMES = ("dir", "oci", "oci-archive", "docker-archive")

_ALWAYS_HIDDEN = ("/proc", "/sys", "/dev", "/run")
# File systems that are windows on the kernel or on a daemon, not data: fresh or absent inside.
_PSEUDO = {
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs",
    "tracefs", "fuse.cowfs", "fuse.gvfsd-fuse", "fuse.portal",
}  # fmt: skip


def resolve(text: str, store: Store, *, every_layer: bool = False) -> Base:
    """The base that ``text`` names; what is missing in the store is unpacked into it.

    Its layers are those that a mount needs: without the ones that hold nothing, or of which an opaque root above hides
    everything. ``every_layer`` is for who describes the image.

    Raises NotFound, UsageError, BrokenImage, StoreError, PrivilegeError.
    """
    if text == HOST:
        return Base(source=text, layers=(LayerInfo(1, Path("/")),), host=True)
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in _SCHEMES:
        return _stored(text, store, every_layer)
    if not rest:
        raise UsageError(f"{text!r} names no path: {scheme}:PATH")
    if scheme == "dir":
        return Base(source=text, layers=(LayerInfo(1, _directory(Path(rest))),))
    return _imported(text, scheme, rest, store, every_layer)


def stored_reference(text: str, store: Store) -> str:
    """The exact name under which the store holds the image ``text``. Raises NotFound."""
    found = next((image.reference for image in store.images() if text in (image.reference, image.familiar)), "")
    if not found:
        scheme, colon, rest = text.partition(":")
        found = (
            _archive_reference(scheme, *_split(rest)) if colon and scheme in _SCHEMES else str(parse_reference(text))
        )
    if store.image(found) is None:
        raise NotFound(f"no image {text!r} in the store (cowfs images lists them)")
    return found


def hidden_directories(store: Store) -> frozenset[Path]:
    """The directories that must appear empty where ``/`` is a layer: pseudo file systems, /run, and the store itself.

    A directory below another one of the set is left out.
    """
    mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    found = {Path(path) for path in _ALWAYS_HIDDEN} | {store.root}
    found |= {path for line in mounts if (path := _pseudo_mount(line)) and os.path.isdir(path)}
    return frozenset(path for path in found if not found.intersection(path.parents))


def _pseudo_mount(line: bytes) -> Path | None:
    """The mount point in a line of mountinfo (proc_pid_mountinfo(5)) if it is a pseudo file system's."""
    before, _, after = line.partition(b" - ")
    if os.fsdecode(after.split(b" ", 1)[0]) not in _PSEUDO:
        return None
    escaped = before.split(b" ")[4]
    return Path(os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), escaped)))


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


def _imported(text: str, scheme: str, rest: str, store: Store, every_layer: bool) -> Base:
    """An image of a layout or an archive, stored under its full path: what is in the store already is not unpacked."""
    path, name = _split(rest)
    reference = _archive_reference(scheme, path, name)
    if not path.exists():
        if image := store.image(reference):  # the layout is gone, the layers are not
            return _base(text, image, store, every_layer)
        raise NotFound(f"no file or directory {path}")
    with contextlib.ExitStack() as cleanup:
        files = _files(scheme, path, store, cleanup)
        plan = plan_docker_archive(files, name) if scheme == "docker-archive" else plan_layout(files, name)
        image = store.image(reference)
        if image is None or image.digest != plan.digest or not all(map(store.layer, image.diff_ids)):
            image = import_image(store, plan, reference)
    return _base(text, image, store, every_layer)


def _archive_reference(scheme: str, path: Path, name: str) -> str:
    return f"{scheme}:{path}" + (f":{name}" if name else "")


def _files(scheme: str, path: Path, store: Store, cleanup: contextlib.ExitStack) -> Files:
    if path.is_dir():
        if scheme != "oci":
            raise UsageError(f"{path} is a directory, not an archive{' (oci:?)' if scheme == 'oci-archive' else ''}")
        return DirectoryFiles(path)
    if scheme == "oci":
        raise UsageError(f"{path} is a file, not a directory (oci-archive: or docker-archive:?)")
    try:
        archive = open_archive(path, store.scratch_file)
    except (BadTar, BadCompression) as error:
        raise BrokenImage(f"{path} is not an archive of an image: {error}") from None
    cleanup.callback(archive.close)
    return archive


def _split(rest: str) -> tuple[Path, str]:
    """PATH[:NAME]. Both may hold colons: the longest beginning that exists is the path."""
    place = len(rest)
    while place > 0:
        if os.path.exists(rest[:place]):
            return Path(os.path.abspath(rest[:place])), rest[place + 1 :]
        place = rest.rfind(":", 0, place)
    path, _, name = rest.partition(":")
    return Path(os.path.abspath(path)), name


def _stored(text: str, store: Store, every_layer: bool) -> Base:
    reference = parse_reference(text)
    image = store.image(str(reference))
    if image is None:
        raise NotFound(
            f"no image {reference.familiar!r} in the store (cowfs images lists them; also: oci:, dir:, @host)"
        )
    return _base(text, image, store, every_layer)


def _base(text: str, image: StoredImage, store: Store, every_layer: bool) -> Base:
    """``every_layer``: also those of which nothing shows."""
    config = parse_config(store.blob(image.config, limits.DOCUMENT))
    layers: list[LayerInfo] = []
    for number, (diff_id, created_by) in enumerate(zip(config.diff_ids, config.created_by, strict=True), start=1):
        layer = store.layer(diff_id)
        if layer is None:
            raise StoreError(f"layer {diff_id} of {image.reference} is missing: import the image again")
        if layer.opaque and not every_layer:
            layers.clear()  # overlayfs has no mark for that on a root
        if layer.entries or number == 1 or every_layer:  # one without any must not give its root to the merge
            layers.append(LayerInfo(number, store.layer_directory(diff_id), diff_id, layer.size, created_by))
    return Base(source=text, layers=tuple(layers), config=config.image, digest=image.digest)
