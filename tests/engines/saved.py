"""What an engine saved (``docker-archive``), entry for entry: by tarfile and the tests' model of layers."""

import io
import json
import stat
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.images.model import Node, Tree, merged

# What an engine puts where a container has mounts of its own, and what has a time or an inode number in its content
_NOT_COMPARED = frozenset({b"etc/hosts", b"run/.containerenv", b".dockerenv", b"var/cache/ldconfig/aux-cache"})


@dataclass(frozen=True)
class Saved:
    """The layers above the base as sets of what they hold, and the tree that all layers make."""

    layers: list[set[str]]
    tree: Tree


def read(archive: Path) -> Saved:
    with tarfile.open(archive) as outer:

        def member(name: str) -> bytes:
            found = outer.getmember(name)
            if found.issym():  # docker's: a layer that an earlier image of the archive has
                found = outer.getmember(str(Path(name).parent / found.linkname))
            file = outer.extractfile(found)
            assert file is not None
            return file.read()

        layers = [member(name) for name in json.loads(member("manifest.json"))[0]["Layers"]]
    return Saved([_names(layer) for layer in layers[1:]], merged(layers))


def _names(layer: bytes) -> set[str]:
    """All but directories: those that were only on the way to something are in a layer or not."""
    with tarfile.open(fileobj=io.BytesIO(layer), errors="surrogateescape") as archive:
        names = {member.name.strip("/") for member in archive if not member.isdir()}
    return names - {name.decode() for name in _NOT_COMPARED}


def whiteouts(names: set[str]) -> set[str]:
    """Those that take something away: one directory can go in several ways."""
    return {name for name in names if name.rpartition("/")[2].startswith(".wh.")}


def differences(right: Tree, ours: Tree, *, since: float) -> dict[bytes, str]:
    """How ``ours`` is not ``right``; times are compared where ``right`` has one from before ``since``.

    Where a program mounts, whichever it is, podman compares two mounts: a directory's time alone is no change to it.
    """
    found = {}
    for path in sorted(right.keys() | ours.keys()):
        one, other = _timed(right, path, since), _timed(ours, path, since)
        if one and other and one.kind == stat.S_IFDIR and one.mtime_ns == 0:
            other = replace(other, mtime_ns=0)
        if one != other and path not in _NOT_COMPARED:
            found[path] = f"{_brief(one)} but {_brief(other)}"
    return found


def _timed(tree: Mapping[bytes, Node], path: bytes, since: float) -> Node | None:
    """A node without its time if that is from the build."""
    node = tree.get(path)
    if node is None or node.mtime_ns < since * 10**9:
        return node
    return replace(node, mtime_ns=0)


def _brief(node: Node | None) -> str:
    if node is None:
        return "nothing"
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}.get(node.kind, hex(node.kind))
    return (
        f"{kind} {node.mode:o} {node.owner} {node.mtime_ns} {node.content[:12]} {dict(node.xattrs)}"
        f" {b' '.join(node.links).decode(errors='replace')}"
    )
