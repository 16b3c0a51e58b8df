"""All files of all layers of an image, with their bytes, and which of them no one can see. Used by ``cowfs report``.

The sums are those of ``waste``; a file with several names has its bytes under the first. Where there are more rows than
a browser likes, the small files of a directory become one row. Held are all files of the image.
"""

import heapq
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cowfs.model import LayerInfo
from cowfs.views.spans import NEVER, spans
from cowfs.views.survey import Found
from cowfs.views.waste import Kind, Waste

MOST: Final = 100_000  # rows
_Fate = tuple[bytes, int, int, Kind | None]  # of the files of a directory: layer, gone, why


class File(NamedTuple):
    """One file of one layer, or the small ones of a directory: then ``files`` is more than 1."""

    path: bytes
    layer: int
    size: int
    gone: int  # the layer that hides it first, or NEVER
    why: Kind | None = None  # as ``waste`` calls it; None if it shows
    files: int = 1


@dataclass(slots=True)
class Picture:
    """What the page shows."""

    files: list[File]
    waste: Waste


@dataclass(slots=True)
class _Collected:
    files: list[File] = field(default_factory=list)
    linked: dict[tuple[int, int], int] = field(default_factory=dict)  # the place of its first name in files

    def of(self, survey: Iterable[Found], layers: Iterable[LayerInfo]) -> Iterator[Found]:
        """The survey, while its files are collected."""
        for found, gone in spans(survey, layers):
            for claim, since in zip(found.claims, gone, strict=True):
                if claim.kind != stat.S_IFREG:
                    continue
                status = claim.status()
                file = File(found.path, claim.layer.number, status.st_size, since)
                if status.st_nlink > 1:
                    identity = (status.st_dev, status.st_ino)
                    first = self.linked.setdefault(identity, len(self.files))
                    if first < len(self.files):
                        self._name_more(first, since)
                        file = file._replace(size=0)
                self.files.append(file)
            yield found

    def _name_more(self, first: int, since: int) -> None:
        """A file shows as long as one of its names does."""
        before = self.files[first].gone
        self.files[first] = self.files[first]._replace(gone=NEVER if NEVER in (before, since) else max(before, since))


def picture(survey: Iterable[Found], layers: Iterable[LayerInfo]) -> Picture:
    """Look at everything."""
    collected, waste = _Collected(), Waste()
    why = {(wasted.path, wasted.layer.number): wasted.kind for wasted in waste.of(collected.of(survey, layers))}
    files = [file._replace(why=why.get((file.path, file.layer))) if file.gone else file for file in collected.files]
    return Picture(_few(files), waste)


def _few(files: list[File]) -> list[File]:
    """At most about MOST of them: of the others those of one directory, layer and fate are one."""
    if len(files) <= MOST:
        return files
    least = heapq.nlargest(MOST // 2, (file.size for file in files))[-1]
    large = [file for file in files if file.size > least]
    small = [file for file in files if file.size <= least]
    joined: dict[_Fate, list[int]] = {}
    for depth in (64, 3, 1):
        joined.clear()
        for file in small:
            fate = (b"/".join(file.path.split(b"/")[:-1][: depth + 1]), file.layer, file.gone, file.why)
            sums = joined.setdefault(fate, [0, 0])
            sums[0] += file.size
            sums[1] += 1
        if len(joined) <= MOST:
            break
    rows = [
        File(b"%b/(%d files)" % (directory, count), layer, size, gone, why, count)
        for (directory, layer, gone, why), (size, count) in joined.items()
    ]
    return sorted(large + rows, key=lambda file: (file.path, -file.layer))
