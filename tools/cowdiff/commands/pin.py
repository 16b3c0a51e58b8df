"""``cowdiff pin RUN...``: runs that no budget removes."""

import click

from cowdiff.context import Context


@click.command("pin")
@click.argument("tokens", metavar="RUN...", nargs=-1, required=True)
@click.pass_obj
def command(context: Context, tokens: tuple[str, ...]) -> None:
    """Keep runs, whatever the budgets of the store. All must exist."""
    runs = context.runs()
    for run in list(map(context.own, tokens)):
        runs.pin(run, pinned=True)
