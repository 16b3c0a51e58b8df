"""``cowdiff cat RUN PATH``: a file as the run left it, or as the base has it."""

import sys

import click

from cowdiff.context import Context


@click.command("cat")
@click.argument("token", metavar="RUN")
@click.argument("path", type=click.Path(path_type=bytes))
@click.option("--before", is_flag=True, help="The file as the base has it.")
@click.pass_obj
def command(context: Context, token: str, path: bytes, before: bool) -> None:
    """Print the regular file PATH as RUN left it. Symbolic links are not followed."""
    run = context.find(token)
    from cowfs.runs.trees import base_of, left_by, regular_file

    with (base_of if before else left_by)(run) as tree, tree.opened(regular_file(tree, path)) as content:
        sys.stdout.buffer.writelines(content.chunks())
