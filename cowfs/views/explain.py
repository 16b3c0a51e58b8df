"""Why a path is as it is: each layer's word about it, what comes of it, and the reason where it is not there.

Used by ``cowfs explain`` and ``labels``. Nothing is listed: the cost is that of looking the path
up in each layer. A run's upper may have renamed a directory; the layers below are then asked about the old path.
"""

import os
import posixpath
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from cowfs.errors import StoreError
from cowfs.layers.directory import DescriptorCache, Layer
from cowfs.layers.testimony import Testimony, Witness, opened
from cowfs.model import LayerInfo
from cowfs.rules.explain import Effect, Verdict, Word, explain

_MOST_LINKS: Final = 40  # as path_resolution(7)
_NONE_KNOWN: Final[Mapping[LayerInfo, Layer]] = MappingProxyType({})


class Why(Enum):
    """Why a path is not in the merge."""

    NEVER = "never there"
    DELETED = "deleted"
    OPAQUE = "hidden by an opaque directory"
    FILE_ABOVE = "hidden by a file above"
    BELOW_FILE = "below a file"


@dataclass(frozen=True, slots=True)
class Reason:
    """``layer`` did it, by what it has at ``about``; None and empty for what was never there."""

    why: Why
    layer: LayerInfo | None = None
    about: bytes = b""


@dataclass(frozen=True, slots=True)
class Row:
    """What one layer has to do with the path. ``asked`` is what it calls the path."""

    layer: LayerInfo
    testimony: Testimony
    verdict: Verdict
    asked: bytes


@dataclass(frozen=True, slots=True)
class Explanation:
    """All rows, the top layer's first."""

    path: bytes
    rows: tuple[Row, ...]

    @property
    def supplier(self) -> Row | None:
        """Whose copy shows; None where the path is not in the merge."""
        return next((row for row in self.rows if row.verdict.effect is Effect.SUPPLIES), None)

    @property
    def hidden(self) -> list[Row]:
        """Those whose copies do not show, the top one first."""
        return [row for row in self.rows if row.verdict.effect is Effect.HIDDEN and row.testimony.saying.here]

    def hider(self, row: Row) -> Row | None:
        """Who hides ``row``."""
        return None if row.verdict.by is None else self.rows[row.verdict.by]

    @property
    def reason(self) -> Reason | None:
        """Why it is not there; None if it is."""
        if self.supplier is not None:
            return None
        for row in self.hidden:
            hider = self.hider(row)
            if hider is not None:
                why = {Word.DELETED: Why.DELETED, Word.OPAQUE: Why.OPAQUE}
                saying = hider.testimony.saying
                return Reason(why.get(saying.word, Why.FILE_ABOVE), hider.layer, saying.about)
        ended = next((row for row in self.rows if row.verdict.effect is Effect.DELETES), None)
        if ended is not None and ended.testimony.saying.word is Word.REPLACED:
            return Reason(Why.BELOW_FILE, ended.layer, ended.testimony.saying.about)
        return Reason(Why.NEVER)


@dataclass(frozen=True, slots=True)
class Step:
    """A symbolic link on the way: what it says, and where the way goes on."""

    link: bytes
    target: bytes
    layer: LayerInfo
    path: bytes


class Explainer:
    """Asks ``layers``, bottom first. Close it after use. Raises StoreError where one is missing.

    Those that are ``known`` are open already, and not closed here; the others stay open.
    """

    def __init__(self, layers: Sequence[LayerInfo], known: Mapping[LayerInfo, Layer] = _NONE_KNOWN) -> None:
        self._cache = DescriptorCache()
        self._witnesses: list[tuple[LayerInfo, Witness]] = []
        try:
            for info in reversed(layers):
                layer = known.get(info) or opened(info.directory, self._cache, foreign=info.foreign)
                self._witnesses.append((info, Witness(layer, opaque=info.opaque, empty=info.empty)))
        except OSError as failure:
            self.close()
            raise StoreError(f"a layer cannot be read: {os.fsdecode(failure.filename)}: {failure.strerror}") from None

    def close(self) -> None:
        """Close the layers."""
        self._cache.close()

    def explain(self, path: bytes) -> Explanation:
        """What all layers say of ``path``, no link followed."""
        asked, found = path, []
        for layer, witness in self._witnesses:
            testimony = witness.testify(asked)
            found.append((layer, testimony, asked))
            asked = testimony.below or asked
        verdicts = explain([testimony.saying for _, testimony, _ in found])
        rows = zip(found, verdicts, strict=True)
        return Explanation(path, tuple(Row(layer, said, verdict, name) for (layer, said, name), verdict in rows))

    def follow(self, path: bytes) -> tuple[list[Step], Explanation]:
        """The links on the way of ``path`` and at its end, step by step within the root, and what is at the end.

        Of a chain that does not end the last one is explained.
        """
        steps: list[Step] = []
        path = self._without_dots(path, steps)
        while True:
            found = self.explain(path)
            link = self._link_on(found)
            if link is None or len(steps) >= _MOST_LINKS:
                return steps, found
            path = self._without_dots(self._step(link, path, steps), steps)

    def _without_dots(self, path: bytes, steps: list[Step]) -> bytes:
        """``path`` absolute and without "." and ".."; a link before a ".." is followed first."""
        names = [name for name in path.split(b"/") if name not in (b"", b".")]
        while b".." in names:
            place = names.index(b"..")
            above = b"/" + b"/".join(names[:place])
            link = self._link_on(self.explain(above)) if len(steps) < _MOST_LINKS else None
            if link is not None:
                left = self._step(link, b"/".join((above, *names[place:])), steps)
                names = [name for name in left.split(b"/") if name not in (b"", b".")]
            else:
                names[max(0, place - 1) : place + 1] = []
        return b"/" + b"/".join(names)

    def _link_on(self, found: Explanation) -> Row | None:
        """The row that has the first link on the way of a path, or at its end."""
        ended = next((row for row in found.rows if row.verdict.effect is not Effect.NOTHING), None)
        if ended is None or ended.testimony.status is None or not stat.S_ISLNK(ended.testimony.status.st_mode):
            return None
        if ended.testimony.saying.word is Word.PRESENT:
            return ended
        above = self.explain(ended.testimony.saying.about).supplier
        return above if above is not None and above.testimony.saying.word is Word.PRESENT else None

    def _step(self, row: Row, path: bytes, steps: list[Step]) -> bytes:
        link = row.testimony.saying.about
        directory = os.fsencode(row.layer.directory)
        target = os.readlink(directory + link)
        rest = path[len(link) :].lstrip(b"/")
        leads = posixpath.join(posixpath.dirname(link), target, *((rest,) if rest else ()))
        steps.append(Step(link, target, row.layer, leads))
        return leads
