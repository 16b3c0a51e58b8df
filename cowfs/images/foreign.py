"""Images in other people's stores: docker's overlay2 and podman's overlay. Read only, and used where they lie.

docker:NAME  docker:[ROOT]NAME     /var/lib/docker, or the data-root of /etc/docker/daemon.json
podman:NAME  podman:[ROOT]NAME     what storage.conf says, its additional stores too

Their layer directories become lowers as they are: never copied, never written to. Our leases mean nothing to docker and
podman: an image that they remove goes from under a run. What these stores' documents name is checked before it becomes
a path, as they may be somebody else's work.
"""

import os
import stat
from pathlib import Path

from cowfs import userns
from cowfs.errors import BrokenImage, CowfsError, NotFound, StoreError, UsageError
from cowfs.images.config import ParsedConfig
from cowfs.images.reference import parse_reference
from cowfs.model import Base, LayerInfo

LIMIT = 64 << 20  # bytes of a list of all images or layers


def split(text: str) -> tuple[Path | None, str]:
    """``[ROOT]NAME``: the root if there is one, and the name. Raises UsageError."""
    if not text.startswith("["):
        return None, text
    root, bracket, name = text[1:].partition("]")
    if not bracket or not root or not name:
        raise UsageError(f"{text!r} is not [ROOT]NAME")
    return Path(os.path.abspath(root)), name


def spellings(name: str) -> list[str]:
    """What an image may be called in a store that somebody means by ``name``, best first."""
    try:
        reference = parse_reference(name)
    except CowfsError:  # an id, perhaps
        return [name]
    return [name, str(reference), reference.familiar, f"localhost/{reference.familiar}"]


def read(path: Path, limit: int) -> bytes:
    """A document of a store. Raises StoreError."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise BrokenImage(f"{path} is larger than {limit} bytes")
    return data


def check_root(root: Path, what: str, *, any_form: bool = False) -> None:
    """Raises NotFound, and StoreError where layers are not in the form that root's have, unless ``any_form`` can be."""
    try:
        found = root.stat()
    except OSError as error:
        raise NotFound(f"{what} has no store in {root}: {error.strerror}") from None
    if found.st_uid != os.geteuid() or not (any_form or userns.is_root_of_machine()):
        raise StoreError(
            f"{root} belongs to uid {found.st_uid}, whose layers have other marks: only root's can be used"
        )


def base(text: str, config: ParsedConfig, digest: str, directories: list[Path], sizes: list[int]) -> Base:
    """The base of ``directories``, from the bottom. Raises BrokenImage, StoreError."""
    if len(directories) != len(config.diff_ids):
        raise BrokenImage(f"{text}: {len(directories)} layers in the store, {len(config.diff_ids)} in the config")
    for directory in directories:
        _check_directory(directory)
    facts = zip(directories, config.diff_ids, sizes, config.created_by, strict=True)
    layers = [
        LayerInfo(number, directory, diff_id, size, created_by, foreign=True)
        for number, (directory, diff_id, size, created_by) in enumerate(facts, 1)
    ]
    return Base(source=text, layers=tuple(layers), config=config.image, digest=digest, steps=config.steps)


def _check_directory(directory: Path) -> None:
    try:
        found = directory.lstat()
    except OSError as error:
        raise StoreError(f"a layer is missing: {directory}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"a layer is no directory: {directory}")
