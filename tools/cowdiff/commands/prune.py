"""``cowdiff prune``: remove old runs, and the layers that only they used."""

import time
from typing import Final

import click

from cowdiff.context import Context

_KEEP: Final = 10


@click.command("prune")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Keep the N newest that are over.")
@click.option("--older-than", metavar="TIME", help="Only those that started longer ago: 90s, 30m, 12h, 7d, 2w.")
@click.pass_obj
def command(context: Context, keep: int | None, older_than: str | None) -> None:
    """Remove runs that are over and the layers that nothing else uses, and print the ids of the runs.

    Without options the ten newest are kept; --keep 0 keeps none. Runs that are pinned or applied are never removed.
    When a run ends, the oldest ones beyond the budgets of runs.toml in the store go by themselves (docs/format.md).
    """
    from cowfs.quantities import seconds

    before = None if older_than is None else time.time() - seconds(older_than)
    if keep is None:
        keep = _KEEP if older_than is None else 0
    removed = context.runs().prune(keep=keep, before=before)
    for run in removed:
        click.echo(run.id)
    if removed:
        context.collect()
