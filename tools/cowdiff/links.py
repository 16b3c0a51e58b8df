"""Renames and hard links: what no entry of an upper tells alone.

    several facts together                                                     so it is
    -------------------------------------------------------------------------  ------------------------------------
    a redirect, or an origin that is the handle of a file whose path is gone   renamed from there; not added, and the
                                                                               old path not removed
    the same, while the file still has its old path too                        an added hard link
    several new names of one renamed file                                      the first is renamed, the others link
    an ``nlink`` mark (written with the index) counts names not in the upper   changed under those names as well

(fs/overlayfs/copy_up.c, ovl_set_origin; namei.c, ovl_get_nlink.)
"""

from collections import defaultdict
from collections.abc import Iterable

from cowdiff.changes import order
from cowdiff.places import Handle
from cowdiff.trees import Tree
from cowdiff.walk import Found, Gone, Walk
from cowfs import ondisk
from cowfs.model import Kind
from cowfs.overlay import Node


def resolve(walk: Walk, before: Tree) -> None:
    """Complete ``found`` and shorten ``gone``."""
    files = [found for found in walk.found if found.entry.version.kind is not Kind.DIRECTORY]
    _follow_origins(files, walk, before)
    for names in _groups(files):
        _link(sorted(names, key=lambda found: order(found.path)), walk)
    sources = {found.moved_from for found in walk.found if found.moved_from is not None}
    walk.gone = [gone for gone in walk.gone if gone.path not in sources]
    for found in walk.found:
        if found.moved_from is not None and found.base_path in sources:
            found.base = None  # exchanged: it was not overwritten, it is elsewhere
        found.other_names = _other_names(found, before)


def _follow_origins(files: Iterable[Found], walk: Walk, before: Tree) -> None:
    """Find the sources of files that were copied up from another path than theirs."""
    strays = [
        found
        for found in files
        if found.moved_from is None and found.entry.origin is not None and not walk.is_origin(found.base, found)
    ]
    if not strays:
        return
    taken = [
        Gone(found.base_path, found.base)
        for found in files
        if found.base is not None and not walk.is_origin(found.base, found)
    ]
    lost = _by_handle([*walk.gone, *taken], before)
    for found in strays:
        assert found.entry.origin is not None
        source = lost.get(found.entry.origin)
        if source is not None:
            found.moved_from, found.origin = source.path, source.node


def _by_handle(gone: Iterable[Gone], before: Tree) -> dict[Handle, Gone]:
    """Files of the base, by what their copies carry as origin."""
    lost: dict[Handle, Gone] = {}
    for item in gone:
        handle = None if item.node.is_dir else before.handle(item.node)
        if handle is not None:
            lost.setdefault(handle, item)
    return lost


def _groups(files: Iterable[Found]) -> Iterable[list[Found]]:
    """Files with several names in the upper, each with all of them."""
    groups: dict[tuple[int, int], list[Found]] = defaultdict(list)
    for found in files:
        if found.entry.version.nlink > 1:
            groups[found.entry.identity].append(found)
    return groups.values()


def _link(names: list[Found], walk: Walk) -> None:
    """Leave at most one of a file's names as renamed from each source, and none where the source is among them."""
    kept = {found.base_path for found in names if found.moved_from is None and _is_itself(found.base, found, walk)}
    for found in names:
        if found.moved_from is None:
            continue
        if found.moved_from in kept:
            found.moved_from = None
        else:
            kept.add(found.moved_from)
    first = next((found for found in names if found.node is not None), names[0])
    for found in names:
        if found is not first and found.node is None:
            found.link_to = first.path


def _is_itself(base: Node | None, found: Found, walk: Walk) -> bool:
    return walk.is_origin(base, found) or (base is not None and found.data == base)


def _other_names(found: Found, before: Tree) -> int:
    """How many names of a hard-linked file of the base the upper does not have, by the mark of the index.

    "U+n" is relative to the upper file's link count, which counts its entry in the index; "L+n" to the lower's.
    """
    mark = found.entry.marks.get(ondisk.NLINK, b"")
    try:
        relative = int(mark[1:])
    except ValueError:
        return 0
    in_upper = found.entry.version.nlink - 1
    if mark[:1] == b"U":
        return max(0, relative + 1)
    lower = before.version(found.node).nlink if found.node is not None else 0
    return max(0, lower + relative - in_upper)
