"""What became of a build's containers: their journals, kept where a layer was made of them, and found again by it.

A build (podman build, buildah) removes each working container when its layer is made, and the journal in its work
directory with it. So when a mount ends, its file system process looks whether the store has a layer that may have been
made of the container: one with the same parent, made while it was mounted. If so, a copy of the journal is kept
(``cowfs.store.builds``); what podman run leaves behind is not one of these, and goes when the container goes.

    the container's own layer            overlay/<id>/diff, parent P         removed
    the layer of the image               another id, parent P                made while the container was mounted

Of containers on the same parent at the same time, as parallel builds have, the one is meant whose journal has every
file of the layer.
"""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cowfs.engines import layers
from cowfs.images import podman
from cowfs.journal.history import History
from cowfs.journal.reader import Reader
from cowfs.model import LayerInfo
from cowfs.store.builds import Build, Builds

_LISTS: Final = ("overlay-layers/layers.json", "overlay-layers/volatile-layers.json")
_SLACK: Final = 5.0  # seconds: a layer is dated before it is filled, by another process


@dataclass(frozen=True, slots=True)
class _Made:
    """A layer of a store; times in seconds since the epoch."""

    id: str
    parent: str
    created: float
    committed: bool  # it has a digest: it is an image's, not a container's own


def keep(journal: int, upper: Path, below: Path, started: float, root: Path) -> None:
    """The mount of ``upper`` over ``below`` ends; its journal is behind the descriptor. ``root``: of our store.

    Does nothing for an upper that lies in no store of podman's kind. Raises CowfsError, OSError.
    """
    layer, store = upper.parent.name, upper.parent.parent.parent
    if upper.name != "diff" or upper.parent.parent.name != "overlay" or not (store / _LISTS[0]).is_file():
        return
    parent, ended = _parent(below), time.time()
    if any(_fits(made, parent, started, ended) for made in _layers(store)):
        Builds(root).keep(Build(layer, parent, started, ended), journal)


def _fits(made: _Made, parent: str, started: float, ended: float) -> bool:
    return made.committed and made.parent == parent and started - _SLACK <= made.created <= ended + _SLACK


def _parent(below: Path) -> str:
    """The id of the layer below that of a container, by what it was mounted over: its own record may be gone."""
    directory = Path(os.path.realpath(below))
    return directory.parent.name if directory.name == "diff" else ""


def _layers(store: Path) -> Iterator[_Made]:
    for name in _LISTS:
        for record in podman.documents(store, name):
            created = layers.seconds(record.text("created", ""))
            yield _Made(record.text("id"), record.text("parent", ""), created, "diff-digest" in record)


def journal_of(layer: LayerInfo, builds: Iterable[Build]) -> Path | None:
    """The journal of the container that ``layer``, in a store of podman's, was made of; None where none is kept."""
    directory = layer.directory.parent
    store = directory.parent.parent
    made = next((one for one in _layers(store) if one.id == directory.name), None)
    if made is None:
        return None
    names = _files(layer.directory)
    for build in builds:
        if _fits(made, build.parent, build.started, build.ended) and _has(build.journal, names):
            return build.journal
    return None


def _has(journal: Path, names: frozenset[bytes]) -> bool:
    """Does it tell of every one of these paths?"""
    history = History(Reader(journal).more())
    return names <= {path for path, _ in history.paths()}


def _files(tree: Path) -> frozenset[bytes]:
    """The paths of what a layer has but directories; of whiteouts the names that they hide."""
    found: set[bytes] = set()
    top = os.fsencode(tree)
    for directory, _, names in os.walk(top):
        below = directory[len(top) + 1 :]
        for name in names:
            if not name.startswith(b".wh..wh."):
                found.add(os.path.join(below, name.removeprefix(b".wh.")))
    return frozenset(found)
