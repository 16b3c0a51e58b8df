"""How output is dressed: colours, pagers, many lines at once. The one place that looks at the terminal."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Final

import click

_BATCH: Final = 1000


def on_terminal() -> bool:
    """True if a person reads the output as it comes."""
    return sys.stdout.isatty()


def write(lines: Iterable[str]) -> None:
    """Lines with their ends to standard output, many at once."""
    waiting: list[str] = []
    for line in lines:
        waiting.append(line)
        if len(waiting) == _BATCH:
            sys.stdout.write("".join(waiting))
            waiting.clear()
    sys.stdout.write("".join(waiting))


def painter() -> Callable[[str, str | None], str]:
    """What puts a line into a colour; plain unless a terminal shows colours and nobody forbade them (no-color.org)."""
    plain = not on_terminal() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"

    def paint(text: str, colour: str | None) -> str:
        return text if plain or colour is None else click.style(text, fg=colour)

    return paint
