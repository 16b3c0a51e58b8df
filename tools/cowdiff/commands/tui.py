"""``cowdiff tui RUN``: browse what a run changed in a terminal."""

import click

from cowdiff.context import Context


@click.command("tui")
@click.argument("token", metavar="RUN")
@click.pass_obj
def command(context: Context, token: str) -> None:
    """Browse what RUN changed: a tree, and of each path its diff and which processes changed it. ? has the keys."""
    from cowfs.errors import UsageError

    run = context.find(token)
    try:
        from cowdiff.browser import Browser
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith(("textual", "rich")):
            raise
        raise UsageError("cowdiff tui needs textual: pip install 'cowfs[tui]'") from None
    from cowdiff.browsing import opened

    with opened(run) as left:
        Browser(left).run()
