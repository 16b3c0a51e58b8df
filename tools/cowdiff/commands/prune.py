"""``cowdiff prune``: remove old runs."""

import time

import click

from cowdiff.context import Context


@click.command("prune")
@click.option("--keep", type=click.IntRange(min=0), default=0, metavar="N", help="Keep the N newest that are over.")
@click.option("--older-than", metavar="TIME", help="Only those that started longer ago: 90s, 30m, 12h, 7d, 2w.")
@click.pass_obj
def command(context: Context, keep: int, older_than: str | None) -> None:
    """Remove the runs that are over, and print their ids. Without options: all of them."""
    from cowdiff.durations import seconds

    before = None if older_than is None else time.time() - seconds(older_than)
    for run in context.runs().prune(keep=keep, before=before):
        click.echo(run.id)
