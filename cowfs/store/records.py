"""image records and layer.json as values: JSON in, JSON out, every field checked. No I/O.

A record that does not parse raises :class:`Damaged`; what to do about it is the store's business.
"""

import json
import re
from typing import Any, NamedTuple

IMAGE_FORMAT = 1  # of the records; a reader refuses what it does not know
LAYER_FORMAT = 2
LIMIT = 1 << 20  # bytes of a record

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Damaged(ValueError):
    """A record of the store that is not what was written."""


def digest_hex(digest: str) -> str:
    """The 64 hex digits of ``sha256:...``. Raises Damaged: nothing else may become a file name."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise Damaged(f"not a sha256 digest: {digest!r}")
    return match[1]


class StoredImage(NamedTuple):
    """One image of the store: ``images/<sha256 of the reference>``."""

    reference: str
    digest: str  # the manifest's
    config: str  # the config's digest
    diff_ids: tuple[str, ...]  # bottom first
    platform: str  # "linux/amd64"
    stored: float  # seconds since the epoch

    @property
    def familiar(self) -> str:
        """The reference as people write it: without Docker Hub's name."""
        return self.reference.removeprefix("docker.io/library/").removeprefix("docker.io/")

    @property
    def file_name(self) -> str:
        """Where the record lies in ``images``: references hold slashes and may be longer than a name."""
        return image_file_name(self.reference)


class StoredLayer(NamedTuple):
    """One layer of the store: ``layers/sha256/<hex of the diffID>/layer.json``."""

    diff_id: str
    size: int  # bytes of the uncompressed tar
    entries: int  # of the tar
    opaque: bool  # its root is opaque: nothing of the layers below shows
    tree: str = ""  # digest of the tree without the bytes of its files (cowfs.store.treedigest); made at the commit
    disk: int = 0  # bytes that the tree takes on the disk; likewise


def image_file_name(reference: str) -> str:
    """The name of the record of ``reference``."""
    import hashlib  # brings OpenSSL, which a run in a directory has no use for

    return hashlib.sha256(reference.encode("utf-8", "surrogateescape")).hexdigest()


def encode(record: StoredImage | StoredLayer) -> bytes:
    """One line of JSON."""
    number = IMAGE_FORMAT if isinstance(record, StoredImage) else LAYER_FORMAT
    return json.dumps({"format": number, **record._asdict()}, sort_keys=True).encode() + b"\n"


def decode_image(data: bytes) -> StoredImage:
    """Raises Damaged."""
    found = _parse(data, IMAGE_FORMAT)
    image = StoredImage(
        reference=_typed(found, "reference", str),
        digest=_typed(found, "digest", str),
        config=_typed(found, "config", str),
        diff_ids=tuple(_typed(found, "diff_ids", list)),
        platform=_typed(found, "platform", str),
        stored=float(_typed(found, "stored", (int, float))),
    )
    for digest in (image.digest, image.config, *image.diff_ids):
        digest_hex(digest)
    return image


def decode_layer(data: bytes) -> StoredLayer:
    """Raises Damaged."""
    found = _parse(data, LAYER_FORMAT)
    layer = StoredLayer(
        diff_id=_typed(found, "diff_id", str),
        size=_typed(found, "size", int),
        entries=_typed(found, "entries", int),
        opaque=_typed(found, "opaque", bool),
        tree=_typed(found, "tree", str),
        disk=_typed(found, "disk", int),
    )
    for digest in (layer.diff_id, layer.tree):
        digest_hex(digest)
    return layer


def _parse(data: bytes, number: int) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged("not JSON") from error
    if not isinstance(found, dict) or found.get("format") != number:
        raise Damaged(f"not a record of format {number}")
    return found


def _typed(found: dict[str, Any], key: str, kind: type | tuple[type, ...]) -> Any:
    value = found.get(key)
    if not isinstance(value, kind):
        raise Damaged(f"no usable {key!r}")
    return value
