"""``cowrun ps``: the runs that are going."""

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cowfs.cli.context import root_option
from cowrun.commands.common import SETTINGS

if TYPE_CHECKING:
    from cowfs.model import Run

_HEADINGS = ("ID", "IMAGE", "COMMAND", "STARTED", "STATUS", "PORTS", "NAME")
_SHORT = 20  # characters of a command, as docker shows it


@click.command(context_settings=SETTINGS)
@click.option("-a", "--all", "everything", is_flag=True, help="Those that are over, too.")
@click.option("-q", "--quiet", is_flag=True, help="Print ids and nothing else.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten the commands.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@root_option
def command(everything: bool, quiet: bool, no_trunc: bool, as_json: bool, root: Path) -> None:
    """List the runs that are going, the newest first.

    cowdiff lists those that are over, and shows what each changed.
    """
    from cowfs.cli.output import columns, json_line
    from cowfs.model import RunState
    from cowfs.store.runs import Runs

    runs = [run for run in Runs(root).list() if everything or run.state is RunState.RUNNING]
    if quiet:
        lines = [run.id for run in runs]
    elif as_json:
        lines = [json_line(_object(run)) for run in runs]
    else:
        lines = columns([_HEADINGS, *(_row(run, no_trunc) for run in runs)])
    for line in lines:
        click.echo(line)


def _row(run: "Run", whole: bool) -> tuple[str, ...]:
    typed = shlex.join(run.command)
    shown = typed if whole or len(typed) <= _SHORT else typed[: _SHORT - 1] + "…"
    return run.id, run.source, shown, f"{_ago(run.started)} ago", _status(run), ", ".join(_ports(run)) or "-", run.name


def _status(run: "Run") -> str:
    from cowfs.model import RunState

    if run.state is RunState.RUNNING:
        return f"up {_ago(run.started)}"
    if run.state is RunState.LOST or run.ended is None:
        return "lost"
    return f"exited ({run.exit_status}) {_ago(run.ended)} ago"


def _ago(moment: float) -> str:
    seconds = max(0, int(time.time() - moment))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} second{'s' if seconds != 1 else ''}"


def _ports(run: "Run") -> list[str]:
    """As docker shows them; nothing where nobody can be asked."""
    from cowfs.errors import NotRunning
    from cowrun.running import look

    try:
        found = look(run)
    except NotRunning:
        found = None
    return [str(port) for port in found.settings.ports] if found else []


def _object(run: "Run") -> dict[str, object]:
    return {
        "id": run.id,
        "name": run.name,
        "source": run.source,
        "command": list(run.command),
        "started": run.started,
        "ended": run.ended,
        "exit_status": run.exit_status,
        "state": run.state.value,
        "ports": _ports(run),
        "directory": os.fspath(run.directory),
    }
