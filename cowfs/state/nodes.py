"""Nodes: the files of the merged tree that somebody refers to, by number.

A node is one file, whatever its names: all links of it are the same node, before and after copy-up. It lives as long as
the kernel knows its number (``lookups``), a handle is open, or the overlay's caller holds it; everything in it can be
found again on disk.
"""

import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from cowfs.layers.directory import Directory
from cowfs.rules.lookup import Entry
from cowfs.state.listing import Listing

if TYPE_CHECKING:
    from cowfs.state.handles import Handle
    from cowfs.state.partial import Partial

Place = tuple[Directory, bytes]  # an entry of one layer's directory

# What most nodes have none of is shared: there may be millions of nodes. Never add to these.
_NO_NAMES: Final[set[bytes]] = set()
_NOTHING_BELOW: Final[dict[bytes, Entry[Directory]]] = {}


class Node:
    """A file that is not a directory. See the attributes' comments; the overlay alone changes them."""

    __slots__ = (
        "aliases",
        "anchor",
        "bare",
        "data",
        "handles",
        "index_name",
        "kind",
        "links_diff",
        "lookups",
        "lower",
        "name",
        "number",
        "parent",
        "partial",
        "redirect",
        "reply",
        "upper",
        "upper_inode",
    )

    is_dir = False

    def __init__(self, number: int, kind: int, parent: "DirNode | None", name: bytes) -> None:
        self.number = number
        self.kind = kind  # type bits of st_mode
        self.parent = parent  # of one of its names; None once the last known one is removed
        self.name = name
        self.aliases: list[tuple[DirNode, bytes]] | None = None  # its other names, as far as they were looked up
        self.lookups = 0  # how often the kernel was told of it and has not forgotten
        self.handles: tuple[Handle, ...] = ()
        self.upper: Place | None = None  # where the upper has it, once it does
        self.lower: Place | None = None  # where a lower has it, until then
        self.data: Place | None = None  # where its bytes are, when they are not with its attributes (metacopy)
        self.partial: Partial | None = None  # which parts of the data are in the upper, beside those in ``data``
        self.bare: bool | None = None  # has it no extended attributes? None: not known
        self.anchor = -1  # O_PATH descriptor of an upper file whose last known name is gone
        self.redirect: bytes | None = None  # the upper's mark that says where the lower part is
        self.index_name: str | None = None  # its entry in the index: several links in the lower
        self.upper_inode = 0  # of the upper file, where that has several links
        self.links_diff = 0  # then: link count of the merged file less that of the upper one
        self.reply: object | None = None  # the edge's cached answer; None when it must be made again

    @property
    def orphan(self) -> bool:
        """True when it has no name any more."""
        return self.parent is None and self.number != 1

    @property
    def on_upper(self) -> bool:
        """True when its attributes are the upper's to change."""
        return self.upper is not None or self.anchor >= 0

    def drop_partial(self) -> None:
        """Its data is in one place again, or nobody asks for it."""
        if self.partial is not None:
            self.partial.close()
            self.partial = None

    def drop_anchor(self, close: Callable[[int], None] = os.close) -> None:
        """Close the descriptor that kept a nameless file."""
        if self.anchor >= 0:
            close(self.anchor)
        self.anchor = -1


class Inherit(NamedTuple):
    """What a directory passes on to files that are made in it."""

    mode: int
    gid: int
    default_acl: bytes | None  # the value of system.posix_acl_default


class DirNode(Node):
    """A directory: its parts in the layers, and its names."""

    __slots__ = (
        "below",
        "compared",
        "entries",
        "inherit",
        "listing",
        "lowers",
        "quiet",
        "upper_dir",
        "uppers",
        "version",
        "whiteouts",
    )

    is_dir = True

    def __init__(self, number: int, parent: "DirNode | None", name: bytes) -> None:
        super().__init__(number, stat.S_IFDIR, parent, name)
        self.upper_dir: Directory | None = None
        self.lowers: tuple[Directory, ...] = ()  # the top one first
        self.entries: dict[bytes, Node | Entry[Directory]] | None = None  # None: not listed yet
        self.below = _NOTHING_BELOW  # what the lowers alone show; empty before the listing
        self.uppers = _NO_NAMES  # names that the upper has, where there are lowers, too
        self.whiteouts = _NO_NAMES  # names that the upper has a whiteout for
        self.listing: Listing | None = None  # the order that readers of it were told of
        self.inherit: Inherit | None = None  # what new files take from it; None: not known
        self.compared = False  # attributes of something in it were asked for
        self.version: tuple[int, ...] = ()  # mtimes of live lowers when they were listed
        self.quiet: tuple[int, int] | None = None  # a ctime on disk that came of a copy-up, and the one to show for it

    @property
    def on_upper(self) -> bool:
        """True when its attributes are the upper's to change."""
        return self.upper_dir is not None

    def listed(self, below: dict[bytes, Entry[Directory]], uppers: set[bytes], whiteouts: set[bytes]) -> None:
        """Remember what its parts have."""
        self.below = below or _NOTHING_BELOW
        self.uppers, self.whiteouts = uppers or _NO_NAMES, whiteouts or _NO_NAMES

    def add_upper(self, name: bytes) -> None:
        """The upper has this visible name from now on."""
        if self.uppers is _NO_NAMES:
            self.uppers = set()
        self.uppers.add(name)

    def add_whiteout(self, name: bytes) -> None:
        """The upper has a whiteout for this name from now on."""
        if self.whiteouts is _NO_NAMES:
            self.whiteouts = set()
        self.whiteouts.add(name)

    def drop_whiteouts(self) -> None:
        """The upper has none any more."""
        self.whiteouts = _NO_NAMES

    def in_upper(self, name: bytes) -> bool:
        """Does the upper have this visible name? Meaningful once the directory was listed."""
        return self.upper_dir is not None and (not self.lowers or name in self.uppers)

    @property
    def parts(self) -> tuple[Directory, ...]:
        """All of its directories, the top one first."""
        return self.lowers if self.upper_dir is None else (self.upper_dir, *self.lowers)


class InodeTable:
    """Nodes by number."""

    def __init__(self) -> None:
        self._nodes: dict[int, Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, number: int) -> Node:
        return self._nodes[number]

    def get(self, number: int) -> Node | None:
        """The node of a number that somebody refers to, else None."""
        return self._nodes.get(number)

    def add(self, node: Node) -> None:
        """Remember a new node; its number is free."""
        assert node.number not in self._nodes
        self._nodes[node.number] = node

    def remove(self, node: Node) -> None:
        """Forget a node that nobody refers to."""
        del self._nodes[node.number]

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())
