"""``cowdiff text RUN [PATH...]``: the changes of text files, as a patch that ``git apply`` takes."""

import click

from cowdiff.context import Context


@click.command("text")
@click.argument("token", metavar="RUN")
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=click.Path(path_type=bytes))
@click.pass_obj
def command(context: Context, token: str, paths: tuple[bytes, ...]) -> None:
    """Show what RUN changed in text files: at or below PATH, or everywhere.

    PATH may be a shell pattern as '*.conf'. The output is a patch that "git apply" takes; lines that start with "#"
    say what a patch cannot. The files of removed directories are left out unless a PATH (as "/") asks for them.
    On a terminal it goes through $PAGER, or less.
    """
    from cowdiff.select import selected, wanted
    from cowfs.cli.diffs.patches import show_patches
    from cowfs.cli.diffs.texts import Texts
    from cowfs.model import Kind
    from cowfs.runs.below import Below
    from cowfs.runs.scan import scan
    from cowfs.runs.trees import base_of, left_by

    wants = wanted(paths)
    run = context.find(token)
    with base_of(run) as before, left_by(run) as after:
        all_changes = scan(run, before)
        chosen = selected(all_changes, wants, Below(before, all_changes), everything=bool(paths))
        tops = {change.path for change in all_changes}
        changes = (change for change in chosen if change.kind is not Kind.DIRECTORY or change.path in tops)
        show_patches(Texts(before, after).patches(changes))
