"""``cowfs mount``: the merge of layers on a directory, read-only or with an upper."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cowfs import userns
from cowfs.cli.context import Context
from cowfs.errors import PrivilegeError, UsageError
from cowfs.ondisk import TRANSPORT_ENV

if TYPE_CHECKING:
    from cowfs.model import Base, LayerInfo
    from cowfs.options import MountOptions


@click.command()
@click.argument("words", metavar="SOURCE... MOUNTPOINT", nargs=-1, required=True)
@click.option("--upper", type=click.Path(path_type=Path), help="Directory that takes the changes; needs --work.")
@click.option("--work", type=click.Path(path_type=Path), help="Empty directory on the same file system as --upper.")
@click.option("--read-only", is_flag=True, help="Show --upper with the rest, and refuse changes.")
@click.option("--layers", "apart", is_flag=True, help="Show merged, layers/NN-ID, upto/NN and history of one SOURCE.")
@click.option(
    "--journal", metavar="FILE", type=click.Path(path_type=Path), help="Append to FILE who changed what, and when."
)
@click.option("--trace-writes", is_flag=True, help="Record each single write there; slower.")
@click.option("--foreground", is_flag=True, help="Serve in this process until the mount ends.")
@click.option(
    "--transport", envvar=TRANSPORT_ENV, default="auto", help="auto, plain, or levers joined by + (cowfs info)."
)
@click.pass_obj
def command(
    context: Context,
    words: tuple[str, ...],
    upper: Path | None,
    work: Path | None,
    read_only: bool,
    apart: bool,
    journal: Path | None,
    trace_writes: bool,
    foreground: bool,
    transport: str,
) -> None:
    """Mount the merge of the SOURCEs on MOUNTPOINT, the first on top; without --upper it is read-only.

    A SOURCE is an image in the store, @host, dir:PATH, oci:PATH[:TAG], oci-archive:FILE, docker-archive:FILE,
    docker:NAME, podman:NAME or run:ID; SOURCE@N ends at its layer N.
    """
    from cowfs.fuse import mountpoints, serve
    from cowfs.options import MountOptions

    *sources, last = words
    if not sources:
        raise UsageError(f"where to mount {last}? MOUNTPOINT is missing")
    mountpoint = Path(last)
    if (upper is None) != (work is None):
        raise UsageError("--upper and --work go together: changes are built in one and published in the other")
    if journal is not None and (upper is None or read_only):
        raise UsageError("--journal records changes: it needs --upper, and not --read-only")
    if trace_writes and journal is None:
        raise UsageError("--trace-writes goes into a journal: it needs --journal")
    if apart and (upper is not None or len(sources) != 1):
        raise UsageError("--layers shows the layers of one SOURCE, and takes no --upper")
    mounter = _mounter(upper)
    serve.check_device()
    mountpoints.check_mountpoint(mountpoint, empty=True)
    with ExitStack() as leases:  # the layers stay as long as the file system process, which holds them, too
        asked = MountOptions(
            lowers=(),
            apart=apart,
            upper=upper and upper.absolute(),
            work=work and work.absolute(),
            read_only=read_only,
            journal=journal and journal.absolute(),
            each_write=trace_writes,
            source=",".join(sources),
            mounter=mounter,
            transport=transport,
        )
        options = with_sources(asked, sources, context, leases)
        if foreground:
            serve.serve_here(options, mountpoint.absolute())
        else:
            serve.start(options, mountpoint.absolute(), detach=True)


def _mounter(upper: Path | None) -> int:
    """Who mounts: we, or for an ordinary user a process that stays outside of the namespace that is entered here."""
    if os.geteuid() == 0:
        return -1
    if upper is not None:
        raise PrivilegeError("a mount with an upper needs root: run it with sudo (cowrun works without)")
    from cowfs.fuse.transport import outside

    mounter = outside.stay_outside()
    userns.enter()
    return mounter


def with_sources(
    options: "MountOptions", sources: Sequence[str], context: Context, leases: ExitStack
) -> "MountOptions":
    """``options`` over the layers of ``sources``, the first on top; ``leases`` keeps these layers in the store."""
    from cowfs.model import shown_layers
    from cowfs.options import indexes_of

    bases, hidden = _bases(context, sources, leases)
    lowers = tuple(layer.directory for base in bases for layer in reversed(shown_layers(base.layers)))
    return options._replace(
        lowers=lowers,
        indexes=indexes_of(lowers),
        layers=_layers(bases, options.upper),
        live_lower=any(base.live for base in bases),
        hidden=hidden,
        userxattr=not userns.is_root_of_machine(),
    )


def _layers(bases: "list[Base]", upper: Path | None) -> "tuple[LayerInfo, ...]":
    """All layers, numbered from the bottom through all bases; the upper is above them."""
    from cowfs.model import LayerInfo, shown_layers

    layers = bases[0].layers
    if len(bases) > 1:  # what is opaque to the layers of its own image is not so to another's
        shown = [layer for base in reversed(bases) for layer in shown_layers(base.layers)]
        layers = tuple(layer._replace(number=number, opaque=False) for number, layer in enumerate(shown, 1))
    if upper is not None:
        layers = (*layers, LayerInfo(max((layer.number for layer in layers), default=0) + 1, upper))
    return layers


def _bases(context: Context, sources: Sequence[str], leases: ExitStack) -> "tuple[list[Base], frozenset[Path]]":
    """What the sources are, and which directories of theirs appear empty."""
    from cowfs.images.host import hidden_directories
    from cowfs.images.inspected import inspected

    with context.store() as store:
        bases = [inspected(source, store) for source in sources]
        for base in bases:
            leases.enter_context(store.lease(base))
        hidden = {path for base in bases for path in base.hidden}
        if any(base.host for base in bases):
            hidden |= hidden_directories(store)
    return bases, frozenset(hidden)
