"""``cowdiff unpin RUN...``: take that back."""

import click

from cowdiff.context import Context


@click.command("unpin")
@click.argument("tokens", metavar="RUN...", nargs=-1, required=True)
@click.pass_obj
def command(context: Context, tokens: tuple[str, ...]) -> None:
    """Let the budgets remove runs again. All must exist."""
    runs = context.runs()
    for run in list(map(context.own, tokens)):
        runs.pin(run, pinned=False)
