"""What every command of cowfs gets from its group: where the store is.

The one place that reads the environment for it (COWFS_ROOT, XDG_DATA_HOME); cowrun and cowdiff use
:func:`root_option` for the same option. The store itself is imported when a command asks for it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from cowfs import userns
from cowfs.cli.entry import complain
from cowfs.ondisk import STORE_DEFAULT, STORE_ENV

if TYPE_CHECKING:
    from cowfs.store import Store

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., object])


class Context(NamedTuple):
    """The context object of the command line (``ctx.obj``, ``@click.pass_obj``)."""

    root: Path

    def store(self) -> "Store":
        """Open the store, making it where there is none. Raises StoreError."""
        from cowfs.store import Store  # only the commands that need the store pay for it

        return Store.open(self.root, say=lambda line: complain("cowfs", line))


def default_root() -> Path:
    """Where the store is when nobody says: the machine's for root, a user's own for anybody else."""
    if os.geteuid() == 0 and not userns.entered():
        return Path(STORE_DEFAULT)
    data = os.environ.get("XDG_DATA_HOME") or Path(userns.home(), ".local", "share")
    return Path(data) / "cowfs"


def root_option(function: AnyFunction) -> AnyFunction:
    """The option ``--root DIR`` (or COWFS_ROOT) as a parameter ``root: Path``."""
    return click.option(
        "--root",
        envvar=STORE_ENV,
        type=click.Path(path_type=Path, readable=False),
        default=default_root,
        metavar="DIR",
        help=f"The store of images and runs (also {STORE_ENV}; {STORE_DEFAULT}, a user's own in XDG_DATA_HOME).",
    )(function)
