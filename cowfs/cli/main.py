"""``cowfs``: the group of commands. Each command is a module of this package, imported when it is used.

A command module exports ``command``, a click.Command; it gets its :class:`~cowfs.cli.context.Context` by
``@click.pass_obj``. Importing this module costs click and nothing else.
"""

from pathlib import Path
from typing import NoReturn

import click

from cowfs import __version__, userns
from cowfs.cli.context import Context, root_option
from cowfs.cli.entry import run
from cowfs.cli.group import LazyGroup

COMMANDS = {
    "mount": "Mount the merge of layers, read-only or with an upper.",
    "umount": "Unmount what mount made.",
    "mounts": "List what is mounted.",
    "info": "Say what this machine can do, and what a mount uses of it.",
    "layers": "List the layers of an image, from the bottom.",
    "explain": "Say which layer supplies a path, and what hides below it.",
    "find": "List the files of an image, or those that lower layers still carry.",
    "waste": "Count the bytes of an image that no one can see.",
    "report": "Write a page that shows where the bytes of an image are.",
    "diff": "List what differs between two images, layers or directories.",
    "pull": "Bring an image from a registry into the store.",
    "push": "Copy an image of the store to a registry.",
    "images": "List the images in the store.",
    "inspect": "Show an image's config and history, and the layers that it made.",
    "tag": "Give an image one more name.",
    "export": "Write an image to an OCI layout or an archive.",
    "rm": "Remove images from the store.",
    "gc": "Remove layers and downloads that nothing uses.",
    "df": "Say what the store takes on the disk.",
    "check": "Compare everything in the store with its digests.",
}


_FIRST_OUTSIDE = {"mount", "umount"}  # fusermount3 mounts for an ordinary user, and not from inside a namespace


@click.command(
    cls=LazyGroup,
    package="cowfs.cli",
    table=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="cowfs", message="%(prog)s %(version)s")
@root_option
@click.pass_context
def cowfs(ctx: click.Context, root: Path) -> None:
    """A copy-on-write layered file system: mount image layers, look into them, keep them in a store."""
    if ctx.invoked_subcommand not in _FIRST_OUTSIDE:
        userns.enter()  # an ordinary user's store belongs to several users
    ctx.obj = Context(root)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """The console script."""
    run(cowfs, "cowfs")
