"""``cowrun stop``: ask runs to end, and make them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cowfs.cli.context import root_option
from cowrun.commands.common import SETTINGS, each

if TYPE_CHECKING:
    from cowrun.running import Running

_SEALING = 10.0  # seconds that the launcher may take to put things away


@click.command(context_settings=SETTINGS)
@click.option("-t", "--time", "--timeout", "seconds", type=int, metavar="SECONDS", help="Before it is killed (10).")
@click.option("-s", "--signal", "name", default="", metavar="SIGNAL", help="Instead of the run's own (TERM).")
@root_option
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
def command(runs: tuple[str, ...], seconds: int | None, name: str, root: Path) -> int:
    """Ask runs to end, kill those that do not in time, and wait until they are put away.

    RUN is a run's id, an unambiguous beginning of it, a name, or "last". A first process that has no handler for the
    signal would take no notice of it, and is killed at once. --time -1 waits for ever.
    """
    from cowfs.store.runs import Runs
    from cowrun import running, signals

    number = signals.parse("--signal", name) if name else 0

    def stop(token: str) -> None:
        _, found = running.find(Runs(root), token)
        _stop(found, number, seconds)

    return each(runs, stop)


def _stop(found: "Running", number: int, seconds: int | None) -> None:
    import os
    import signal

    from cowfs import processes
    from cowrun.container import has_handler

    settings = found.settings
    number = number or settings.stop_signal
    patience = settings.stop_timeout if seconds is None else seconds
    try:
        launcher = found.launcher.open()
        process = found.container.open()
    except ProcessLookupError:
        return
    ended = False
    if has_handler(found.container.pid, number):
        processes.send(process, number)
        ended = processes.wait(process, None if patience < 0 else patience)
    if not ended:
        processes.send(process, signal.SIGKILL)
    processes.wait(launcher, _SEALING)
    os.close(process)
    os.close(launcher)
