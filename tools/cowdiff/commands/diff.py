"""``cowdiff diff RUN RUN``: what two runs of the same base left differently."""

import json

import click

from cowdiff.context import Context
from cowfs.cli.terminal import painter, write


@click.command("diff")
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@click.option("--text", is_flag=True, help="As a patch from the first to the second.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(context: Context, first: str, second: str, text: bool, as_json: bool) -> int:
    """List what differs between the trees that two runs left; times do not count. Exit status 1 if something does."""
    from cowdiff.between import between
    from cowfs.cli.diffs.patches import show_patches
    from cowfs.cli.diffs.render import COLOURS, line
    from cowfs.cli.diffs.render import as_json as to_json
    from cowfs.cli.diffs.texts import Texts
    from cowfs.runs.trees import left_by

    one, other = context.find(first), context.find(second)
    paint = painter()
    with left_by(one) as left, left_by(other) as right:
        changes = list(between(one, other, left, right))
        if text:
            show_patches(Texts(left, right).patches(changes))
        elif as_json:
            write(json.dumps(to_json(change)) + "\n" for change in changes)
        else:
            write(paint(line(change, sizes=True), COLOURS.get(change.change)) + "\n" for change in changes)
    return 1 if changes else 0
