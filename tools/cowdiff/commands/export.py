"""``cowdiff export RUN TARGET``: what a run left, or what it changed, for other programs."""

import click

from cowdiff.context import Context


@click.command("export")
@click.argument("token", metavar="RUN")
@click.argument("target")
@click.pass_obj
def command(context: Context, token: str, target: str) -> None:
    """Write out what RUN left. TARGET is one of these, FILE may be - for standard output:

    \b
    tar:FILE       the whole tree as RUN left it, as a tar
    layer:FILE     what RUN changed, as a layer of an OCI image: a tar with whiteouts
    overlay:DIR    the same as a directory that overlayfs and cowfs take as one of their layers
    """
    from cowdiff.exports import TARGETS
    from cowfs.errors import StoreError, UsageError
    from cowfs.model import Container, RunState

    scheme, _, path = target.partition(":")
    write = TARGETS.get(scheme)
    if write is None or not path:
        raise UsageError(f"{target!r} is no target: tar:FILE, layer:FILE or overlay:DIR")
    run = context.find(token)
    if run.state is RunState.RUNNING and not isinstance(run, Container):  # those may never end
        raise StoreError(f"run {run.id} is still going: end it first")
    write(run, path)
