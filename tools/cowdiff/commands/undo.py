"""``cowdiff undo RUN``: take back what ``cowdiff apply`` did."""

import click

from cowdiff.context import Context


@click.command("undo")
@click.argument("token", metavar="RUN")
@click.pass_obj
def command(context: Context, token: str) -> None:
    """Take back the newest "cowdiff apply" of RUN: every byte, mode, owner, attribute, time and name.

    Nothing is touched where one of those paths changed since. It also takes back an application that was interrupted.
    """
    from cowdiff.apply.application import target_of, undo

    run = context.own(token)
    undo(run)
    click.echo(f"undone in {target_of(run)}", err=True)
