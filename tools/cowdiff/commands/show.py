"""``cowdiff show RUN``: a line per changed path."""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from cowdiff.context import Context, painter

if TYPE_CHECKING:
    from cowfs.runs.changes import Change
    from cowfs.runs.trees import Tree


@click.command("show")
@click.argument("token", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--count", is_flag=True, help="Say how much each removed directory held (reads those directories).")
@click.pass_obj
def command(context: Context, token: str, as_json: bool, count: bool) -> None:
    """List what a run changed, one path a line, sorted.

    \b
    A added      M modified           T replaced by another type
    D removed    m metadata only      t touched: only the times differ
    R renamed    = copied up, but the same
    """
    run = context.find(token)
    from cowfs.runs.scan import scan
    from cowfs.runs.trees import base_of

    with base_of(run) as before:
        changes = scan(run, before)
        output = _json if as_json else _lines
        sys.stdout.writelines(output(changes, before if count else None))


def _lines(changes: "Iterable[Change]", before: "Tree | None") -> Iterator[str]:
    from cowdiff.render import COLOURS, line

    paint = painter()
    for change in changes:
        yield paint(line(change, _held(change, before)), COLOURS.get(change.change)) + "\n"


def _json(changes: "Iterable[Change]", before: "Tree | None") -> Iterator[str]:
    from cowdiff.render import as_json

    for change in changes:
        yield json.dumps(as_json(change, _held(change, before))) + "\n"


def _held(change: "Change", before: "Tree | None") -> int | None:
    from cowfs.model import Kind
    from cowfs.runs.changes import ChangeClass
    from cowfs.runs.scan import held

    if before is None or change.before is None or change.before.kind is not Kind.DIRECTORY:
        return None
    if change.change not in (ChangeClass.REMOVED, ChangeClass.REPLACED):
        return None
    return held(before, change.before_path or change.path)
