"""``cowrun kill``: send a signal to the first process of runs."""

from pathlib import Path

import click

from cowfs.cli.context import root_option
from cowrun.commands.common import SETTINGS, each


@click.command(context_settings=SETTINGS)
@click.option("-s", "--signal", "name", default="KILL", metavar="SIGNAL", show_default=True, help="Name or number.")
@root_option
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
def command(runs: tuple[str, ...], name: str, root: Path) -> int:
    """Send a signal to the first process of runs.

    RUN is a run's id, an unambiguous beginning of it, a name, or "last". As for docker, a first process that has no
    handler for it takes no notice of any signal but KILL.
    """
    from cowfs import processes
    from cowfs.store.runs import Runs
    from cowrun import running, signals

    number = signals.parse("--signal", name)

    def kill(token: str) -> None:
        _, found = running.find(Runs(root), token)
        processes.send(found.container.open(), number)

    return each(runs, kill)
