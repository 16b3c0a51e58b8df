"""Containers of other engines, seen as runs: podman's, buildah's and CRI-O's, and docker's.

    podman:NAME   podman:[ROOT]NAME      overlay-containers, overlay-layers and overlay of containers/storage
    docker:NAME   docker:[ROOT]NAME      containers, image/DRIVER/layerdb and DRIVER of docker's data root

Used by cowdiff; what is read of their images is ``cowfs.images``'s. Nothing here writes to a store, and what a store's
documents name is checked before it becomes a path, as they may be somebody else's work. A store that cannot be read
hides no other one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cowfs.errors import CowfsError

if TYPE_CHECKING:  # every command of cowdiff asks whether a word means a container, and few of them do
    from cowfs.model import Container

ENGINES: Final = ("podman", "docker")


def find(token: str, podman_root: Path | None = None) -> "Container":
    """The container that ``token`` names. Raises NotFound, UsageError, StoreError, BrokenImage."""
    from cowfs.engines import docker, podman

    engine, _, rest = token.partition(":")
    return podman.find(rest, podman_root) if engine == "podman" else docker.find(rest)


def known(podman_root: Path | None = None) -> "Iterator[Container]":
    """The containers that cowfs has a journal of, in the usual places or of podman's in ``podman_root``."""
    from cowfs.engines import docker, podman

    for found in (podman.containers(podman_root), docker.containers()):
        try:
            yield from (one for one in found if one.journal.exists())
        except CowfsError:
            continue


def is_container(token: str) -> bool:
    """True for what is typed as a container."""
    engine, colon, _ = token.partition(":")
    return bool(colon) and engine in ENGINES
