"""Bytes of an image that no one can see, by path, layer and what hides them; and dive's efficiency.

    kind          a file of a lower layer ...
    ------------  ---------------------------------------------------------------------------
    deleted       that is gone: by a whiteout, an opaque directory, a file in place of a directory
    shadowed      over which another file, or something else, lies
    duplicated    over which a file with the same bytes lies: as chmod and chown make it

Sizes are those of the files, not of the disk. A file with several names in its layer counts once, and is wasted where
none of them shows. The efficiency is what dive calls so: the smallest size that each path has in any layer, 0 where one
deletes it, summed, over the sum of all its sizes. dive takes a deleted directory for one path; here its files count.

Linear; held are the largest paths, and files with several names.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from cowfs.model import LayerInfo
from cowfs.runs.content import Content, same
from cowfs.runs.places import open_place
from cowfs.state.nodes import Place
from cowfs.views.survey import Claim, Found


class Kind(Enum):
    """Why nobody sees it."""

    DELETED = "deleted"
    SHADOWED = "shadowed"
    DUPLICATED = "duplicated"


@dataclass(frozen=True, slots=True)
class Wasted:
    """One file that no one can see."""

    path: bytes
    layer: LayerInfo
    hidden_by: LayerInfo
    kind: Kind
    size: int


@dataclass(slots=True)
class _Linked:
    """A file with several names: whether one of them shows, and what is wasted if none does."""

    wasted: Wasted | None = None
    seen: bool = False


@dataclass(slots=True)
class Waste:
    """The sums; complete once ``of`` was read to its end."""

    total: int = 0  # bytes of files in all layers
    least: int = 0  # the smallest sizes of the paths, summed
    files: int = 0  # that are wasted
    by_layer: dict[int, dict[Kind, int]] = field(default_factory=dict)  # wasted bytes of each layer's files
    _links: dict[tuple[int, int], _Linked] = field(default_factory=dict)

    @property
    def wasted(self) -> int:
        """Bytes that no one can see."""
        return sum(sum(kinds.values()) for kinds in self.by_layer.values())

    @property
    def efficiency(self) -> float:
        """As dive defines it, 0 to 1."""
        return self.least / self.total if self.total else 1.0

    @property
    def share(self) -> float:
        """Of all bytes those that no one can see, 0 to 1."""
        return self.wasted / self.total if self.total else 0.0

    def of(self, survey: Iterable[Found]) -> Iterator[Wasted]:
        """Each file that is wasted: those with one name in order, then the others."""
        for found in survey:
            for wasted in self._path(found):
                yield self._counted(wasted)
        for linked in self._links.values():
            if linked.wasted is not None and not linked.seen:
                yield self._counted(linked.wasted)

    def _counted(self, wasted: Wasted) -> Wasted:
        kinds = self.by_layer.setdefault(wasted.layer.number, {})
        kinds[wasted.kind] = kinds.get(wasted.kind, 0) + wasted.size
        self.files += 1
        return wasted

    def _path(self, found: Found) -> Iterator[Wasted]:
        sizes = []
        for claim in found.claims:
            if claim.kind != stat.S_IFREG:
                continue
            status = claim.status()
            linked = None
            if status.st_nlink > 1:
                first = (status.st_dev, status.st_ino) not in self._links
                linked = self._links.setdefault((status.st_dev, status.st_ino), _Linked())
                linked.seen = linked.seen or claim.hidden_by is None
                if not first:
                    continue
            sizes.append(status.st_size)
            if claim.hidden_by is None:
                continue
            wasted = Wasted(
                found.path, claim.layer, claim.hidden_by, _kind(found, claim, status.st_size), status.st_size
            )
            if linked is None:
                yield wasted
            else:
                linked.wasted = wasted
        self.total += sum(sizes)
        if sizes and found.shows is not None and found.shows.kind == stat.S_IFREG:
            self.least += min(sizes)


def _kind(found: Found, claim: Claim, size: int) -> Kind:
    above = next((other for other in found.claims if other.layer is claim.hidden_by), None)
    if above is None or above.kind is None:
        return Kind.DELETED
    if above.kind != stat.S_IFREG or above.status().st_size != size:
        return Kind.SHADOWED
    with _opened(claim.place) as one, _opened(above.place) as other:
        return Kind.DUPLICATED if same(Content(one), Content(other), size) else Kind.SHADOWED


@contextmanager
def _opened(place: Place) -> Iterator[int]:
    descriptor = open_place(place)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
