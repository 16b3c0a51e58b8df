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
from collections.abc import Iterable, Iterator
from dataclasses import replace

from cowfs import ondisk
from cowfs.model import Kind
from cowfs.overlay import Node
from cowfs.runs.changes import order
from cowfs.runs.places import Handle
from cowfs.runs.trees import Tree
from cowfs.runs.walk import Found, Gone, Walk


def resolve(walk: Walk, before: Tree) -> None:
    """Complete ``found`` and shorten ``gone``."""
    files = [found for found in walk.found if found.entry.version.kind is not Kind.DIRECTORY]
    _follow_origins(files, walk, before)
    for names in _groups(files):
        _link(sorted(names, key=lambda found: order(found.path)), walk)
    sources = {found.moved_from for found in walk.found if found.moved_from is not None}
    walk.gone = [gone for gone in walk.gone if not _went_along(gone, sources)]
    _part_with_moved(walk.found, sources)
    walk.found.extend(_names_by_index(files, walk, before))
    _one_line_a_path(walk)


def _part_with_moved(found: Iterable[Found], sources: set[bytes]) -> None:
    """What stands where a directory was renamed away is new, with all that is in it, and overwrote nothing.

    A new file in the place of a renamed one stays its successor: that is how editors keep backups.
    """
    new: set[bytes] = set()  # directories, with a slash; ``found`` has each before what is in it
    for item in found:
        in_new = _directory(item.path) in new
        if item.moved_from is not None:
            if in_new or item.base_path in sources:
                item.base = None
        elif in_new or (item.base_path in sources and item.base is not None and item.base.is_dir):
            item.base = None
            new.add(item.path + b"/")


def _one_line_a_path(walk: Walk) -> None:
    """A path that the base has, and something new too, is not gone: it is compared after all."""
    gone = {item.path: item for item in walk.gone}
    for found in walk.found:
        lost = gone.pop(found.path, None)
        if lost is not None and found.base is not None:
            found.lost = lost.node
        elif lost is not None:
            found.base, found.base_path = lost.node, lost.path
            found.anew = lost.node.is_dir
    walk.gone = list(gone.values())


def _upwards(path: bytes) -> Iterator[bytes]:
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def _went_along(gone: Gone, sources: set[bytes]) -> bool:
    """True for what is gone from its path because it, or the directory it was in, was renamed."""
    if gone.path in sources or gone.hidden_by is None:
        return gone.path in sources
    return any(path in sources and len(path) > len(gone.hidden_by) for path in _upwards(gone.path))


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


def _names_by_index(files: Iterable[Found], walk: Walk, before: Tree) -> list[Found]:
    """Names in the base that share a file with a name in the upper, which is theirs by the index too.

    Looked for in the same directory only, where links mostly are; how many remain is left in ``other_names``.
    """
    sharing = [found for found in files if ondisk.NLINK in found.entry.marks]
    if not sharing:
        return []
    known = {found.before_path for found in files} | {gone.path for gone in walk.gone}
    added: list[Found] = []
    for names in _groups(sharing):
        missing = _other_names(names[0], before)
        for found in names:
            siblings = _siblings(found, known, walk, before) if missing else []
            known |= {sibling.base_path for sibling in siblings}
            missing = max(0, missing - len(siblings))
            added += siblings
        for found in names:
            found.other_names = missing
    return added


def _siblings(found: Found, known: set[bytes], walk: Walk, before: Tree) -> list[Found]:
    if not walk.is_origin(found.node, found):
        return []
    base_prefix = _directory(found.before_path)
    prefix = _directory(found.path) if found.moved_from is None else _now(base_prefix, walk)
    directory = before.walk(base_prefix)
    siblings = []
    for name in before.names(directory) if directory is not None else ():
        node = before.lookup(directory, name) if directory is not None else None
        path = base_prefix + name
        if path not in known and walk.is_origin(node, found):
            sibling = replace(found, path=prefix + name, base=node, base_path=path, moved_from=None, origin=None)
            sibling.link_to, sibling.by_index = found.path, True
            siblings.append(sibling)
    return siblings


def _directory(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] + b"/"


def _now(directory: bytes, walk: Walk) -> bytes:
    """Where a directory of the base is now, by the renamed directory nearest above it."""
    moved = {found.moved_from + b"/": found.path + b"/" for found in walk.found if found.moved_from is not None}
    above = directory
    while len(above) > 1:
        if above in moved:
            return moved[above] + directory.removeprefix(above)
        above = _directory(above[:-1])
    return directory


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
