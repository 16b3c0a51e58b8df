"""The walk over an upper: each of its entries, paired with what the base has for it.

    upper entry           its pair in the base, and what that means for the entries below
    --------------------  ----------------------------------------------------------------------------
    whiteout              the base's entry of this name is gone
    directory             the base's directory of this name; it shows through
    directory, redirect   the base's directory at the redirect; it shows through: a renamed directory
    directory, opaque     the base's directory of this name, hidden: what is not made anew is gone
    metacopy, redirect    the base's file at the redirect holds the data: a renamed file, or a link of it
    metacopy, partial     the base's file holds the data but for what was written: the run was killed
    anything else         the base's entry of this name

(Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories", "redirect_dir" and "Metadata only copy
up".)

A redirect that starts with "/" is a path in the merged lowers; any other is a name in the same directory of them
(fs/overlayfs/namei.c, ovl_check_redirect).
"""

import stat
from dataclasses import dataclass
from operator import itemgetter

from cowfs import ondisk
from cowfs.layers.directory import Directory
from cowfs.model import Kind
from cowfs.overlay import Node
from cowfs.rules.redirect import refusal
from cowfs.runs.places import Entry, Place, read
from cowfs.runs.trees import Tree


@dataclass(slots=True)
class Found:
    """An entry of the upper and its pair. ``links.resolve`` completes what one entry alone cannot tell."""

    path: bytes
    place: Place
    entry: Entry
    base: Node | None  # what the base has under this name
    base_path: bytes  # and where: not ``path`` below a renamed directory
    moved_from: bytes | None = None  # the path in the base of what was renamed to this
    origin: Node | None = None  # and the node there
    data: Node | None = None  # metacopy: the file of the base whose content this has
    in_parts: bool = False  # but for some parts, which were written
    entries_changed: bool = False  # a directory in which names came or went
    link_to: bytes | None = None
    other_names: int = 0
    lost: Node | None = None  # what the base had at ``path``, where ``base`` is something else
    anew: bool = False  # a directory that has nothing to do with the one that the base has here
    by_index: bool = False  # the upper does not have this name, only another of the same file

    @property
    def node(self) -> Node | None:
        """What it is compared with."""
        return self.base if self.moved_from is None else self.origin

    @property
    def before_path(self) -> bytes:
        """Where that is in the base."""
        return self.base_path if self.moved_from is None else self.moved_from

    @property
    def overwrote(self) -> Node | None:
        """What the base has at the new path of something renamed, or below a renamed directory."""
        return self.lost if self.moved_from is None else self.base


@dataclass(slots=True)
class Gone:
    """A name of the base that the merged tree does not have."""

    path: bytes  # in the base
    node: Node
    hidden_by: bytes | None = None  # no whiteout says so, but a new directory; this is its ``_Item.anchor``


@dataclass(slots=True)
class _Item:
    """A directory of the upper to be visited. ``node`` is what its entries are compared with."""

    found: Found
    directory: Directory
    node: Node | None
    node_path: bytes  # without the root's "/", as a prefix
    shows: bool  # the base's entries show through
    anchor: bytes = b"/"  # the base's path of the nearest renamed directory above, or of itself

    @property
    def prefix(self) -> bytes:
        """The path of its entries, up to their names."""
        return self.found.path.removesuffix(b"/") + b"/"


class Walk:
    """Visits every directory of an upper once, without recursion."""

    def __init__(self, before: Tree, *, foreign: bool = False, lone_xattrs: bool = True) -> None:
        """``foreign``: the upper lies in another engine's store, where a directory may be opaque by other marks.

        Without ``lone_xattrs`` none are looked for where there is nothing to compare with, nor can marks be.
        """
        self._before = before
        self._foreign = foreign
        self._all_xattrs = lone_xattrs or foreign
        self.found: list[Found] = []
        self.gone: list[Gone] = []

    def run(self, root: Directory) -> None:
        """Fill ``found`` and ``gone``."""
        place = (root, b".")
        # A root is made new for each run: its times say nothing.
        found = Found(b"/", place, read(place), self._before.root, b"/", entries_changed=True)
        waiting = [_Item(found, root, self._before.root, b"/", shows=True)]
        while waiting:
            item = waiting.pop()
            self.found.append(item.found)
            try:
                listed = sorted(item.directory.list(), key=itemgetter(0))
            except FileNotFoundError:  # gone since its parent was listed: the run goes on
                continue
            for name, kind in listed:
                child = self._entry(item, name, kind)
                if child is not None:
                    waiting.append(child)
            if not item.shows:
                self._not_made_anew(item, {name for name, kind in listed if kind is not None})

    def _entry(self, item: _Item, name: bytes, kind: int | None) -> _Item | None:
        base = self._before.lookup(item.node, name) if item.node else None
        if base is not None:
            self._before.keep(base)
        base_path = item.node_path + name
        if kind is None:
            if item.shows and base is not None:
                self.gone.append(Gone(base_path, base))
                item.found.entries_changed = True
            return None
        is_directory = kind == stat.S_IFDIR
        place = (item.directory.child(name), b".") if is_directory else (item.directory, name)
        # What was copied up or renamed has marks, and they make the directory impure.
        alone = not (self._all_xattrs or is_directory or base is not None or item.directory.marks().impure)
        try:
            found = Found(item.prefix + name, place, read(place, xattrs=not alone), base, base_path)
        except (FileNotFoundError, NotADirectoryError):  # as above
            return None
        if is_directory:
            return self._directory(item, found)
        self._file(item, found)
        return None

    def _directory(self, item: _Item, found: Found) -> _Item:
        marks = found.entry.marks
        opaque = marks.get(ondisk.OPAQUE) == b"y" or (self._foreign and found.place[0].marks().opaque)
        if not opaque and ondisk.REDIRECT in marks:
            self._redirect(item, found, marks[ondisk.REDIRECT])
        merges = found.base is not None and found.base.is_dir and item.shows
        shows = not opaque and (merges or found.moved_from is not None)
        if not merges or not shows or found.moved_from is not None:
            item.found.entries_changed = True
        anchor = item.anchor if found.moved_from is None else found.moved_from
        return _Item(found, found.place[0], found.node, found.before_path + b"/", shows, anchor)

    def _file(self, item: _Item, found: Found) -> None:
        marks = found.entry.marks
        if not marks:  # as most: nothing leads to the base
            item.found.entries_changed = True
            self.found.append(found)
            return
        if ondisk.REDIRECT in marks:
            self._redirect(item, found, marks[ondisk.REDIRECT])
        if ondisk.METACOPY in marks:
            found.data, found.in_parts = found.node, ondisk.PARTIAL in marks
        elif found.moved_from is not None and not self.is_origin(found.node, found):
            found.moved_from = None  # a redirect outlives the metacopy that it served
        if found.moved_from is not None or not self.is_origin(found.base, found):
            item.found.entries_changed = True
        self.found.append(found)

    def _redirect(self, item: _Item, found: Found, redirect: bytes) -> None:
        if refusal(redirect):
            return
        if redirect.startswith(b"/"):
            target, path = self._before.walk(redirect), redirect
        elif item.shows and item.node is not None:
            target, path = self._before.lookup(item.node, redirect), item.node_path + redirect
        else:
            return
        same_type = target is not None and target.is_dir == (found.entry.version.kind is Kind.DIRECTORY)
        if same_type and path != found.base_path:
            found.moved_from, found.origin = path, target

    def _not_made_anew(self, item: _Item, present: set[bytes]) -> None:
        if item.node is None:
            return
        for name in self._before.names(item.node) - present:
            base = self._before.lookup(item.node, name)
            if base is not None:
                self.gone.append(Gone(item.node_path + name, base, hidden_by=item.anchor))

    def is_origin(self, node: Node | None, found: Found) -> bool:
        """True if ``found`` was copied up from ``node``, as far as the mark tells."""
        handle = found.entry.origin
        return node is not None and handle is not None and self._before.handle(node) == handle
