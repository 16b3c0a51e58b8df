"""How far an import is, for a person: a bar for each layer on a terminal, a line for each elsewhere. On stderr."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from cowfs.cli.output import human_size, short_digest
from cowfs.images.progress import Progress, Silent

if TYPE_CHECKING:
    from cowfs.images.plan import LayerSource

_REDRAW = 0.1  # seconds
_WIDTH = 30  # of a bar
_UP, _CLEAR = "\x1b[%dA", "\x1b[K"


def progress_for(prog: str, *, quiet: bool) -> Progress:
    """What suits stderr."""
    if quiet:
        return Silent()
    return Bars(sys.stderr) if sys.stderr.isatty() else Lines(lambda line: print(f"{prog}: {line}", file=sys.stderr))


class Lines:
    """A line when the size is known, and one for each layer that is there."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._sizes: dict[str, int] = {}

    def begin(self, layers: "Sequence[LayerSource]", missing: set[str]) -> None:
        self._sizes = {layer.diff_id: layer.size or 0 for layer in layers if layer.diff_id in missing}
        if self._sizes:
            total = human_size(sum(self._sizes.values()))
            self._say(f"{len(self._sizes)} of {len(layers)} layers are missing, {total}")

    def at(self, diff_id: str, size: int) -> None: ...

    def done(self, diff_id: str) -> None:
        self._say(f"layer {short_digest(diff_id)}: {human_size(self._sizes.get(diff_id, 0))}")

    def end(self) -> None: ...


class Bars:
    """A bar for each layer on its way, drawn over the ones before; gone at the end."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._sizes: dict[str, int] = {}
        self._at: dict[str, int] = {}
        self._drawn = 0  # lines
        self._when = 0.0

    def begin(self, layers: "Sequence[LayerSource]", missing: set[str]) -> None:
        self._sizes = {layer.diff_id: layer.size or 0 for layer in layers if layer.diff_id in missing}
        self._at = dict.fromkeys(self._sizes, 0)
        self._draw()

    def at(self, diff_id: str, size: int) -> None:
        self._at[diff_id] = size
        if time.monotonic() >= self._when + _REDRAW:
            self._draw()

    def done(self, diff_id: str) -> None:
        self._at[diff_id] = self._sizes.get(diff_id, 0)
        self._draw()

    def end(self) -> None:
        self._write([])

    def _draw(self) -> None:
        self._when = time.monotonic()
        import shutil  # it brings every compression along

        columns, rows = shutil.get_terminal_size()
        # those that are done make room first where the terminal is low
        order = sorted(self._at, key=lambda diff_id: self._at[diff_id] >= self._sizes[diff_id])
        shown = set(order[: max(1, rows - 2)])
        lines = [self._line(diff_id)[: columns - 1] for diff_id in self._at if diff_id in shown]
        self._write(lines)

    def _line(self, diff_id: str) -> str:
        size, at = self._sizes[diff_id], self._at[diff_id]
        full = _WIDTH * at // size if size else _WIDTH
        bar = ("=" * full + ">" * (full < _WIDTH)).ljust(_WIDTH)
        return f"{short_digest(diff_id)} [{bar}] {human_size(at)} of {human_size(size)}"

    def _write(self, lines: Sequence[str]) -> None:
        """The lines in the place of those that were written last."""
        text = _UP % self._drawn if self._drawn else ""
        text += "".join(f"{line}{_CLEAR}\n" for line in lines)
        gone = self._drawn - len(lines)
        if gone > 0:
            text += f"{_CLEAR}\n" * gone + _UP % gone
        self._drawn = len(lines)
        self._out.write(text)
        self._out.flush()
