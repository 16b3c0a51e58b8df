"""What ``docker save`` writes: a tar with a manifest.json that names configs and layers. Makes a Plan; unpacks nothing.

Old archives hold ``<id>/layer.tar`` (some of them links to each other), new ones are OCI layouts as well and name
``blobs/sha256/<digest>``. There is no manifest with a digest: the config's digest is docker's image id, and its diffIDs
vouch for the layers.
"""

import hashlib
import re

from cowfs.errors import BrokenImage, NotFound
from cowfs.images.config import parse_config
from cowfs.images.files import Files, read_document
from cowfs.images.jsondoc import Fields, parse_list
from cowfs.images.plan import LayerSource, Plan
from cowfs.images.reference import familiar

_WHAT = "manifest.json of the archive"
_HEX = re.compile(r"[0-9a-f]{64}")


def plan_docker_archive(files: Files, name: str) -> Plan:
    """The image called ``name`` in the archive, or the only one if ``name`` is empty."""
    image = _named(parse_list(read_document(files, "manifest.json", _WHAT), _WHAT), name)
    config_name = image.text("Config")
    data = read_document(files, config_name, "config")
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    named = _HEX.search(config_name)
    if named and digest != "sha256:" + named[0]:
        raise BrokenImage(f"the config {config_name!r} is damaged: its digest is {digest}")
    config = parse_config(data)
    layers = image.texts("Layers")
    if len(layers) != len(config.diff_ids):
        raise BrokenImage(f"{len(layers)} layers in the archive, {len(config.diff_ids)} in the config")
    return Plan(
        digest=digest,
        config_digest=digest,
        documents=(data,),
        config=config,
        layers=tuple(
            LayerSource(diff_id, lambda layer=layer: files.open(layer))  # type: ignore[misc]
            for layer, diff_id in zip(layers, config.diff_ids, strict=True)
        ),
    )


def _named(images: list[Fields], name: str) -> Fields:
    tags = {tag: image for image in images for tag in image.texts("RepoTags")}
    if not name and len(images) == 1:
        return images[0]
    for tag, image in tags.items():
        if name and familiar(tag) == familiar(name):
            return image
    names = ", ".join(sorted(tags)) or "none"
    raise NotFound(f"no image {name!r} in the archive; its names: {names}" if name else f"name one of: {names}")
