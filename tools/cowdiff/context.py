"""What every command of cowdiff gets from its group: where the runs are, and how output is dressed.

The one place of cowdiff that looks at the environment and the terminal.
"""

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cowfs.cli.entry import complain

if TYPE_CHECKING:
    from cowfs.model import Run
    from cowfs.store import Store
    from cowfs.store.runs import Runs

_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Context:
    """The context object of the command line (``@click.pass_obj``)."""

    root: Path

    def runs(self) -> "Runs":
        """The records of the store's runs."""
        from cowfs.store.runs import Runs  # only commands that need them pay for it

        return Runs(self.root)

    def collect(self) -> None:
        """After runs were removed: remove the layers that only they used. Raises StoreError."""
        with self.store() as store:
            store.collect()

    def store(self) -> "Store":
        """Open the store. Raises StoreError."""
        from cowfs.store import Store

        return Store.open(self.root, say=lambda line: complain("cowdiff", line))

    def find(self, token: str) -> "Run":
        """The run that ``token`` names. Raises NotFound."""
        return self.runs().find(token)


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
