"""Is what the store holds still what came? And bringing again what is not. Used by ``cowfs check``.

    the tree's digest      every name, type, mode, owner, device, size, time, link, attribute (cowfs.store.treedigest)
    the DiffID             every byte of every file, and of the skeleton: the tar is put together again and hashed
    the blobs' digests     manifest and config

Layers are checked by several processes at once, as hashing is what takes the time. A layer that is checked cannot be
removed meanwhile; one in use can be checked, not repaired.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Final

from cowfs.errors import BrokenImage, CowfsError, NotFound, StoreError
from cowfs.images import limits
from cowfs.images.config import parse_config
from cowfs.images.importer import import_again
from cowfs.images.outgoing import plain
from cowfs.images.plan import Plan
from cowfs.images.reference import Reference, parse_reference
from cowfs.images.workers import TaskFailed, in_processes
from cowfs.store import Store
from cowfs.store.records import StoredImage
from cowfs.store.treedigest import tree_facts

MISSING: Final = "it is missing"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found of one layer or image; no problems: it is what it was."""

    name: str  # a diffID or a reference
    problems: tuple[str, ...]


def check_layers(store: Store, diff_ids: list[str], seen: Callable[[Report], None]) -> None:
    """Each layer, the largest one first; ``seen`` gets the reports as they come."""
    layers = {diff_id: store.layer(diff_id) for diff_id in diff_ids}
    with contextlib.ExitStack() as leases:
        tasks = {}
        for diff_id in sorted(diff_ids, key=lambda diff_id: -(layer.size if (layer := layers[diff_id]) else 0)):
            try:
                leases.enter_context(store.lease_layers([diff_id]))
            except NotFound:
                seen(Report(diff_id, (MISSING,)))
            else:
                tasks[diff_id] = functools.partial(_check_layer, store, diff_id)
        try:
            in_processes(tasks, os.cpu_count() or 1, lambda diff_id, found: seen(Report(diff_id, found)))  # type: ignore[arg-type]  # no notes
        except TaskFailed as failure:
            raise failure.error from None


def _check_layer(store: Store, diff_id: str, _tell: Callable[[int], None]) -> tuple[str, ...]:
    """In a process of its own."""
    problems = []
    layer = store.layer(diff_id)
    if layer is None:
        return (MISSING,)
    try:
        with store.open_layer(diff_id) as (root_fd, _):
            if tree_facts(root_fd).digest != layer.tree:
                problems.append("a name, type, mode, owner, time, link or attribute in its tree is another one")
        for _ in plain(store, diff_id):
            pass
    except StoreError as error:
        problems.append(str(error.__cause__ or "a byte of its files is another one"))
    except OSError as error:
        problems.append(f"it cannot be read: {error.strerror}")
    return tuple(problems)


def check_image(store: Store, image: StoredImage) -> Report:
    """The record and the blobs of an image, not its layers."""
    problems = []
    for digest in dict.fromkeys((image.digest, image.config)):
        try:
            data = store.blob(digest, limits.DOCUMENT)
            if digest == image.config and parse_config(data).diff_ids != image.diff_ids:
                problems.append("its record and its config name different layers")
        except (StoreError, BrokenImage) as error:
            problems.append(str(error).partition(":")[0] if isinstance(error, BrokenImage) else str(error))
    return Report(image.reference, tuple(problems))


def repair(
    store: Store, image: StoredImage, damaged: Set[str], environ: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Bring layers of ``image``, and its documents, again from where it came. Raises CowfsError saying why not."""
    with _plan_again(store, image, environ, say) as plan:
        if plan.config.diff_ids != image.diff_ids:
            raise NotFound("there is another image there now")
        if layers := damaged & set(image.diff_ids):
            import_again(store, plan, layers)
        with store.lease_layers(list(image.diff_ids)):
            store.publish_image(image, plan.documents)


@contextlib.contextmanager
def _plan_again(
    store: Store, image: StoredImage, environ: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[Plan]:
    reference = _reference(image)
    if reference is None:
        from cowfs.images.archives import planned_again

        with planned_again(image.reference, store) as plan:
            yield plan
        return
    from cowfs.images.registry.pull import Registries, plan_pull

    same = Reference(reference.domain, reference.path, digest=image.digest)  # its tag may be on another one by now
    yield plan_pull(Registries.configured(environ), store, same, None, say)


def _reference(image: StoredImage) -> Reference | None:
    """None for what came from a layout or an archive."""
    try:
        return parse_reference(image.reference)
    except CowfsError:
        return None
