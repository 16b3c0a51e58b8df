"""``podman:NAME``: an image of podman's, buildah's or CRI-O's overlay store, where it lies (containers/storage).

    overlay-images/images.json          id, names, layer: the top one
    overlay-images/<id>/manifest        names the config ...
    overlay-images/<id>/=<base64>       ... which is a file called by its digest
    overlay-layers/layers.json          id, parent, diff-digest, diff-size
    overlay/<id>/diff                   the tree

Additional stores are looked in after the first one; layers of an image there may lie in any of them.
"""

import base64
import hashlib
import os
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from cowfs import userns
from cowfs.errors import BrokenImage, NotFound, StoreError, UsageError
from cowfs.images import foreign, limits
from cowfs.images.config import parse_config
from cowfs.images.jsondoc import Fields, parse, parse_list
from cowfs.model import Base

ROOT = Path("/var/lib/containers/storage")
_CONFIGS = (Path("/etc/containers/storage.conf"), Path("/usr/share/containers/storage.conf"))
_ID = re.compile(r"[0-9a-f]{64}")


class _Layer(NamedTuple):
    parent: str
    directory: Path
    diff_id: str
    size: int


def resolve(text: str, rest: str, *, any_form: bool = False) -> Base:
    """The base that ``podman:REST``, typed as ``text``, names; ``any_form``: layers may have fuse-overlayfs's marks.

    Raises CowfsError.
    """
    given, name = foreign.split(rest)
    roots = [given] if given else configured()
    foreign.check_root(roots[0], "podman", any_form=any_form)
    for root in roots:
        program = root / "overlay" / ".has-mount-program"  # which may be fuse-overlayfs
        if not any_form and program.exists() and foreign.read(program, 1024).strip() == b"true":
            raise StoreError(f"the layers in {root} are in the form of fuse-overlayfs: use podman save")
    root, image = _find(roots, name)
    directory = root / "overlay-images" / checked_id(image, "id")
    manifest = parse(foreign.read(directory / "manifest", limits.DOCUMENT), f"manifest of {text}")
    digest = manifest.fields("config").digest("digest")
    data = foreign.read(directory / _big_data(digest), limits.DOCUMENT)
    if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
        raise BrokenImage(f"the config of {text} is damaged in {root}")
    config = parse_config(data)
    chain = _chain(_layers(roots), image, text)
    if tuple(layer.diff_id for layer in chain) != config.diff_ids:
        raise BrokenImage(f"the layers of {text} are not those that its config names")
    own = image.text("digest", "") or digest
    return foreign.base(text, config, own, [layer.directory for layer in chain], [layer.size for layer in chain])


def configured() -> list[Path]:
    """The store and the additional ones, as storage.conf(5) has it."""
    own = Path(userns.home(), ".config/containers/storage.conf")
    configs = (own,) if userns.entered() else _CONFIGS
    for path in configs:
        try:
            storage = tomllib.loads(path.read_text()).get("storage") or {}
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be used: {error}") from None
        return _roots(path, storage)
    return [_usual()]


def _usual() -> Path:
    return Path(userns.home(), ".local/share/containers/storage") if userns.entered() else ROOT


def _roots(path: Path, storage: dict[str, Any]) -> list[Path]:
    if storage.get("driver", "overlay") not in ("overlay", ""):
        raise StoreError(f"podman's layers are not in directories: the driver in {path} is {storage['driver']!r}")
    more = (storage.get("options") or {}).get("additionalimagestores") or []
    return [Path(storage.get("graphroot") or _usual()), *(Path(store) for store in more if isinstance(store, str))]


def _find(roots: list[Path], name: str) -> tuple[Path, Fields]:
    known: list[str] = []
    by_id: dict[str, tuple[Path, Fields]] = {}
    images = [(root, image) for root in roots for image in documents(root, "overlay-images/images.json")]
    for spelling in foreign.spellings(name):
        for root, image in images:
            if spelling in image.texts("names"):
                return root, image
    for root, image in images:
        known += image.texts("names")
        if re.fullmatch(r"[0-9a-f]{4,64}", name) and checked_id(image, "id").startswith(name):
            by_id.setdefault(checked_id(image, "id"), (root, image))
    if len(by_id) == 1:
        return by_id.popitem()[1]
    listed = ", ".join(known[:10]) or "none"
    raise NotFound(f"podman has no image {name!r} in {', '.join(map(str, roots))}; its images: {listed}")


def _layers(roots: list[Path]) -> dict[str, _Layer]:
    """By id, those of the first root before those of the others."""
    found: dict[str, _Layer] = {}
    for root in roots:
        for layer in documents(root, "overlay-layers/layers.json"):
            if layer.fields("flags").flag("incomplete"):
                continue
            name = checked_id(layer, "id")
            size = layer.integer("diff-size") if "diff-size" in layer else 0
            facts = _Layer(
                layer.text("parent", ""), root / "overlay" / name / "diff", layer.text("diff-digest", ""), size
            )
            found.setdefault(name, facts)
    return found


def _chain(layers: dict[str, _Layer], image: Fields, text: str) -> list[_Layer]:
    """The layers of an image from the bottom."""
    chain: list[_Layer] = []
    name = image.text("layer", "")
    while name:
        if name not in layers or len(chain) > limits.LAYERS:
            raise BrokenImage(f"layer {name[:64]!r} of {text} is missing, or incomplete")
        chain.append(layers[name])
        name = layers[name].parent
    return chain[::-1]


def documents(root: Path, name: str) -> list[Fields]:
    """What a list of a store says; nothing where it is not there. Raises StoreError, BrokenImage."""
    path = root / name
    return parse_list(foreign.read(path, foreign.LIMIT), str(path)) if os.path.lexists(path) else []


def checked_id(fields: Fields, key: str) -> str:
    """An id of a store: it becomes part of a path. Raises BrokenImage."""
    value = fields.text(key)
    if not _ID.fullmatch(value):
        raise BrokenImage(f"{key!r} of the {fields.what} is {value[:100]!r}")
    return value


def _big_data(key: str) -> str:
    """The name of the file that holds ``key`` (storage's makeBigDataBaseName)."""
    return "=" + base64.b64encode(key.encode()).decode()
