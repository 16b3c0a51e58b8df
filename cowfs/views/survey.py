"""All paths of all layers, in order: what every layer has there, and which of it shows. Hidden parts are walked, too.

Used by ``cowfs find`` and ``cowfs waste``. The rules are those of ``cowfs.rules.explain``, for whole directories. Held
at a time are the names of the directories on the way to one path: memory follows depth and the biggest directory.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cowfs import userns
from cowfs.errors import StoreError
from cowfs.layers.directory import Directory, Layer
from cowfs.layers.engines import EngineMarks, open_layer
from cowfs.layers.marks import Marks
from cowfs.model import Base, LayerInfo, shown_layers
from cowfs.options import MountOptions
from cowfs.overlay.parts import Parts
from cowfs.state.nodes import Place


@dataclass(slots=True)
class Claim:
    """What one layer has at a path."""

    layer: LayerInfo
    place: Place
    kind: int | None  # type bits of st_mode; None for a whiteout
    hidden_by: LayerInfo | None = None

    def status(self) -> os.stat_result:
        """lstat of it."""
        return self.place[0].stat(self.place[1])


@dataclass(slots=True)
class Found:
    """One path. ``claims`` are those of all layers that have something there, the top one first."""

    path: bytes
    claims: list[Claim] = field(default_factory=list)

    @property
    def shows(self) -> Claim | None:
        """What the merge has there."""
        return next((claim for claim in self.claims if claim.hidden_by is None and claim.kind is not None), None)

    @property
    def hidden(self) -> list[Claim]:
        """Files, directories and so on that do not show."""
        return [claim for claim in self.claims if claim.hidden_by is not None and claim.kind is not None]


@dataclass(slots=True)
class _Part:
    """One layer's directory; ``hidden_by``: all in it is hidden."""

    directory: Directory
    hidden_by: LayerInfo | None = None


class Survey:
    """The walk over the layers of ``base``, which has all of them. Close it after use.

    Raises StoreError where a layer is missing.
    """

    def __init__(self, base: Base) -> None:
        shown = shown_layers(base.layers)
        opaque = next((layer for layer in reversed(base.layers) if layer.opaque), None)
        below = [layer for layer in reversed(base.layers) if layer not in shown and not layer.empty]
        try:
            self._merge = _merge(base, shown, below)
        except OSError as failure:
            where = os.fsdecode(failure.filename) if failure.filename else "a layer"
            raise StoreError(f"{where} cannot be read: {failure.strerror}") from None
        self._info = dict(zip(self._merge.lowers, reversed(shown), strict=True)) | dict(
            zip(self._merge.below, below, strict=True)
        )
        self._roots = [_Part(layer.root) for layer in self._merge.lowers]
        self._roots += [_Part(layer.root, opaque) for layer in self._merge.below]

    def close(self) -> None:
        """Close the layers."""
        self._merge.cache.close()

    def __iter__(self) -> Iterator[Found]:
        waiting = [self._directory(b"", self._roots)]
        while waiting:
            item = next(waiting[-1], None)
            if item is None:
                waiting.pop()
                continue
            found, inside = item
            yield found
            if inside:
                waiting.append(self._directory(found.path, inside))

    def _directory(self, path: bytes, parts: list[_Part]) -> Iterator[tuple[Found, list[_Part]]]:
        """Each name in a directory, with the parts of it where it is one itself."""
        names: dict[bytes, list[tuple[_Part, int | None]]] = {}
        for part in parts:
            for name, kind in part.directory.list():
                names.setdefault(name, []).append((part, kind))
        merged = [part.directory for part in parts if part.hidden_by is None]
        for name in sorted(names):
            claims, where = self._claims(name, names.pop(name))
            inside = self._inside(name, claims, where, merged)
            yield Found(path + b"/" + name, claims), inside
        for part in parts:
            if part.directory.parent is not None:
                part.directory.forget()

    def _claims(self, name: bytes, rows: list[tuple[_Part, int | None]]) -> tuple[list[Claim], list[Directory]]:
        """One name through the layers; and the directories that merge under it."""
        claims: list[Claim] = []
        where: list[Directory] = []
        hider: LayerInfo | None = None
        for part, kind in rows:
            layer = self._info[part.directory.layer]
            claim = Claim(layer, (part.directory, name), kind, part.hidden_by or hider)
            claims.append(claim)
            if claim.hidden_by is not None:
                continue
            if kind == stat.S_IFDIR:
                where.append(part.directory)
            elif where:  # a file below a directory, or a whiteout: nothing deeper merges
                claim.hidden_by = None if kind is None else self._info[where[0].layer]
                hider = layer if kind is None else claim.hidden_by
            else:
                hider = layer
        return claims, where

    def _inside(self, name: bytes, claims: list[Claim], where: list[Directory], merged: list[Directory]) -> list[_Part]:
        """The parts of a directory. What an opaque or redirected one above it hides becomes hidden here."""
        shown = self._merge.stack(merged, where, name) if where else []
        own = {directory.parent for directory in shown if directory.name == name}
        ends = [directory.layer for directory in where if directory in own][-1:]
        parts = [_Part(directory) for directory in shown]
        for claim in claims:
            if claim.kind != stat.S_IFDIR:
                continue
            if claim.hidden_by is None and claim.place[0] not in own:
                claim.hidden_by = self._info[ends[0]]
            if claim.hidden_by is not None:
                parts.append(_Part(claim.place[0].child(name), claim.hidden_by))
        return sorted(parts, key=lambda part: -self._info[part.directory.layer].number)


def _merge(base: Base, shown: Sequence[LayerInfo], below: Sequence[LayerInfo]) -> "_Merge":
    if not any(layer.foreign for layer in base.layers):
        return _Merge(base, shown, below)
    return _EngineMerge(base, shown, below)


class _Merge(Parts):
    """The layers that show, as a mount has them, and those ``below`` of which nothing does."""

    def __init__(self, base: Base, shown: Sequence[LayerInfo], below: Sequence[LayerInfo]) -> None:
        super().__init__(
            MountOptions(
                lowers=tuple(layer.directory for layer in reversed(shown)),
                userxattr=not userns.is_root_of_machine(),
                live_lower=base.live,
                hidden=frozenset(base.hidden),
            )
        )
        self.below: list[Layer] = []
        try:
            for layer in below:
                root = os.open(layer.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                self.below.append(self._lower_layer(root, len(self.lowers)))
        except BaseException:
            self.cache.close()
            raise


class _EngineMerge(_Merge):
    """Layers in another engine's store."""

    def _namespace(self, options: MountOptions) -> Marks:
        return EngineMarks(userxattr=options.userxattr)

    def _lower_layer(self, root: int, index: int) -> Layer:
        return open_layer(root, index, self.marks, self.cache)
