"""Which layers and blobs nothing uses, and their removal. Used by the Store under its exclusive lock.

A layer is used by an image record, by the run.json of a run that is kept, or by whoever holds a lease. The order makes
it safe without stopping anybody: first lock the candidates, then read who uses what. Whoever leased a layer before the
lock wrote its record before the lease ended, so the reading sees the record; whoever comes after finds the layer gone.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from cowfs.errors import StoreError
from cowfs.ondisk import PART, RUN_JSON
from cowfs.store.descriptors import open_directory, read_file, try_lock
from cowfs.store.layers import Layers
from cowfs.store.parts import sweep_parts
from cowfs.store.records import StoredImage, digest_hex

_RUN_LIMIT = 4 << 20  # bytes of a run.json: a command line may be long
_PART_LIFE = 7 * 24 * 3600.0  # seconds that a download which was cut is kept to go on with
_LAYER_IN_PATH = re.compile(r"/layers/sha256/([0-9a-f]{64})(?:/|$)")


class Removed(NamedTuple):
    """What a removal did, or would do."""

    layers: Mapping[str, int] = {}  # hex digits of those that are gone: bytes on the disk
    # layers that no image uses, and the runs that are kept and name them; none where only a lease keeps it
    in_use: Mapping[str, tuple[str, ...]] = {}
    downloads: Mapping[str, int] = {}  # hex digits of half blobs that are gone: bytes


def collect(
    layers: Layers,
    blobs_fd: int,
    runs_fd: int,
    images: Callable[[], list[StoredImage]],
    *,
    dry_run: bool = False,
    downloads: bool = False,
) -> Removed:
    """Remove layers and blobs that nothing uses. ``images`` reads the records.

    ``downloads``: also those that somebody may want to go on with. ``dry_run``: only say what would go.
    """
    used = _layers_of(images())
    candidates = [name for name in layers.names() if name not in used]
    locked = {name: fd for name in candidates if (fd := _lock(layers.fd, name)) is not None}
    removed = {}
    runs: dict[str, list[str]] = {}
    try:
        if locked:
            used, runs = _layers_of(images()), _layers_of_runs(runs_fd)
        for name in [name for name in locked if name not in used and name not in runs]:
            removed[name] = layers.disk(locked[name])
            if not dry_run:
                layers.remove(name, locked.pop(name))
    finally:
        for fd in locked.values():
            os.close(fd)
    if not dry_run:
        _remove_blobs(blobs_fd, images())
    parts = sweep_parts(blobs_fd, 0 if downloads else _PART_LIFE, dry_run=dry_run)
    kept = {name: tuple(runs.get(name, ())) for name in candidates if name not in removed}
    return Removed(removed, kept, parts)


def _layers_of(images: Iterable[StoredImage]) -> set[str]:
    """The hex digits of every layer that an image names."""
    return {digest_hex(diff_id) for image in images for diff_id in image.diff_ids}


def _layers_of_runs(runs_fd: int) -> dict[str, list[str]]:
    """The hex digits of every layer that a run's record names, with the ids of those runs.

    Raises StoreError for a record that cannot be read.
    """
    used: dict[str, list[str]] = defaultdict(list)
    for run in sorted(os.listdir(runs_fd)):
        try:
            fd = open_directory(runs_fd, run)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            for layer in _lowers(read_file(fd, RUN_JSON, _RUN_LIMIT)):
                used[layer].append(run)
        except FileNotFoundError:  # being made (then it holds a lease), or being removed
            continue
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(
                f"the record of run {run} cannot be read, so no layer can be called unused: cowdiff rm {run}"
            ) from error
        finally:
            os.close(fd)
    return used


def _lowers(data: bytes) -> set[str]:
    return {match[1] for lower in json.loads(data)["lowers"] if (match := _LAYER_IN_PATH.search(lower))}


def _lock(layers_fd: int, name: str) -> int | None:
    try:
        fd = open_directory(layers_fd, name)
    except OSError:
        return None
    if try_lock(fd):
        return fd
    os.close(fd)
    return None


def _remove_blobs(blobs_fd: int, images: Iterable[StoredImage]) -> None:
    """Manifests and configs are written under the shared store lock together with the record that names them."""
    used = {digest_hex(digest) for image in images for digest in (image.digest, image.config)}
    for name in os.listdir(blobs_fd):
        if name not in used and not name.endswith(PART):
            os.unlink(name, dir_fd=blobs_fd)
