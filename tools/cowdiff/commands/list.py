"""``cowdiff list``, and ``cowdiff`` alone: the runs that are kept, and those still going."""

import json
import os
import shlex
import shutil
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from cowdiff.context import Context
from cowfs.cli.terminal import on_terminal

if TYPE_CHECKING:
    from cowfs.model import Run

_HEADINGS = ("ID", "NAME", "STARTED", "STATE", "SIZE", "EXIT", "SOURCE", "COMMAND")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """List the runs, and the containers of podman and docker that cowfs has a journal of, the newest first."""
    from cowfs import engines

    runs: list[Run] = [*context.runs().list(), *engines.known(context.podman_root)]
    runs.sort(key=lambda run: run.started, reverse=True)
    if as_json:
        for run in runs:
            click.echo(json.dumps(_object(run)))
        return
    rows = [_HEADINGS, *(_row(run) for run in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    limit = shutil.get_terminal_size().columns if on_terminal() else None
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        click.echo(line if limit is None or len(line) <= limit else line[: limit - 1] + "…")


def _row(run: "Run") -> tuple[str, ...]:
    from cowfs.cli.output import human_size
    from cowfs.runs.escape import printable

    return (
        run.id,
        _printable(run.name if run.token == run.id else run.token) or "-",
        f"{datetime.fromtimestamp(run.started):%Y-%m-%d %H:%M:%S}",
        run.state.value + (" pinned" if run.pinned else " applied" if run.applied else ""),
        "-" if run.size is None else human_size(run.size),
        "-" if run.exit_status is None else str(run.exit_status),
        _printable(run.source),
        printable(os.fsencode(shlex.join(run.command))),
    )


def _printable(text: str) -> str:
    from cowfs.runs.escape import printable

    return printable(os.fsencode(text))


def _object(run: "Run") -> dict[str, Any]:
    from cowfs.runs.escape import json_name, json_names

    return {
        "id": run.id,
        **json_name("run", os.fsencode(run.token)),
        **json_name("name", os.fsencode(run.name)),
        **json_name("source", os.fsencode(run.source)),
        "digest": run.digest,
        "host": run.host,
        **json_names("command", list(map(os.fsencode, run.command))),
        **json_names("env_names", list(map(os.fsencode, run.env_names))),
        **json_names("volumes", list(map(os.fsencode, run.volumes))),
        "started": run.started,
        "ended": run.ended,
        "exit_status": run.exit_status,
        "state": run.state.value,
        "size": run.size,
        "pinned": run.pinned,
        "applied": run.applied,
        **json_name("directory", os.fsencode(run.directory)),
    }
