"""``podman:NAME`` as a container: of podman, of buildah (also while it builds), or of CRI-O (containers/storage).

overlay-containers/containers.json, volatile-containers.json    id, names, image, layer, created, metadata
overlay-containers/<id>/userdata/config.json                    what the runtime was told, once it was started
overlay-containers/<id>/userdata/buildah.json                   there of a working container of buildah
overlay/<layer>                                                 ``cowfs.engines.layers``
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from cowfs import ondisk
from cowfs.engines import layers
from cowfs.engines.layers import text, texts
from cowfs.errors import BrokenImage, NotFound, StoreError
from cowfs.images import foreign, podman
from cowfs.images.jsondoc import Fields
from cowfs.model import Container, Mounted, RunState

_LISTS: Final = ("containers.json", "volatile-containers.json")
_BUILDAH: Final = "buildah.json"
# What buildah mounts or makes for the time of a RUN, of which it leaves no record
_BUILDING: Final = (
    "/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv", "/run/secrets",
)  # fmt: skip


def find(rest: str, root: Path | None) -> Container:
    """The container that ``podman:REST`` names. Raises CowfsError."""
    given, name = foreign.split(rest)
    roots = [given] if given else roots_of(root)
    records = [(one, record) for one in roots for record in _records(one)]
    named = [(record.text("id"), record.texts("names"), number) for number, (_, record) in enumerate(records)]
    if not records:
        _check(roots[0])
    where = ", ".join(map(str, roots))
    store, record = records[layers.choose("podman", name, named, where)]
    return _container(store, record, roots, default=given is None)


def containers(root: Path | None) -> Iterator[Container]:
    """All of them. Raises CowfsError."""
    roots = roots_of(root)
    for store in roots:
        for record in _records(store):
            try:
                yield _container(store, record, roots, default=True)
            except (BrokenImage, StoreError):  # the others can be shown
                continue


def roots_of(root: Path | None) -> list[Path]:
    """The stores that are looked in, the first one before the others."""
    return [root] if root else podman.configured()


def _check(root: Path) -> None:
    try:
        root.stat()
    except OSError as error:
        raise NotFound(f"podman has no store in {root}: {error.strerror}") from None


def _records(root: Path) -> list[Fields]:
    return [record for name in _LISTS for record in podman.documents(root, f"overlay-containers/{name}")]


def _container(store: Path, record: Fields, roots: list[Path], *, default: bool) -> Container:
    full, layer = podman.checked_id(record, "id"), podman.checked_id(record, "layer")
    directory = store / "overlay" / layer
    name = next(iter(record.texts("names")), full[:12])
    userdata = _userdata(store, record)
    config = layers.read_json(userdata / "config.json")
    process, root = _object(config, "process"), _object(config, "root")
    mounts = layers.mounts_of(config, _own_places(config, store, full))
    if (userdata / _BUILDAH).exists():
        mounts = tuple(Mounted(target, "injected") for target in _BUILDING)
    typed = f"podman:{name}" if default else f"podman:[{store}]{name}"
    journal = directory / "work" / ondisk.PRIVATE / ondisk.RUN_JOURNAL
    going = directory / "merged" in layers.mounted() or layers.is_served(journal)
    return Container(
        id=full[:12],
        directory=directory,
        source=_image(store, record),
        lowers=layers.lowers([one / "overlay" for one in roots], directory),
        command=texts(process.get("args")),
        name=name,
        volumes=tuple(mount.target for mount in mounts),
        mounts=mounts,
        read_only=root.get("readonly") is True,
        started=layers.seconds(record.text("created", "")),
        state=RunState.RUNNING if going else RunState.STOPPED,
        engine="podman",
        typed=typed,
    )


def _userdata(store: Path, record: Fields) -> Path:
    return store / "overlay-containers" / podman.checked_id(record, "id") / "userdata"


def _own_places(config: dict[str, Any], store: Path, full: str) -> list[Path]:
    """Where podman keeps the files that it makes for a container: there is one such directory in each of its roots."""
    own = f"overlay-containers/{full}/userdata"
    sources = [text(mount.get("source")) for mount in config.get("mounts") or () if isinstance(mount, dict)]
    elsewhere = {source.partition(own)[0] for source in sources if own in source}
    return [store / own, *(Path(place, own) for place in sorted(elsewhere))]


def _image(store: Path, record: Fields) -> str:
    """By the name that it was started by, else by its first name, else by its id."""
    told = text(layers.parsed(record.text("metadata", "")).get("image-name"))
    if told:
        return told
    image_id = record.text("image", "")
    for image in podman.documents(store, "overlay-images/images.json"):
        if image.text("id") == image_id:
            return next(iter(image.texts("names")), image_id[:12])
    return image_id[:12] or "scratch"


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}
