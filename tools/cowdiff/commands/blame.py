"""``cowdiff blame RUN PATH``: every change of one path, and which processes made them."""

import json
import sys
from collections.abc import Iterator

import click

from cowdiff.context import Context
from cowdiff.journals import command_of, history_of, missing, name_of, path_inside
from cowfs.cli.entry import complain
from cowfs.errors import NotFound
from cowfs.journal.reader import Change, Process


@click.command("blame")
@click.argument("token", metavar="RUN")
@click.argument("path", type=click.Path(path_type=bytes))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and change.")
@click.pass_obj
def command(context: Context, token: str, path: bytes, as_json: bool) -> None:
    """Say what happened to PATH, in order, also under earlier names, and by which processes.

    What another process's child did is below the chain of those that started it.
    """
    from cowfs.runs.escape import printable

    run = context.find(token)
    history, reader = history_of(run)
    changes = history.blame(path_inside(path))
    for line in missing(reader, run):
        complain("cowdiff", line)
    if not changes:
        raise NotFound(f"{run.title} did not change {printable(path)}")
    sys.stdout.writelines(_json(changes) if as_json else blame_lines(changes))


def blame_lines(changes: list[Change]) -> Iterator[str]:
    """Each change, below the chain of processes that made it."""
    from cowdiff.words import clock, layer, words
    from cowfs.runs.escape import printable

    last: Process | None = None
    first = True
    for change in changes:
        if first or change.process is not last:
            yield from _chain(change.process)
        first, last = False, change.process
        source = layer(change.layer)
        source = f"  (was in {source})" if source.startswith("layer") else ""
        yield f"    {clock(change.time_ns)}  /{printable(change.path)}  {words(change)}{source}\n"


def _chain(process: Process | None) -> Iterator[str]:
    if process is None:
        yield command_of(None) + "\n"
        return
    yield f"{name_of(process)}  {command_of(process)}  uid {process.uid}\n"
    for ancestor in process.chain[1:]:
        yield f"  of {name_of(ancestor)}  {command_of(ancestor)}\n"


def _json(changes: list[Change]) -> Iterator[str]:
    from cowdiff.words import change_json, process_json

    for change in changes:
        chain = change.process.chain if change.process else ()
        yield json.dumps(change_json(change) | {"processes": [process_json(process) for process in chain]}) + "\n"
