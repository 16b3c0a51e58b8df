"""``cowdiff rm RUN...``: remove runs, what they changed, and the layers that only they used."""

import click

from cowdiff.context import Context


@click.command("rm")
@click.argument("tokens", metavar="RUN...", nargs=-1, required=True)
@click.pass_obj
def command(context: Context, tokens: tuple[str, ...]) -> None:
    """Remove runs, and the layers that nothing else uses. All must exist and be over, or none is removed."""
    from cowfs.errors import StoreError
    from cowfs.model import RunState

    runs = context.runs()
    found = {run.id: run for run in map(context.own, tokens)}
    for run in found.values():
        if run.state is RunState.RUNNING:
            raise StoreError(f"run {run.id} is still going: end it first")
    for run in found.values():
        runs.remove(run)
        click.echo(run.id)
    context.collect()
