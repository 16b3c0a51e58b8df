"""Writing a run out: the tree it left as a tar, its changes as a layer or as an overlay's upper. Used by ``export``.

Files appear by one rename when they are whole; nothing that exists is overwritten.
"""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

from cowfs.errors import StoreError, UsageError
from cowfs.images.commit import layer_tar
from cowfs.images.tarstream import Entry, Type
from cowfs.images.tarwriter import END, headers, padding
from cowfs.model import Kind, Run
from cowfs.ondisk import PARTS
from cowfs.overlay import Node
from cowfs.runs.changes import Version
from cowfs.runs.trees import Tree, left_by
from cowfs.store.trees import remove_tree

_TYPES: Final = {
    Kind.FILE: Type.FILE,
    Kind.DIRECTORY: Type.DIRECTORY,
    Kind.SYMLINK: Type.SYMLINK,
    Kind.CHAR: Type.CHAR,
    Kind.BLOCK: Type.BLOCK,
    Kind.FIFO: Type.FIFO,
}


def tree(run: Run, path: str) -> None:
    """All that the run left, volumes and injected files aside."""
    with _written(path) as out, left_by(run) as left:
        out.writelines(_tar(left, frozenset(os.fsencode(volume).strip(b"/") for volume in run.volumes)))


def layer(run: Run, path: str) -> None:
    """The changes as a layer's tar."""
    left_out = frozenset(os.fsencode(volume).strip(b"/") for volume in run.volumes)
    with _written(path) as out:
        out.writelines(layer_tar(run, left_out))


def overlay(run: Run, path: str) -> None:
    """The upper itself, with its marks."""
    target = Path(path)
    if os.path.lexists(target):
        raise UsageError(f"{target} exists: nothing is overwritten")
    if os.path.lexists(os.path.join(os.fsencode(run.work), PARTS)):
        raise StoreError(f"{run.title} has files in parts, which no other program knows: export a tar")
    with _aside(target) as new:
        # The one program that copies devices, holes, hard links and every attribute, at any depth.
        done = subprocess.run(["cp", "-a", "--", f"{run.upper}/.", f"{new}"], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise StoreError(f"{target} cannot be written: {done.stderr.strip().splitlines()[-1]}")


TARGETS: Final[dict[str, Callable[[Run, str], None]]] = {"tar": tree, "layer": layer, "overlay": overlay}


def _tar(left: Tree, left_out: frozenset[bytes]) -> Iterator[bytes]:
    links: dict[int, bytes] = {}
    waiting: list[tuple[bytes, Node]] = [(b"", left.root)]
    while waiting:
        path, node = waiting.pop()
        version = left.version(node)
        if version.kind is Kind.SOCKET or path in left_out:
            continue  # tar has none; a volume is not the run's
        first = links.setdefault(node.number, path) if version.nlink > 1 and not node.is_dir else path
        if first != path:
            yield headers(Entry(Type.HARD_LINK, path, first, *_owner(version), 0))
            continue
        yield headers(_entry(path, version))
        if version.kind is Kind.FILE and version.size:
            with left.opened(node) as content:
                yield from content.chunks()
            yield padding(version.size)
        children = ((name, left.lookup(node, name)) for name in sorted(left.names(node), reverse=True))
        prefix = path + b"/" if path else b""
        waiting += [(prefix + name, child) for name, child in children if child is not None]
    yield END


def _entry(path: bytes, version: Version) -> Entry:
    kind = _TYPES[version.kind]
    name = (path or b".") + (b"/" if kind is Type.DIRECTORY else b"")
    entry = Entry(kind, name, version.target, *_owner(version), version.size if kind is Type.FILE else 0)
    entry.xattrs = dict(version.xattrs)
    if kind in (Type.CHAR, Type.BLOCK):
        entry.major, entry.minor = os.major(version.rdev), os.minor(version.rdev)
    return entry


def _owner(version: Version) -> tuple[int, int, int, int, int]:
    return version.mode, version.uid, version.gid, version.mtime_ns, version.mtime_ns


@contextlib.contextmanager
def _written(path: str) -> Iterator[IO[bytes]]:
    if path == "-":
        if sys.stdout.isatty():
            raise UsageError("a tar is nothing for a terminal: send it to a file or a pipe")
        yield sys.stdout.buffer
        return
    if os.path.lexists(path):
        raise UsageError(f"{path} exists: nothing is overwritten")
    with _aside(Path(path)) as new, new.open("xb") as out:
        yield out


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    new = path.parent / f".{path.name[:100]}.{secrets.token_hex(4)}"
    try:
        yield new
        new.rename(path)
    except BaseException:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(FileNotFoundError):
            remove_tree(parent, os.fsencode(new.name))
        os.close(parent)
        raise
