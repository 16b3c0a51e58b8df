"""From which layer on a file of an image shows no more.

    a file of layer N     shows in the image as it was after layer N, and after each layer up to ...
    --------------------  ----------------------------------------------------------------------------------------
    anything              the first that has a whiteout or no directory for it, or for a directory above it
                          the first in which a directory above it is opaque
    not a directory       the first that has a directory of that name
    a directory           the first in which it is opaque itself

Used by ``picture``, over what ``survey`` finds. The names of a renamed directory are the new ones from the beginning.
"""

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cowfs.model import LayerInfo
from cowfs.views.survey import Claim, Found

NEVER = 0


@dataclass(slots=True)
class _Level:
    """A directory on the way; ``hide`` are the layers that hide all that those below them have in it."""

    prefix: bytes
    hide: frozenset[int] = field(default_factory=frozenset)


def spans(survey: Iterable[Found], layers: Iterable[LayerInfo]) -> Iterator[tuple[Found, list[int]]]:
    """What the survey finds, and for each claim the number of the layer that hides it first, or NEVER."""
    levels = [_Level(b"/", frozenset(layer.number for layer in layers if layer.opaque))]
    for found in survey:
        while not found.path.startswith(levels[-1].prefix):
            levels.pop()
        above = levels[-1].hide
        ends = above | {claim.layer.number for claim in found.claims if claim.kind != stat.S_IFDIR}
        directories = [claim for claim in found.claims if claim.kind == stat.S_IFDIR]
        for_files = ends | {claim.layer.number for claim in directories}
        for_directories = ends
        if directories:
            opaque = {
                claim.layer.number for claim in directories if claim is not found.claims[-1] and _is_opaque(claim)
            }
            for_directories = ends | opaque
            levels.append(_Level(found.path + b"/", for_directories))
        yield (
            found,
            [_first(for_directories if claim.kind == stat.S_IFDIR else for_files, claim) for claim in found.claims],
        )


def _first(layers: "frozenset[int] | set[int]", claim: Claim) -> int:
    return min((number for number in layers if number > claim.layer.number), default=NEVER)


def _is_opaque(claim: Claim) -> bool:
    directory, name = claim.place
    return directory.layer.marks.of_directory(directory.path_of(name)).opaque
