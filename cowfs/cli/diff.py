"""``cowfs diff A B``: what differs between two images, layers, directories or runs, by the code of cowdiff."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from cowfs.cli.context import Context
from cowfs.cli.terminal import painter, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cowfs.runs.below import Held
    from cowfs.runs.changes import Change
    from cowfs.runs.trees import Tree
    from cowfs.store import Store


@click.command()
@click.argument("first", metavar="SOURCE")
@click.argument("second", metavar="SOURCE")
@click.option("--text", is_flag=True, help="As a patch from the first to the second.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(context: Context, first: str, second: str, text: bool, as_json: bool) -> int:
    """List what leads from the first SOURCE to the second: images, dir:PATH, run:ID, or IMAGE@N, an image as it was
    after its layer N.

    \b
    A added    M modified        T replaced by another type
    D removed  m metadata only

    Times do not count. Exit status 1 if something differs.
    """
    import json

    from cowfs.cli.diffs.render import COLOURS, line
    from cowfs.cli.diffs.render import as_json as to_json
    from cowfs.runs.below import Below
    from cowfs.runs.pairs import pairs

    count = 0
    with context.store() as store, ExitStack() as opened:
        left, right = _tree(first, store, opened), _tree(second, store, opened)
        below = Below(left, ())

        def changes() -> "Iterator[Change]":
            nonlocal count
            for change in pairs(left, right):
                count += 1
                yield change

        if text:
            from cowfs.cli.diffs.patches import show_patches
            from cowfs.cli.diffs.texts import Texts

            show_patches(Texts(left, right).patches(changes()))
        else:
            paint = painter()

            def shown(change: "Change", held: "Held | None") -> str:
                if as_json:
                    return json.dumps(to_json(change, held))
                return paint(line(change, held, sizes=True), COLOURS.get(change.change))

            write(shown(change, below.held(change)) + "\n" for change in changes())
    return 1 if count else 0


def _tree(source: str, store: "Store", opened: ExitStack) -> "Tree":
    from cowfs.cli.inside import tree_of
    from cowfs.images.inspected import inspected

    base = inspected(source, store)
    opened.enter_context(store.lease(base))
    return tree_of(base, store, opened)
