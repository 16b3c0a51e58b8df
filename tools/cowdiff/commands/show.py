"""``cowdiff show RUN``: a line per changed path, a tree of them, or what they come to."""

import json
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Final

import click

from cowdiff.context import Context
from cowfs.cli.terminal import painter, write

if TYPE_CHECKING:
    from cowdiff.summary import Key
    from cowfs.model import Run
    from cowfs.runs.below import Held
    from cowfs.runs.changes import Change
    from cowfs.runs.trees import Tree

    Counted = Iterable[tuple[Change, Held | None]]

KINDS: Final = ("file", "directory", "symlink", "char", "block", "fifo", "socket")
GROUPS: Final = ("directory", "package", "process", "class", "kind")


@click.command("show")
@click.argument("token", metavar="RUN")
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=click.Path(path_type=bytes))
@click.option(
    "-c", "--class", "classes", multiple=True, metavar="CLASS", help="Only these: a letter or a word of below."
)
@click.option(
    "-k", "--kind", "kinds", multiple=True, type=click.Choice(KINDS), metavar="KIND", help="file, symlink ..."
)
@click.option(
    "--size", "sizes", multiple=True, metavar="+SIZE|-SIZE", help="Files of at least or at most that many bytes."
)
@click.option(
    "-p",
    "--process",
    metavar="NUMBER|TEXT",
    help="What this process, or a command with TEXT, and its children touched.",
)
@click.option("--all", "everything", is_flag=True, help="Each path that went with a removed directory, too.")
@click.option("--passing", is_flag=True, help="What was created and removed again, too (by the journal).")
@click.option("--count", is_flag=True, help="Say how much each removed directory held (reads those directories).")
@click.option("--stat", is_flag=True, help="Say how many bytes each file has, and how many really differ; and the sum.")
@click.option("--tree", "as_tree", is_flag=True, help="As a tree.")
@click.option("--by", type=click.Choice(GROUPS), help="What the changes come to, by group, the most bytes first.")
@click.option("--depth", type=click.IntRange(min=0), default=2, metavar="N", help="Names of a directory with --by; 2.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(
    context: Context,
    token: str,
    paths: tuple[bytes, ...],
    classes: tuple[str, ...],
    kinds: tuple[str, ...],
    sizes: tuple[str, ...],
    process: str | None,
    everything: bool,
    passing: bool,
    count: bool,
    stat: bool,
    as_tree: bool,
    by: str | None,
    depth: int,
    as_json: bool,
) -> None:
    """List what a run changed, one path a line, sorted.

    PATH is a path with all below it, or a shell pattern as '*.conf' or '/etc/*/*.d'.

    \b
    A added      M modified           T replaced by another type
    D removed    m metadata only      t touched: only the times differ
    R renamed    = copied up, but the same
    x passing: created and removed again (only with --passing)
    """
    from cowdiff.select import selected, wanted

    run = context.find(token)
    wants = wanted(paths, classes, kinds, sizes, _touched(run, process))
    from cowfs.runs.below import Below
    from cowfs.runs.scan import scan
    from cowfs.runs.trees import base_of

    with base_of(run) as before:
        changes = scan(run, before, measure=stat or by is not None, lone_xattrs=as_json)
        if passing or "x" in classes or "passing" in classes:
            from cowdiff import journals
            from cowfs.runs.changes import order

            changes += journals.passing(run, [change.path for change in changes])
            changes.sort(key=lambda change: order(change.path))
        below = Below(before, changes)
        found = selected(changes, wants, below, everything=everything)
        counting = (count or stat or by is not None) and not everything
        rows: Counted = ((change, below.held(change)) for change in found) if counting else zip(found, repeat(None))
        if by is not None:
            write(_groups(rows, by, depth, run, before, as_json))
        elif as_json:
            write(_json(rows))
        else:
            write(_lines(rows, as_tree, stat))


def _touched(run: "Run", process: str | None) -> frozenset[bytes] | None:
    if process is None:
        return None
    from cowdiff.journals import Filter, touched_by

    return touched_by(run, Filter(process))


def _lines(rows: "Counted", as_tree: bool, stat: bool) -> Iterator[str]:
    from cowdiff.summary import Row, total
    from cowfs.cli.diffs.render import COLOURS, line, tree

    paint = painter()
    sum_of_all = Row()
    if as_tree:
        rows = list(rows)
        for change, held in rows:
            sum_of_all.add(change, held)
        for above, text in tree(rows, sizes=stat):
            yield paint(text, above and COLOURS.get(above.change)) + "\n"
    else:
        for change, held in rows:
            sum_of_all.add(change, held)
            yield paint(line(change, held, sizes=stat), COLOURS.get(change.change)) + "\n"
    if stat:
        yield f"{total(sum_of_all)}\n"


def _json(rows: "Counted") -> Iterator[str]:
    from cowfs.cli.diffs.render import as_json

    for change, held in rows:
        yield json.dumps(as_json(change, held)) + "\n"


def _groups(rows: "Counted", by: str, depth: int, run: "Run", before: "Tree", as_json: bool) -> Iterator[str]:
    from cowdiff.summary import grouped, objects, table
    from cowfs.cli.output import columns

    rows = list(rows)
    groups = grouped(rows, _key(rows, by, depth, run, before))
    if as_json:
        for found in objects(groups, by):
            yield json.dumps(found) + "\n"
        return
    cells = table(groups, by.upper())
    for text in columns(cells, right=range(len(cells[0]) - 1)):
        yield text + "\n"


def _key(rows: "Counted", by: str, depth: int, run: "Run", before: "Tree") -> "Key":
    from cowdiff.summary import by_class, by_directory, by_kind

    if by == "directory":
        return by_directory(depth)
    if by == "class":
        return by_class
    if by == "kind":
        return by_kind
    if by == "process":
        from cowdiff.journals import last_commands

        commands = last_commands(run)
        return lambda change: [commands.get(change.path, b"(only names in it changed)")]
    from cowdiff.packages import owners
    from cowfs.runs.trees import left_by

    with left_by(run) as after:
        found = owners((before, after), (change.before_path or change.path for change, _ in rows))
    return lambda change: found.get(change.before_path or change.path, [b"(no package)"])
