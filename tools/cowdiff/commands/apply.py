"""``cowdiff apply RUN [PATH...]``: give what a run changed to the directory that it ran on."""

import sys

import click

from cowdiff.context import Context
from cowfs.cli.terminal import painter, write


@click.command("apply")
@click.argument("token", metavar="RUN")
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=click.Path(path_type=bytes))
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(context: Context, token: str, paths: tuple[bytes, ...], yes: bool) -> None:
    """Change the base of RUN as the run did: at or below PATH, or everywhere.

    For runs over @host or dir:PATH (a run over an image: cowdiff commit). Shows what would change, and asks. Nothing is
    applied where the base changed since the run started. Each path is changed by one rename or not at all, and
    "cowdiff undo RUN" gives everything back.
    """
    from cowdiff.apply.application import application, target_of
    from cowdiff.select import wanted
    from cowfs.cli.diffs.render import COLOURS, line
    from cowfs.errors import UsageError

    run = context.own(token)
    paint = painter()
    with application(run, wanted(paths)) as planned:
        write(paint(line(change), COLOURS.get(change.change)) + "\n" for change in planned.chosen)
        planned.check()
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("nobody can be asked: say --yes to apply this")
            click.confirm(f"Apply this to {target_of(run)}?", abort=True, err=True)
        planned.perform()
    click.echo(f"applied to {target_of(run)}; cowdiff undo {run.id} takes it back", err=True)
