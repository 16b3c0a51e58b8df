"""Layers as data, and their making: each test says what lies in its lowers, the same for every implementation.

A layer is a list of entries in overlayfs's format (whiteouts, opaque marks); ``build`` makes it as such, ``flatten``
lays it over what is there, as a plain directory would look after the same changes.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

BASE_TIME_NS = 1_500_000_000_123_456_789


@dataclass(frozen=True)
class Entry:
    """One name of a layer: ``kind`` is an S_IF constant, 0 for a whiteout; ``link`` is another name of the layer."""

    path: bytes
    kind: int
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    link: bytes | None = None
    opaque: bool = False
    mtime_ns: int = BASE_TIME_NS
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)


Layer = Iterable[Entry]


def file(path: bytes, content: bytes = b"", mode: int = 0o644, **more: object) -> Entry:
    """A regular file."""
    return Entry(path, stat.S_IFREG, content, mode, **more)  # type: ignore[arg-type]


def directory(path: bytes, mode: int = 0o755, **more: object) -> Entry:
    """A directory; parents that no entry names are made as well."""
    return Entry(path, stat.S_IFDIR, b"", mode, **more)  # type: ignore[arg-type]


def symlink(path: bytes, target: bytes, **more: object) -> Entry:
    """A symbolic link."""
    return Entry(path, stat.S_IFLNK, target, 0o777, **more)  # type: ignore[arg-type]


def special(path: bytes, kind: int, rdev: int = 0, mode: int = 0o644, **more: object) -> Entry:
    """A device, fifo or socket."""
    return Entry(path, kind, b"", mode, rdev=rdev, **more)  # type: ignore[arg-type]


def hard_link(path: bytes, other: bytes) -> Entry:
    """One more name of an entry that came before."""
    return Entry(path, stat.S_IFREG, link=other)


def whiteout(path: bytes) -> Entry:
    """A mark that deletes the name in the layers below."""
    return Entry(path, 0)


def build(root: bytes, layer: Layer) -> None:
    """Make the layer in an empty directory."""
    made = [_place(root, entry, marks=True) for entry in layer]
    _set_times(made)


def flatten(root: bytes, layer: Layer) -> None:
    """Lay the layer over a plain directory."""
    made = [_place(root, entry, marks=False) for entry in layer]
    _set_times([pair for pair in made if os.path.lexists(pair[0])])


def _place(root: bytes, entry: Entry, *, marks: bool) -> tuple[bytes, Entry]:
    path = root + b"/" + entry.path if entry.path else root
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    if not marks:
        _make_room(path, entry)
        if not entry.kind:
            return path, entry
    if not entry.kind:
        os.mknod(path, stat.S_IFCHR, 0)
        return path, entry
    if entry.link is not None:
        os.link(root + b"/" + entry.link, path, follow_symlinks=False)
        return path, entry
    _make(path, entry)
    os.lchown(path, entry.uid, entry.gid)
    if entry.kind != stat.S_IFLNK:
        os.chmod(path, entry.mode)
    for name, value in entry.xattrs.items():
        os.setxattr(path, name, value, follow_symlinks=False)
    if entry.opaque and marks:
        os.setxattr(path, b"trusted.overlay.opaque", b"y")
    return path, entry


def _make_room(path: bytes, entry: Entry) -> None:
    if not os.path.lexists(path) or not entry.path:
        return
    both = entry.kind == stat.S_IFDIR and os.path.isdir(path) and not os.path.islink(path)
    if both and not entry.opaque:
        for name in os.listxattr(path):
            os.removexattr(path, name)
        return
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _make(path: bytes, entry: Entry) -> None:
    if entry.kind == stat.S_IFDIR:
        os.makedirs(path, exist_ok=True)
    elif entry.kind == stat.S_IFLNK:
        os.symlink(entry.content, path)
    elif entry.kind == stat.S_IFREG:
        with open(path, "xb") as target:
            target.write(entry.content)
    else:
        os.mknod(path, entry.kind | entry.mode, entry.rdev)


def _set_times(made: list[tuple[bytes, Entry]]) -> None:
    for path, entry in sorted(made, key=lambda pair: -pair[0].count(b"/")):
        if entry.kind and entry.link is None:
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
