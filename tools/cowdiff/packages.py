"""Which Debian package a path belongs to, by dpkg's lists in a tree that a run left or started from.

``/var/lib/dpkg/info/NAME.list`` has a path in each line. Where /bin, /lib and the like are links into /usr, a list may
still name files by the old paths. The tree may be hostile: only regular files are read, of each no more than a limit.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from cowfs.model import Kind
from cowfs.runs.trees import Tree

_INFO: Final = b"/var/lib/dpkg/info"
_LIMIT: Final = 16 << 20  # bytes of one list
_MERGED: Final = (b"/bin", b"/sbin", b"/lib", b"/lib32", b"/lib64", b"/libx32")


def owners(trees: Iterable[Tree], paths: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """The packages of those of ``paths`` that belong to one in any of ``trees``."""
    wanted = set(paths)
    found: dict[bytes, set[bytes]] = defaultdict(set)
    for tree in trees:
        names = {path: path for path in wanted}
        for old, new in _moved(tree):
            names |= {old + path.removeprefix(new): path for path in wanted if path.startswith(new + b"/")}
        for package, listed in _lists(tree):
            for name in names.keys() & listed:
                found[names[name]].add(package)
    return {path: sorted(packages) for path, packages in found.items()}


def _lists(tree: Tree) -> Iterator[tuple[bytes, frozenset[bytes]]]:
    directory = tree.walk(_INFO)
    if directory is None:
        return
    for name in tree.names(directory):
        node = tree.lookup(directory, name) if name.endswith(b".list") else None
        if node is None or tree.version(node).kind is not Kind.FILE:
            continue
        with tree.opened(node) as content:
            yield name.removesuffix(b".list"), frozenset(content.read(0, _LIMIT).split(b"\n"))


def _moved(tree: Tree) -> Iterator[tuple[bytes, bytes]]:
    for old in _MERGED:
        node = tree.walk(old)
        if node is not None and (version := tree.version(node)).kind is Kind.SYMLINK:
            yield old, b"/" + version.target.strip(b"/")
