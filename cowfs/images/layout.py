"""OCI image layouts (image-spec, image-layout.md), as a directory or in a tar. Makes a Plan; unpacks nothing.

The blobs that a layout lacks are never fetched from anywhere, whatever ``urls`` say.
"""

from cowfs.errors import NotFound
from cowfs.images.files import File, Files, read_document
from cowfs.images.manifest import OCI_INDEX, Descriptor, Manifest, parse_document
from cowfs.images.plan import Plan, plan_image, verified

_REF_NAME = "org.opencontainers.image.ref.name"


def plan_layout(files: Files, tag: str) -> Plan:
    """The image called ``tag`` in the layout, or the only one if ``tag`` is empty."""
    index = parse_document(read_document(files, "index.json", "index.json"), OCI_INDEX, "index.json")
    assert not isinstance(index, Manifest)
    return plan_image(_Layout(files), _tagged(index, tag))


class _Layout:
    def __init__(self, files: Files) -> None:
        self._files = files

    def document(self, descriptor: Descriptor, what: str) -> bytes:
        return verified(read_document(self._files, _blob_name(descriptor), what), descriptor)

    def open(self, descriptor: Descriptor) -> File:
        return self._files.open(_blob_name(descriptor))


def _tagged(index: list[Descriptor], tag: str) -> Descriptor:
    tags = {entry.annotations.get(_REF_NAME, ""): entry for entry in index}
    if tag in tags and tag:
        return tags[tag]
    if not tag and len(index) == 1:
        return index[0]
    names = ", ".join(sorted(name for name in tags if name)) or "none"
    raise NotFound(f"no image {tag!r} in the layout; its tags: {names}" if tag else f"name one of the tags: {names}")


def _blob_name(descriptor: Descriptor) -> str:
    return "blobs/" + descriptor.digest.replace(":", "/")
