"""``cowdiff log RUN``: every change in the order in which they were made."""

import json
import sys
import time
from collections.abc import Iterator

import click

from cowdiff.context import Context
from cowdiff.journals import Filter, journal_of, missing, name_of
from cowfs.cli.entry import complain
from cowfs.journal.reader import Change, Reader
from cowfs.model import RunState

_PAUSE = 0.2  # seconds between two looks at a live journal


@click.command("log")
@click.argument("token", metavar="RUN")
@click.option("--follow", "-f", is_flag=True, help="Go on while the run goes on.")
@click.option(
    "--process", metavar="NUMBER|TEXT", help="Only of this process, or of a command with TEXT, and its children."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(context: Context, token: str, follow: bool, process: str | None, as_json: bool) -> None:
    """List every change that a run made, in time order, with the process that made it."""
    run = context.find(token)
    reader = journal_of(run)
    wanted = Filter(process) if process else None
    show = _json if as_json else _line
    for change in _changes(context, token, reader, follow):
        if wanted is None or (change.process is not None and wanted.matches(change.process)):
            sys.stdout.write(show(change) + "\n")
            if follow:
                sys.stdout.flush()
    for line in missing(reader, context.find(token)):
        complain("cowdiff", line)


def _changes(context: Context, token: str, reader: Reader, follow: bool) -> Iterator[Change]:
    while True:
        lives = follow and context.find(token).state is RunState.RUNNING
        yield from reader.more()
        if not lives:
            break
        time.sleep(_PAUSE)
    yield from reader.still_open()


def _line(change: Change) -> str:
    from cowdiff.words import clock, words
    from cowfs.runs.escape import printable

    return f"{clock(change.time_ns)}  {name_of(change.process):<16} /{printable(change.path)}  {words(change)}"


def _json(change: Change) -> str:
    from cowdiff.words import change_json, process_json

    return json.dumps(change_json(change) | {"process": process_json(change.process)})
