"""What a name, or a whole directory, looks like through several layers.

    upper entry      entry below it    the merge shows
    ---------------  ----------------  ------------------------------------------------
    absent           X                 X
    whiteout         anything          nothing
    not a directory  anything          the upper entry
    directory        directory         one directory: attributes of the upper, names of both
    directory        anything else     the upper directory; nothing further down counts
    opaque dir       anything          the upper directory; nothing further down counts

(Documentation/filesystems/overlayfs.rst, "Upper and Lower" and "whiteouts and opaque directories".) Opaque marks are
read when a directory is entered, not when its parent is listed, so they are the caller's business: see
``cowfs.overlay.tree``.
"""

import stat
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

L = TypeVar("L")  # what stands for one layer's directory


class Entry(NamedTuple, Generic[L]):
    """A visible name that nobody has looked at yet. ``where`` are the directories that supply it, the top one first."""

    kind: int  # type bits of st_mode
    where: tuple[L, ...]


Listing = Iterable[tuple[bytes, int | None]]  # name and type bits of st_mode, None for a whiteout


def merge(listings: Iterable[tuple[L, Listing]]) -> dict[bytes, Entry[L]]:
    """Merge directories, the top one first: each is its stand-in and its entries."""
    visible: dict[bytes, Entry[L]] = {}
    closed: set[bytes] = set()
    for place, listing in listings:
        lay_below(visible, closed, place, listing)
    return visible


def lay_below(visible: dict[bytes, Entry[L]], closed: set[bytes], place: L, listing: Listing) -> None:
    """Add one layer below those that ``visible`` already shows. ``closed`` are names that nothing below can change."""
    alone = _Alone(place)
    for name, found in listing:
        if name in closed:
            continue
        above = visible.get(name)
        if found is None:
            closed.add(name)
        elif above is None:
            visible[name] = alone[found]
            if found != stat.S_IFDIR:
                closed.add(name)
        elif found == stat.S_IFDIR:
            visible[name] = Entry(above.kind, (*above.where, place))
        else:
            closed.add(name)


class _Alone(dict[int, Entry[L]]):
    """The entries, by kind, of names that one place supplies: shared, as there may be very many names."""

    def __init__(self, place: L) -> None:
        self._where = (place,)

    def __missing__(self, kind: int) -> Entry[L]:
        self[kind] = Entry(kind, self._where)
        return self[kind]


class Covered(NamedTuple, Generic[L]):
    """A directory of the upper over its lowers."""

    visible: dict[bytes, Entry[L]]
    uppers: set[bytes]  # names that the upper has, whiteouts apart
    whiteouts: set[bytes]  # names that the upper has a whiteout for


def lay_above(below: dict[bytes, Entry[L]], place: L, listing: Listing) -> Covered[L]:
    """The upper's listing over ``below``, which is left as it is."""
    covered: Covered[L] = Covered(dict(below), set(), set())
    alone = _Alone(place)
    for name, found in listing:
        if found is None:
            covered.whiteouts.add(name)
            covered.visible.pop(name, None)
            continue
        under = below.get(name)
        if under is not None and found == under.kind == stat.S_IFDIR:
            covered.visible[name] = Entry(found, (place, *under.where))
        else:
            covered.visible[name] = alone[found]
        covered.uppers.add(name)
    return covered
