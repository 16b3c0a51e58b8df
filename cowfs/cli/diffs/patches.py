"""A patch on standard output: exactly, or for a person at a terminal."""

from collections.abc import Callable, Iterable

from cowfs.cli.diffs.pager import paged
from cowfs.cli.terminal import on_terminal, painter
from cowfs.runs.escape import harmless


def show_patches(lines: Iterable[bytes]) -> None:
    """Print a patch: exactly, or on a terminal through a pager, in colours, and harmless."""
    show = _for_a_person(painter()) if on_terminal() else None
    with paged() as out:
        for line in lines:
            out.write(show(line) if show else line)


def _for_a_person(paint: Callable[[str, str | None], str]) -> Callable[[bytes], bytes]:
    """Colours, and nothing in a line that a terminal would obey."""
    colours = {b"+": "green", b"-": "red", b"@": "cyan"}

    def show(line: bytes) -> bytes:
        return paint(harmless(line), colours.get(line[:1])).encode("utf-8", "backslashreplace")

    return show
