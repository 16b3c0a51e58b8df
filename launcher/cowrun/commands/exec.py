"""``cowrun exec``: run a further command in a run that is going."""

from pathlib import Path

import click

from cowfs.cli.context import root_option
from cowrun.commands.common import SETTINGS, env_files, machine


@click.command(context_settings=SETTINGS | {"allow_interspersed_args": False})
@click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable, or pass on the caller's.")
@click.option("--env-file", "files", multiple=True, metavar="FILE", help="Read variables from a file.")
@click.option("-w", "--workdir", metavar="DIR", help="Working directory inside; the run's if not given.")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="Who the command runs as; the run's user if not given.")
@click.option("-i", "--interactive", is_flag=True, help="Accepted: standard input is always passed on.")
@click.option("-t", "--tty", is_flag=True, help="Insist on a terminal; there is one wherever there can be one.")
@root_option
@click.argument("run")
@click.argument("arguments", metavar="COMMAND [ARG...]", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    run: str,
    arguments: tuple[str, ...],
    env: tuple[str, ...],
    files: tuple[str, ...],
    workdir: str | None,
    user: str | None,
    interactive: bool,
    tty: bool,
    root: Path,
) -> int:
    """Run a further command in a run that is going.

    RUN is a run's id, an unambiguous beginning of it, a name, or "last". The command gets the run's environment and is
    held to the same restrictions as the run's own. It ends with the run, and with this command; its exit status is
    ours.
    """
    from cowfs.errors import NotRunning
    from cowfs.store.runs import Runs
    from cowrun import running
    from cowrun.joining import execute
    from cowrun.settings import Options, to_join

    _, found = running.find(Runs(root), run)
    typed = Options(
        "", command=arguments, env=env, env_files=env_files(files), workdir=workdir, user=user, want_terminal=tty
    )
    try:
        return execute(found, to_join(typed, found.settings, machine(root)))
    except ProcessLookupError:
        raise NotRunning(f"run {run!r} is over") from None
