"""``cowfs df``: what the store takes on the disk, and how much of it gc would free."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import click

from cowfs import ondisk
from cowfs.cli.context import Context
from cowfs.cli.output import columns, human_size, json_line
from cowfs.store import Store
from cowfs.store.descriptors import open_directory
from cowfs.store.treedigest import tree_facts


@dataclass(frozen=True, slots=True)
class _Row:
    what: str
    count: int
    size: int  # bytes on the disk
    free: int  # of these, what gc would free


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """Say what layers, runs and the rest take on the disk, and how much of it `cowfs gc` would free.

    Layers count once, however many images share them; a run counts with what it changed.
    """
    with context.store() as store:
        rows = list(_rows(store))
        room = os.statvfs(store.root)
    if as_json:
        for row in rows:
            click.echo(json_line({"what": row.what, "count": row.count, "size": row.size, "reclaimable": row.free}))
        return
    head = ["WHAT", "COUNT", "SIZE", "GC FREES"]
    cells = [[row.what, str(row.count), human_size(row.size), human_size(row.free)] for row in rows]
    click.echo("\n".join(columns([head, *cells], right=(1, 2, 3))))
    click.echo(f"{human_size(room.f_bavail * room.f_frsize)} are free in {store.root}")


def _rows(store: Store) -> Iterator[_Row]:
    unused = store.collectable()
    layers = [layer for diff_id in store.layers() if (layer := store.layer(diff_id))]
    yield _Row("layers", len(layers), sum(layer.disk for layer in layers), sum(unused.layers.values()))
    yield _measured(store, "runs", ondisk.RUNS)
    downloads = _sizes(store, ondisk.BLOBS, ends=ondisk.PART)
    yield _Row("downloads", len(downloads), sum(downloads), sum(unused.downloads.values()))
    documents = _sizes(store, ondisk.BLOBS, ends="") + _sizes(store, ondisk.IMAGES, ends="")
    yield _Row("records", len(documents) - len(downloads), sum(documents) - sum(downloads), 0)
    yield _measured(store, "being built", ondisk.STAGING)


def _measured(store: Store, what: str, part: str) -> _Row:
    """Entries that may change or go while they are looked at."""
    sizes = []
    directory = store.root / part
    for name in os.listdir(directory):
        parent_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fd = open_directory(parent_fd, name)
            try:
                sizes.append(tree_facts(fd).disk)
            finally:
                os.close(fd)
        except OSError:
            continue
        finally:
            os.close(parent_fd)
    return _Row(what, len(sizes), sum(sizes), 0)


def _sizes(store: Store, part: str, ends: str) -> list[int]:
    found = []
    with os.scandir(store.root / part) as entries:
        for entry in entries:
            if entry.name.endswith(ends):
                found.append(entry.stat(follow_symlinks=False).st_blocks * 512)
    return found
