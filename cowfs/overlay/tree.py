"""The tree as it is found: listings, look-ups, nodes. Changes nothing.

One visible name becomes a node in three steps: ``load`` lists its directory once per layer (rules.lookup merges),
``find`` takes the entry, ``_materialize`` reads what the marks of its layers say: opaque, redirect, metacopy, origin.
"""

import errno
import os
import stat
from collections.abc import Iterator

from cowfs import ondisk
from cowfs.layers import origin as origins
from cowfs.layers.directory import Directory
from cowfs.options import MountOptions
from cowfs.overlay.parts import NAME_MAX, LowerFile, Parts, error, origin_name, read_partial
from cowfs.rules import lookup as rules
from cowfs.state.nodes import DirNode, InodeTable, Node
from cowfs.state.numbers import ROOT, Numbers


class Tree(Parts):
    """Layers and nodes. ``Overlay`` is this and what changes it."""

    def __init__(self, options: MountOptions) -> None:
        """Open the layers. Raises OSError naming the directory that cannot be used."""
        super().__init__(options)
        roots = [layer.root for layer in self.lowers]
        devices = [root.stat_self().st_dev for root in reversed(roots)]
        if self.upper is not None:
            devices.append(self.upper.root.stat_self().st_dev)
        self.numbers = Numbers(devices)
        self.table = InodeTable()
        self.root = DirNode(ROOT, None, b"")
        self.root.lowers = tuple(roots)
        if self.upper is not None:
            self.root.upper_dir = self.upper.root
        self.table.add(self.root)
        self._upper_links: dict[int, Node] = {}  # upper inode with several links -> its node
        self._status: tuple[Node, os.stat_result] | None = None  # what was just read, for the ``attr`` that follows

    def close(self) -> None:
        """Close every descriptor and leave the work directory empty."""
        for node in self.table:
            node.drop_anchor()
            node.drop_partial()
            for handle in node.handles:
                os.close(handle.fd)
        self._close_upper()
        self.cache.close()

    def _close_upper(self) -> None:
        if self.upper is not None:
            self.upper.clear(self.upper.work)
            self.upper.close()

    # --- finding ------------------------------------------------------------------------------------------

    def find(self, parent: Node, name: bytes) -> Node | None:
        """The node of a name, None where there is none.

        Raises ENOTDIR, ENAMETOOLONG, and what reading a layer raises.
        """
        if not isinstance(parent, DirNode):
            raise error(errno.ENOTDIR)
        entries = parent.entries
        if entries is None:
            entries = self.load(parent)
        found = entries.get(name)
        if isinstance(found, Node):
            return found
        if found is None:
            if len(name) > NAME_MAX:
                raise error(errno.ENAMETOOLONG)
            return None
        return self._materialize(parent, name, found)

    def lookup(self, parent: Node, name: bytes) -> Node:
        """As ``find``; raises ENOENT where there is no such name."""
        node = self.find(parent, name)
        if node is None:
            raise error(errno.ENOENT)
        return node

    def walk(self, path: bytes) -> Node:
        """The node of a path below the root, no link followed. Raises as ``lookup``."""
        node: Node = self.root
        for name in path.split(b"/"):
            if name not in (b"", b"."):
                node = self.lookup(node, name)
        return node

    def load(self, node: DirNode) -> "dict[bytes, Node | rules.Entry[Directory]]":
        """List a directory: once per layer, then never again."""
        if node.entries is None:
            below = rules.merge((directory, directory.list()) for directory in node.lowers)
            if node.upper_dir is None:
                node.listed(below, set(), set())
                node.entries = dict(below)
            else:
                covered = rules.lay_above(below, node.upper_dir, node.upper_dir.list())
                node.listed(below, covered.uppers if node.lowers else set(), covered.whiteouts)
                node.entries = dict(covered.visible)
        return node.entries

    def names(self, node: DirNode) -> Iterator[bytes]:
        """The names in a directory, without "." and ".."."""
        return iter(self.load(node))

    # --- from entry to node -------------------------------------------------------------------------------

    def _materialize(self, parent: DirNode, name: bytes, entry: "rules.Entry[Directory]") -> Node | None:
        try:
            if entry.kind == stat.S_IFDIR:
                node: Node = self._directory(parent, name, entry)
            else:
                node = self._file(parent, name, entry.where[0])
        except FileNotFoundError:
            if not self.options.live_lower:
                raise error(errno.ESTALE) from None  # a layer changed underneath
            assert parent.entries is not None
            parent.entries.pop(name, None)
            parent.below.pop(name, None)
            return None
        assert parent.entries is not None
        parent.entries[name] = node
        return node

    def _directory(self, parent: DirNode, name: bytes, entry: "rules.Entry[Directory]") -> DirNode:
        parts = self.stack(parent.parts, entry.where, name)
        top = parts[0]
        assert top.parent is not None
        status = top.parent.stat(top.name)
        identity = status
        upper_dir = top if top.layer.is_upper else None
        lowers = tuple(parts[1:] if upper_dir else parts)
        if upper_dir and lowers and lowers[0].parent is not None:
            identity = lowers[0].parent.stat(lowers[0].name)
        node = DirNode(self._number(identity), parent, name)
        node.upper_dir, node.lowers = upper_dir, lowers
        if upper_dir is not None and top.layer.index != len(self.lowers):
            node.redirect = top.marks().redirect
        self.table.add(node)
        self._status = (node, status)
        return node

    def _file(self, parent: DirNode, name: bytes, directory: Directory) -> Node:
        status = directory.stat(name)
        if directory.layer.is_upper:
            return self._upper_file(parent, name, directory, status)
        place, links_diff = (directory, name), 0
        data = self._metacopy_data(parent.parts, name, directory, status)
        if status.st_nlink > 1:
            lower = self.through_indexes(place, status, data)
            index_name = self._index_of(lower)
            if index_name is not None:
                return self._indexed_file(parent, name, lower, lower.status, index_name)
            place, status, data, links_diff = lower
        found = self._lower_file(status)
        if isinstance(found, Node):
            self._add_alias(found, parent, name)
            return found
        node = Node(found, stat.S_IFMT(status.st_mode), parent, name)
        node.lower, node.data, node.links_diff = place, data, links_diff
        if node.data is not None:
            node.partial = read_partial(self.marks, place, node.data)
        return self._remember(node, status)

    def _lower_file(self, status: os.stat_result) -> Node | int:
        """The node that a lower file is by another name already, else the number for it."""
        number = self.numbers.of(status.st_dev, status.st_ino)
        known = self.table.get(number)
        if known is None:
            return number
        if known.kind == stat.S_IFMT(status.st_mode) and (not known.on_upper or known.index_name is not None):
            return known
        return self.numbers.fresh(status.st_dev, status.st_ino)

    def _upper_file(self, parent: DirNode, name: bytes, directory: Directory, status: os.stat_result) -> Node:
        known = self._upper_links.get(status.st_ino)
        if known is not None:
            if known.upper is None:
                known.upper = (directory, name)
                known.drop_anchor()
            self._add_alias(known, parent, name)
            return known
        found = self.origin_of(directory, name) if directory.marks().impure else None
        if found is not None:
            index_name = origins.encode(found[0]).hex()
            if found[1].st_nlink > 1:
                if index_name.encode() in self._indexed() and self._is_index(index_name, status):
                    return self._indexed_file(parent, name, None, found[1], index_name)
                found = None  # a link that was broken by a copy-up without an index is a file of its own
        identity = status if found is None else found[1]
        node = Node(self._number(identity), stat.S_IFMT(status.st_mode), parent, name)
        node.upper = (directory, name)
        node.data = self._metacopy_data(parent.parts, name, directory, status)
        if node.data is not None:
            node.redirect = self.marks.get(directory.path_of(name), ondisk.REDIRECT)
            node.partial = read_partial(self.marks, node.upper, node.data)
        if status.st_nlink > 1:
            self.register_links(node, status.st_ino)
        return self._remember(node, status)

    def register_links(self, node: Node, upper_inode: int) -> None:
        """Several names of the upper lead to ``node`` from now on."""
        node.upper_inode = upper_inode
        self._upper_links[upper_inode] = node

    def _remember(self, node: Node, status: os.stat_result) -> Node:
        self.table.add(node)
        self._status = (node, status)
        return node

    def _add_alias(self, node: Node, parent: DirNode, name: bytes) -> None:
        if node.parent is None:
            node.parent, node.name = parent, name
            return
        if (node.parent, node.name) == (parent, name):
            return
        if node.aliases is None:
            node.aliases = []
        if (parent, name) not in node.aliases:
            node.aliases.append((parent, name))

    def _number(self, identity: os.stat_result) -> int:
        number = self.numbers.of(identity.st_dev, identity.st_ino)
        if self.table.get(number) is None:
            return number
        return self.numbers.fresh(identity.st_dev, identity.st_ino)

    def know_bare(self, node: Node, bare: bool | None) -> None:
        """Note whether a node has no extended attributes; None: that is to be looked for again."""
        if self.bare_numbers is not None and bool(node.bare) != bool(bare):
            (self.bare_numbers.add if bare else self.bare_numbers.discard)(node.number)
        node.bare = bare

    # --- origins, index, metacopy -------------------------------------------------------------------------

    def _index_of(self, lower: LowerFile) -> str | None:
        """The index entry of a lower file with several links, if it was copied up."""
        if lower.links < 2 or not self._indexed():
            return None
        index_name = origin_name(lower.place)
        return index_name.decode() if index_name in self._indexed() else None

    def _is_index(self, index_name: str, status: os.stat_result) -> bool:
        assert self.upper is not None
        return self.upper.index.stat(index_name.encode()).st_ino == status.st_ino

    def _indexed_file(
        self, parent: DirNode, name: bytes, lower: LowerFile | None, identity: os.stat_result, index_name: str
    ) -> Node:
        """The node of an index entry, reached by one of its names. ``identity``: the lower file's status."""
        assert self.upper is not None
        place = (self.upper.index, index_name.encode())
        status = self.upper.index.stat(place[1])
        known = self._upper_links.get(status.st_ino)
        if known is not None:
            self._add_alias(known, parent, name)
            if known.data is None and lower is not None:
                known.lower = lower.place
            return known
        node = Node(self._number(identity), stat.S_IFMT(status.st_mode), parent, name)
        node.upper, node.lower, node.index_name = place, lower and lower.place, index_name
        node.links_diff = self.links_diff(place, status, identity)
        if self.marks.get(place[0].path_of(place[1]), ondisk.METACOPY) is not None:
            node.redirect = self.marks.get(place[0].path_of(place[1]), ondisk.REDIRECT)
            if lower is not None:
                node.data = lower.data or lower.place
            else:
                node.data = self._data_below(parent.parts, name, parent.upper_dir, node.redirect)
            if node.data is not None:
                node.partial = read_partial(self.marks, place, node.data)
        self.register_links(node, status.st_ino)
        return self._remember(node, status)

    # --- forgetting ---------------------------------------------------------------------------------------

    def forget(self, node: Node, count: int) -> None:
        """The kernel dropped ``count`` of its references. The last one frees the node; all of it can be found again."""
        node.lookups -= count
        self.drop_unused(node)

    def drop_unused(self, node: Node) -> None:
        """Forget a node that no kernel reference, handle or known child holds, and then its parent likewise.

        A file of which the upper has parts is kept: it is to be made whole at the end.
        """
        while node.lookups <= 0 and not node.handles and node is not self.root and self.table.get(node.number) is node:
            if node.partial is not None and node.upper is not None and node.parent is not None:
                return
            if isinstance(node, DirNode) and node.entries and any(isinstance(n, Node) for n in node.entries.values()):
                return
            parent = node.parent
            for directory, name in self._names_of(node):
                self._unload(directory, name, node)
            self.discard(node)
            if parent is None:
                return
            node = parent

    def discard(self, node: Node) -> None:
        """Take a node out of the table."""
        self.table.remove(node)
        self.numbers.forget(node.number)
        node.drop_anchor(self.close_removed)
        node.drop_partial()
        self._upper_links.pop(node.upper_inode, None)
        if node.bare:
            self.know_bare(node, None)
        if isinstance(node, DirNode):
            for directory in node.parts:
                directory.forget()

    def _names_of(self, node: Node) -> "list[tuple[DirNode, bytes]]":
        first = [] if node.parent is None else [(node.parent, node.name)]
        return first + (node.aliases or [])

    def _unload(self, parent: DirNode, name: bytes, node: Node) -> None:
        if parent.entries is None or parent.entries.get(name) is not node:
            return
        under = parent.below.get(name)
        where: tuple[Directory, ...] = ()
        if parent.in_upper(name):
            assert parent.upper_dir is not None
            where = (parent.upper_dir,)
        if under is not None and (not where or under.kind == node.kind == stat.S_IFDIR):
            where = (*where, *under.where)
        parent.entries[name] = rules.Entry(node.kind, where)
