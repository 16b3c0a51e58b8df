"""What layers must look like once they are merged: computed from the tars by Python's tarfile, applied to a dictionary.

An independent reading: it knows the specification (image-spec, layer.md) and nothing of overlayfs or of the unpacker.
Only for tars that tarfile can be trusted with.
"""

import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

_DUMP = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.images.model import dump
sys.stdout.write(dump(sys.argv[2]))
"""


@dataclass(frozen=True)
class Node:
    """All that a user can see of one file."""

    kind: int
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    rdev: int = 0
    content: str = ""  # a digest, or a link's target
    xattrs: tuple[tuple[str, bytes], ...] = ()
    links: tuple[bytes, ...] = ()  # the names that a file has, if more than one


Tree = dict[bytes, Node]


def merged(layers: Sequence[bytes]) -> Tree:
    """The tree that the plain tars ``layers``, bottom first, make together. The root is b""."""
    tree: Tree = {}
    inodes: dict[bytes, object] = {}
    for layer in layers:
        _apply(layer, tree, inodes)
    return _with_links(tree, inodes)


def seen(root: Path | bytes) -> Tree:
    """The tree that is there below ``root``."""
    top = os.fsencode(root)
    tree: Tree = {}
    inodes: dict[bytes, object] = {}
    pending = [b""]
    while pending:
        path = pending.pop()
        full = os.path.join(top, path) if path else top
        found = os.lstat(full)
        tree[path] = _node(full, found)
        inodes[path] = (found.st_dev, found.st_ino)
        if stat.S_ISDIR(found.st_mode):
            pending += [path + b"/" + name if path else name for name in os.listdir(full)]
    return _with_links(tree, inodes)


def kernel_view(layers: Sequence[Path]) -> Tree:
    """What the kernel's overlayfs shows over the layers, the top one first, in a mount namespace of its own."""
    lowers = ":".join(map(str, layers)) if len(layers) > 1 else f"{layers[0]}:{layers[0].parent / 'empty'}"
    (layers[0].parent / "empty").mkdir(exist_ok=True)
    target = layers[0].parent / "merged"
    target.mkdir(exist_ok=True)
    python = [sys.executable, "-c", _DUMP, str(Path(__file__).parents[2]), str(target)]
    script = 'mount -t overlay overlay -o "ro,lowerdir=$1" "$2" && shift 2 && exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", lowers, str(target), *python]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    (layers[0].parent / "empty").rmdir()
    target.rmdir()
    found = eval(done.stdout, {"Node": Node})
    assert isinstance(found, dict)
    return found


def dump(root: str) -> str:
    """:func:`seen` as Python text."""
    return repr(seen(Path(root)))


def _node(full: bytes, found: os.stat_result) -> Node:
    content = ""
    if stat.S_ISREG(found.st_mode):
        with open(full, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISLNK(found.st_mode):
        content = repr(os.readlink(full))
    return Node(
        kind=stat.S_IFMT(found.st_mode),
        mode=stat.S_IMODE(found.st_mode),
        owner=(found.st_uid, found.st_gid),
        mtime_ns=found.st_mtime_ns,
        rdev=found.st_rdev,
        content=content,
        xattrs=tuple(sorted((name, os.getxattr(full, name, follow_symlinks=False)) for name in _xattr_names(full))),
    )


def _xattr_names(full: bytes) -> list[str]:
    return os.listxattr(full, follow_symlinks=False)


def _apply(layer: bytes, tree: Tree, inodes: dict[bytes, object]) -> None:
    with tarfile.open(fileobj=io.BytesIO(layer), errors="surrogateescape") as archive:
        members = list(archive)
        marks = [_path(member) for member in members if b"/.wh." in b"/" + _path(member)]
        for mark in marks:  # first, as they are about the layers below, wherever they stand
            directory, _, name = mark.rpartition(b"/")
            if name == b".wh..wh..opq":
                _remove(tree, directory, children_only=True)
            else:
                _remove(tree, (directory + b"/" if directory else b"") + name[4:])
        mine: set[bytes] = set()
        for member in members:
            path = _path(member)
            for parent in _parents(path):
                if parent not in mine:
                    _make_up(tree, parent, member)
                    mine.add(parent)
            if path in marks:
                continue
            _add(tree, inodes, path, member, archive)
            mine.add(path)


def _make_up(tree: Tree, path: bytes, member: tarfile.TarInfo) -> None:
    """A parent without an entry: 0755, root, with the time of the entry that needs it."""
    if path in tree and tree[path].kind != stat.S_IFDIR:
        _remove(tree, path)
    tree[path] = Node(stat.S_IFDIR, 0o755, (0, 0), _time_ns(member))


def _add(
    tree: Tree, inodes: dict[bytes, object], path: bytes, member: tarfile.TarInfo, archive: tarfile.TarFile
) -> None:
    if member.islnk():
        target = os.path.normpath(b"/" + os.fsencode(member.linkname)).lstrip(b"/")
        found, inode = tree[target], inodes[target]
        _remove(tree, path)
        tree[path], inodes[path] = found, inode
        return
    if path in tree and not (member.isdir() and tree[path].kind == stat.S_IFDIR):
        _remove(tree, path)
    content = ""
    if member.isreg():
        data = archive.extractfile(member)
        assert data is not None
        content = hashlib.file_digest(data, "sha256").hexdigest()  # type: ignore[arg-type]
    elif member.issym():
        content = repr(os.fsencode(member.linkname))
    device = member.ischr() or member.isblk()
    prefix = "SCHILY.xattr."
    tree[path] = Node(
        kind=_kind(member),
        mode=0o777 if member.issym() else member.mode & 0o7777,
        owner=(member.uid, member.gid),
        mtime_ns=_time_ns(member),
        rdev=os.makedev(member.devmajor, member.devminor) if device else 0,
        content=content,
        xattrs=tuple(
            sorted(
                (key[len(prefix) :], value.encode("utf-8", "surrogateescape"))
                for key, value in member.pax_headers.items()
                if key.startswith(prefix)
            )
        ),
    )
    inodes[path] = object()


def _remove(tree: Tree, path: bytes, *, children_only: bool = False) -> None:
    if path and (path not in tree or tree[path].kind != stat.S_IFDIR):
        if not children_only:
            tree.pop(path, None)
        return
    for other in list(tree):
        if (other.startswith(path + b"/") if path else other) or (other == path and not children_only):
            del tree[other]


def _path(member: tarfile.TarInfo) -> bytes:
    return os.path.normpath(b"/" + os.fsencode(member.name)).lstrip(b"/")


def _parents(path: bytes) -> Iterable[bytes]:
    if not path:
        return
    yield b""
    parts = path.split(b"/")
    for length in range(1, len(parts)):
        yield b"/".join(parts[:length])


def _kind(member: tarfile.TarInfo) -> int:
    table = (
        (member.isdir(), stat.S_IFDIR),
        (member.issym(), stat.S_IFLNK),
        (member.ischr(), stat.S_IFCHR),
        (member.isblk(), stat.S_IFBLK),
        (member.isfifo(), stat.S_IFIFO),
    )
    return next((kind for test, kind in table if test), stat.S_IFREG)


def _time_ns(member: tarfile.TarInfo) -> int:
    """tarfile's own time is a float; the pax header has the digits."""
    return int(Decimal(member.pax_headers.get("mtime", str(member.mtime))) * 10**9)


def _with_links(tree: Tree, inodes: dict[bytes, object]) -> Tree:
    names: dict[object, list[bytes]] = {}
    for path in sorted(tree):
        if tree[path].kind != stat.S_IFDIR:
            names.setdefault(inodes[path], []).append(path)
    together = {path: tuple(paths) for paths in names.values() if len(paths) > 1 for path in paths}
    return {path: replace(node, links=together.get(path, ())) for path, node in tree.items()}
