"""``cowdiff rm RUN...``: remove runs and what they changed."""

import click

from cowdiff.context import Context


@click.command("rm")
@click.argument("tokens", metavar="RUN...", nargs=-1, required=True)
@click.pass_obj
def command(context: Context, tokens: tuple[str, ...]) -> None:
    """Remove runs. All must exist and be over, or none is removed."""
    from cowfs.errors import StoreError
    from cowfs.model import RunState

    runs = context.runs()
    found = {run.id: run for run in map(runs.find, tokens)}
    for run in found.values():
        if run.state is RunState.RUNNING:
            raise StoreError(f"run {run.id} is still going: end it first")
    for run in found.values():
        runs.remove(run)
        click.echo(run.id)
