"""A new image: another one, and what an upper changed of it as one layer more. Used by cowdiff.

    upper over base -> entries (changes) -> tar (tarwriter) -> unpacked into the store as any layer is -> image

The same upper over the same base is the same layer, with the same DiffID. There is no manifest yet: that is made when
the image leaves the store (cowfs.images.outgoing), as blobs have to be packed for it.
"""

import contextlib
import datetime
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cowfs.errors import BrokenImage, StoreError
from cowfs.images import limits
from cowfs.images.changes import Changes
from cowfs.images.config import parse_config
from cowfs.images.paths import BadPath
from cowfs.images.plan import digest
from cowfs.images.reference import parse_reference
from cowfs.images.skeleton import Recorder
from cowfs.images.sources import base_of
from cowfs.images.tarheader import BadTar
from cowfs.images.tarwriter import END, headers, padding, stored_size
from cowfs.images.unpack import unpack
from cowfs.model import Run
from cowfs.store import Store
from cowfs.store.layers import LayerBuild
from cowfs.store.records import StoredImage, StoredLayer


@dataclass(frozen=True, slots=True)
class History:
    """The line of the image's history about the new layer."""

    created_by: str
    author: str = ""
    comment: str = ""
    created: float = field(default_factory=time.time)  # seconds since the epoch

    def line(self) -> dict[str, object]:
        """As the config has it (OCI image-spec, config.md)."""
        texts = {"created_by": self.created_by, "author": self.author, "comment": self.comment}
        return {"created": _date(self.created), **{key: text for key, text in texts.items() if text}}


def commit(
    store: Store,
    base: StoredImage,
    upper: Path,
    name: str,
    history: History,
    *,
    work: Path | None = None,
    config: Mapping[str, object] | None = None,
    leave_out: frozenset[bytes] = frozenset(),
) -> StoredImage:
    """Store ``base`` with the changes of ``upper`` as the image ``name``, a reference.

    ``work`` is the work directory that belongs to the upper: it tells which names share a file. ``config`` are keys of
    the config's own "config" (Cmd, Env, User ...) with their new values, None for none. ``leave_out`` are paths inside,
    without a slash in front, that belong to nobody: where a run had volumes. An upper that changes nothing makes no
    layer. Raises StoreError, UsageError, NotFound, BrokenImage.
    """
    reference = str(parse_reference(name))
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(store.lease_layers(list(base.diff_ids)))
        lowers = base_of(base.reference, base, store).lowers
        document = json.loads(store.blob(base.config, limits.DOCUMENT))
        index = work / "index" if work is not None else None
        changes = cleanup.enter_context(contextlib.closing(Changes(lowers, upper, index, leave_out)))
        build = store.stage_layer()
        cleanup.callback(build.close)  # till then nobody removes it
        with _explained(store):
            build.facts = _unpack(_tar(changes), build)
            if build.facts.entries:
                store.commit_layers([build])
        data = _config(document, build.facts, history, config or {})
        image = StoredImage(
            reference=reference,
            digest=digest(data),
            config=digest(data),
            diff_ids=parse_config(data).diff_ids,
            platform=base.platform,
            stored=time.time(),
        )
        store.publish_image(image, [data])
    return image


def layer_tar(run: Run, leave_out: frozenset[bytes]) -> Iterator[bytes]:
    """What a run changed, as a layer's tar. Raises StoreError."""
    index = run.work / "index"
    with contextlib.closing(Changes(run.lowers, run.upper, index, leave_out, foreign=run.foreign)) as changes:
        yield from _tar(changes)


def _tar(changes: Changes) -> Iterator[bytes]:
    for content in changes:
        yield headers(content.entry)
        if content.node is not None:
            yield from changes.data(content)
            yield padding(stored_size(content.entry))
    yield END


def _unpack(chunks: Iterator[bytes], build: LayerBuild) -> StoredLayer:
    """The importer's way, so that the layer in the store is what everybody else would make of the tar."""
    hashed = hashlib.sha256()
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            hashed.update(chunk)
            size += len(chunk)
            yield chunk

    with build.skeleton() as file, Recorder(file) as skeleton:
        result = unpack(counted(), build.root_fd, skeleton.add)
    return StoredLayer("sha256:" + hashed.hexdigest(), size, result.entries, result.opaque)


def _config(document: dict[str, Any], layer: StoredLayer, history: History, config: Mapping[str, object]) -> bytes:
    """The base's config with everything in it that we do not know, and what is new."""
    line = history.line()
    if layer.entries:
        document["rootfs"]["diff_ids"] = [*document["rootfs"]["diff_ids"], layer.diff_id]
    else:
        line["empty_layer"] = True
    document["history"] = [*(document.get("history") or []), line]
    document["created"] = line["created"]
    merged = {**(document.get("config") or {}), **config}
    document["config"] = {key: value for key, value in merged.items() if value is not None}
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    if len(data) > limits.DOCUMENT:
        raise BrokenImage(f"the config of the new image would have more than {limits.DOCUMENT} bytes")
    return data


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


@contextlib.contextmanager
def _explained(store: Store) -> Iterator[None]:
    try:
        yield
    except (BadTar, BadPath) as error:  # what cannot be in any layer: a path that is too long
        raise StoreError(f"the changes cannot become a layer: {error}") from error
    except OSError as error:
        where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"no room for the new layer in {store.root}") from error
        raise StoreError(f"the changes cannot be read: {error.strerror}{where}") from error
