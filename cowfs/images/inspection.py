"""What an image says about itself, as one JSON object. Used by ``cowfs inspect``."""

import json
from typing import Any

from cowfs.errors import StoreError
from cowfs.images.config import parse_config
from cowfs.images.outgoing import config_of
from cowfs.store import Store
from cowfs.store.records import StoredImage


def inspect(store: Store, image: StoredImage) -> dict[str, Any]:
    """Names, digests, config, and the history from the bottom: each line with the layer that it made, None for none.

    Where the history does not add up, there is a line without words for each layer. Raises StoreError.
    """
    data = config_of(store, image)
    parse_config(data)  # every type in it is right from here on
    document = json.loads(data)
    lines = document.get("history") or []
    if len([line for line in lines if not line.get("empty_layer")]) != len(image.diff_ids):
        lines = [{} for _ in image.diff_ids]
    history = _history(store, image, lines)
    sizes = {line["diff_id"]: (line["size"], line["disk"]) for line in history if line["layer"]}
    return {
        "image": image.familiar,
        "digest": image.digest,
        "config_digest": image.config,
        "platform": image.platform,
        "created": document.get("created") or "",
        "stored": image.stored,
        "size": sum(size for size, _ in sizes.values()),
        "disk": sum(disk for _, disk in sizes.values()),
        "config": document.get("config") or {},
        "history": history,
    }


def _history(store: Store, image: StoredImage, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    number = 0
    for line in lines:
        row = {key: line.get(key) or "" for key in ("created", "created_by", "comment")}
        row |= {"layer": None, "diff_id": None, "size": 0, "disk": 0}
        if not line.get("empty_layer"):
            diff_id = image.diff_ids[number]
            number += 1
            layer = store.layer(diff_id)
            if layer is None:
                raise StoreError(f"layer {diff_id} of {image.reference} is missing: import the image again")
            row |= {"layer": number, "diff_id": diff_id, "size": layer.size, "disk": layer.disk}
        found.append(row)
    return found
