"""Names in a layer as values: what a path in a tar means, and the whiteouts of the OCI image specification (layer.md).

    dir/.wh..wh..opq   the directory is opaque. Asked before the next line: it has the same prefix
    dir/.wh.name       the name is deleted in the layers below
    .wh..wh.anything   left over from AUFS, at the top of a layer: nothing

No I/O. Raises BadPath.
"""

from enum import Enum
from typing import NamedTuple

from cowfs.images import limits
from cowfs.ondisk import OCI_OPAQUE, OCI_WHITEOUT

_AUFS = b".wh..wh."


class BadPath(ValueError):
    """A path that cannot be in a layer."""


class Mark(Enum):
    """What an entry's name says about the layers below."""

    NONE = 0
    WHITEOUT = 1
    OPAQUE = 2
    IGNORED = 3


class Place(NamedTuple):
    """Where an entry goes. The layer's own root has no name and no parent."""

    parent: bytes  # components joined by "/", "" for the root
    name: bytes
    mark: Mark = Mark.NONE

    @property
    def path(self) -> bytes:
        """The whole path."""
        return self.parent + b"/" + self.name if self.parent else self.name


def normalize(path: bytes) -> bytes:
    """``path`` below the layer's root, whatever it starts with; "" is the root itself. ".." is refused."""
    if not path:
        raise BadPath("an entry has no name")
    if len(path) > limits.PATH:
        raise BadPath(f"a path is longer than {limits.PATH} bytes")
    components = [part for part in path.split(b"/") if part not in (b"", b".")]
    for part in components:
        if part == b"..":
            raise BadPath(f"{_shown(path)} leaves the layer")
        if len(part) > limits.COMPONENT:
            raise BadPath(f"a name is longer than {limits.COMPONENT} bytes")
    return b"/".join(components)


def place(path: bytes) -> Place:
    """Where the entry called ``path`` goes, and what it marks."""
    parent, _, name = normalize(path).rpartition(b"/")
    if OCI_WHITEOUT not in path:
        return Place(parent, name)
    if (parent or name).startswith(_AUFS) and (parent or name != OCI_OPAQUE):
        return Place(b"", name, Mark.IGNORED)
    if any(part.startswith(OCI_WHITEOUT) for part in parent.split(b"/")):
        raise BadPath(f"{_shown(path)} lies below a whiteout")
    if name == OCI_OPAQUE:
        return Place(parent, name, Mark.OPAQUE)
    if not name.startswith(OCI_WHITEOUT):
        return Place(parent, name)
    deleted = name[len(OCI_WHITEOUT) :]
    if deleted in (b"", b".", b"..") or deleted.startswith(OCI_WHITEOUT):
        raise BadPath(f"{_shown(path)} is a whiteout of an impossible name")
    return Place(parent, deleted, Mark.WHITEOUT)


def _shown(path: bytes) -> str:
    return repr(path[:200].decode("utf-8", "backslashreplace"))
