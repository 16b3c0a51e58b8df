"""``cowdiff commit RUN NAME``: the image of a run, with what the run changed as one layer more."""

import click

from cowdiff.context import Context


@click.command("commit")
@click.argument("token", metavar="RUN")
@click.argument("name")
@click.option("-a", "--author", default="", help="For the history of the image.")
@click.option("-m", "--message", default="", help="The same.")
@click.pass_obj
def command(context: Context, token: str, name: str, author: str, message: str) -> None:
    """Make the image NAME of what RUN left: its base and one layer more. Prints the DiffID of that layer.

    The line of the history is the command of RUN. Volumes and injected files are left out. What starts by default stays
    what the base starts. "cowrun NAME" runs it, "cowfs export NAME" and "cowfs push NAME" give it to others.
    """
    import os
    import shlex

    from cowdiff.images import image_of
    from cowfs.errors import StoreError
    from cowfs.images.commit import History, commit
    from cowfs.model import RunState

    run = context.own(token)
    if run.state is RunState.RUNNING:
        raise StoreError(f"run {run.id} is still going: end it first")
    runs = context.runs().list()
    with context.store() as store:
        base = image = image_of(run, store)
        uppers = [lower for lower in reversed(run.lowers) if lower.parent.parent == run.directory.parent]
        for one in [*(other for upper in uppers for other in runs if other.upper == upper), run]:
            left_out = frozenset(os.fsencode(volume).strip(b"/") for volume in one.volumes)
            history = History(shlex.join(one.command), author, message)
            image = commit(store, image, one.upper, name, history, work=one.work, leave_out=left_out)
    changed = len(image.diff_ids) > len(base.diff_ids)
    click.echo(image.diff_ids[-1] if changed else "nothing changed: the image has no new layer", err=not changed)
