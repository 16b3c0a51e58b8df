"""``docker:NAME``: an image of docker's own store, where it lies (docker's layer/filestore.go, image/fs.go).

    image/DRIVER/repositories.json               name -> image id; DRIVER is overlay2 or fuse-overlayfs
    image/DRIVER/imagedb/content/sha256/<id>     config
    image/DRIVER/layerdb/sha256/<chainID>/cache-id, size
    DRIVER/<cache-id>/diff                       the tree

The chainID of the lowest layer is its diffID, that of another one the digest of "<chainID below> <diffID>".
"""

import hashlib
import json
import re
from pathlib import Path

from cowfs.errors import BrokenImage, NotFound
from cowfs.images import foreign, limits
from cowfs.images.config import parse_config
from cowfs.images.jsondoc import check_digest, parse
from cowfs.model import Base

ROOT = Path("/var/lib/docker")
DRIVERS = ("overlay2", "fuse-overlayfs")
_DAEMON = Path("/etc/docker/daemon.json")
_CACHE_ID = re.compile(r"[0-9a-z]{25,64}")
_ID = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")


def resolve(text: str, rest: str) -> Base:
    """The base that ``docker:REST``, typed as ``text``, names. Raises CowfsError."""
    given, name = foreign.split(rest)
    root = given or configured()
    foreign.check_root(root, "docker")
    driver = next((name for name in DRIVERS if (root / "image" / name).is_dir()), None)
    if driver is None:
        raise NotFound(f"docker keeps its images in another form than overlay2 in {root}: use docker save")
    images = root / "image" / driver
    digest = _find(images, name, root)
    data = foreign.read(images / "imagedb/content/sha256" / digest.removeprefix("sha256:"), limits.DOCUMENT)
    if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
        raise BrokenImage(f"the config of {text} is damaged in {root}")
    config = parse_config(data)
    directories, sizes = [], []
    for chain_id in _chain_ids(config.diff_ids):
        layer = images / "layerdb/sha256" / chain_id.removeprefix("sha256:")
        directories.append(root / driver / word(layer / "cache-id", _CACHE_ID) / "diff")
        sizes.append(int(word(layer / "size", re.compile(r"[0-9]{1,15}"))))
    return foreign.base(text, config, digest, directories, sizes)


def configured() -> Path:
    """Docker's data root, as its daemon's configuration has it."""
    try:
        found = json.loads(_DAEMON.read_bytes()).get("data-root")
    except (OSError, ValueError, AttributeError):
        return ROOT
    return Path(found) if isinstance(found, str) and found.startswith("/") else ROOT


def _find(images: Path, name: str, root: Path) -> str:
    """The id of the image."""
    what = f"{images}/repositories.json"
    repositories = parse(foreign.read(Path(what), foreign.LIMIT), what).fields("Repositories")
    names: dict[str, str] = {}
    for repository in repositories.names():
        entries = repositories.fields(repository)
        names |= {entry: entries.digest(entry) for entry in entries.names()}
    for spelling in foreign.spellings(name):
        if spelling in names:
            return names[spelling]
    match = _ID.fullmatch(name)
    found = {digest for digest in names.values() if match and digest.startswith(f"sha256:{match[1]}")}
    if len(found) == 1:
        return found.pop()
    known = ", ".join(sorted(entry for entry in names if "@" not in entry)[:10]) or "none"
    raise NotFound(
        f"docker has no image {name!r} in {root}; its images: {known} (Docker Hub's image docker: library/docker:TAG)"
    )


def _chain_ids(diff_ids: tuple[str, ...]) -> list[str]:
    chain: list[str] = []
    for diff_id in diff_ids:
        check_digest(diff_id, "config")
        both = f"{chain[-1]} {diff_id}".encode() if chain else b""
        chain.append("sha256:" + hashlib.sha256(both).hexdigest() if chain else diff_id)
    return chain


def word(path: Path, form: re.Pattern[str]) -> str:
    """The content of a small file. Raises StoreError, BrokenImage."""
    text = foreign.read(path, 1024).decode("ascii", "replace").strip()
    if not form.fullmatch(text):
        raise BrokenImage(f"{path} holds {text[:100]!r}")
    return text
