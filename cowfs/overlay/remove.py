"""Names that go: unlink, rmdir, and what both leave behind (ovl_do_remove in fs/overlayfs/dir.c)."""

import errno
import os

from cowfs.overlay.copy_up import Content
from cowfs.overlay.create import Create
from cowfs.overlay.parts import error
from cowfs.rules.remove import Removal, removal
from cowfs.state.nodes import DirNode, Node

_ANCHOR = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Remove(Create):
    """Removes names. A file without names lives on while it is open, or known to the kernel: by an *anchor*."""

    def unlink(self, parent: Node, name: bytes) -> None:
        """Remove a name of a file. Raises EISDIR for a directory."""
        node = self.lookup(parent, name)
        assert isinstance(parent, DirNode)
        if node.is_dir:
            raise error(errno.EISDIR)
        self.raise_directory(parent)
        self._keep_link_count(node)
        how = removal(in_upper=parent.in_upper(name), in_lower=name in parent.below)
        self._before_unlink(parent, name, node)
        self._apply(parent, name, how, is_directory=False)
        self._leave(parent, name, node, how)

    def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove an empty directory. Raises ENOTDIR, ENOTEMPTY."""
        node = self.lookup(parent, name)
        assert isinstance(parent, DirNode)
        if not isinstance(node, DirNode):
            raise error(errno.ENOTDIR)
        if self.load(node):
            raise error(errno.ENOTEMPTY)
        self.raise_directory(parent)
        how = removal(in_upper=parent.in_upper(name), in_lower=name in parent.below)
        self._anchor_directory(node)
        self._apply(parent, name, how, is_directory=True, holds_whiteouts=bool(node.whiteouts))
        self._leave(parent, name, node, how)

    # --- on disk ------------------------------------------------------------------------------------------

    def _apply(
        self, parent: DirNode, name: bytes, how: Removal, *, is_directory: bool, holds_whiteouts: bool = False
    ) -> None:
        upper, directory = self.writer(), parent.upper_dir
        assert directory is not None
        if how is Removal.WHITEOUT:
            upper.whiteout(directory, name)
        elif how is Removal.REPLACE:
            upper.replace_by_whiteout(directory, name, is_directory=is_directory)
        elif not is_directory:
            os.unlink(name, dir_fd=directory.fd)
        elif not holds_whiteouts:
            os.rmdir(name, dir_fd=directory.fd)
        else:
            temporary = upper.temporary()
            os.rename(name, temporary, src_dir_fd=directory.fd, dst_dir_fd=upper.work.fd)
            upper.discard(temporary)

    def _keep_link_count(self, node: Node) -> None:
        """A lower file with several links gets its index entry, which remembers how many are left."""
        if node.lower is None or node.on_upper:
            return
        if node.lower[0].stat(node.lower[1]).st_nlink + node.links_diff > 1:
            self.raise_node(node, Content.STAYS)

    def _before_unlink(self, parent: DirNode, name: bytes, node: Node) -> None:
        """Keep hold of a file whose last known name in the upper is about to go."""
        others = [alias for alias in self._names_of(node) if alias != (parent, name)]
        if node.index_name is not None:
            if not others and self.attr(node).nlink <= 1:
                self._anchor(node)
            return
        if node.upper is None or others or not parent.in_upper(name):
            return
        if node.lookups > 0 or node.handles or node.upper_inode:
            self._anchor(node)

    def _anchor(self, node: Node) -> None:
        if node.anchor < 0 and node.upper is not None:
            node.anchor = os.open(node.upper[1], _ANCHOR, dir_fd=node.upper[0].fd)

    def _anchor_directory(self, node: DirNode) -> None:
        if node.upper_dir is not None and node.anchor < 0 and node.lookups > 0:
            assert node.upper_dir.parent is not None
            node.anchor = os.open(node.upper_dir.name, _ANCHOR, dir_fd=node.upper_dir.parent.fd)

    # --- in memory ----------------------------------------------------------------------------------------

    def _leave(self, parent: DirNode, name: bytes, node: Node, how: Removal) -> None:
        """``name`` no longer leads to ``node``."""
        assert parent.entries is not None
        del parent.entries[name]
        parent.uppers.discard(name)
        if how is not Removal.UNLINK:
            parent.add_whiteout(name)
        self.touch(parent, node)
        if isinstance(node, DirNode):
            node.parent = None
            node.drop_whiteouts()
        else:
            self._drop_name(parent, name, node)
            if node.index_name is not None:
                if how is Removal.WHITEOUT:
                    self.count_links(node, -1)
                self._drop_index(node)
        if node.parent is None and node.lookups <= 0 and not node.handles:
            self.discard(node)

    def _drop_name(self, parent: DirNode, name: bytes, node: Node) -> None:
        if (node.parent, node.name) != (parent, name):
            if node.aliases and (parent, name) in node.aliases:
                node.aliases.remove((parent, name))
            return
        if node.aliases:
            node.parent, node.name = node.aliases.pop()
            if node.index_name is None and node.upper is not None and node.parent.upper_dir is not None:
                node.upper = (node.parent.upper_dir, node.name)
            return
        node.parent = None
        if node.index_name is None and node.anchor >= 0:
            node.upper = None

    def _drop_index(self, node: Node) -> None:
        """Remove the index entry of a file whose last name is gone."""
        upper = self.writer()
        assert node.index_name is not None
        raw = node.index_name.encode()
        if upper.index.stat(raw).st_nlink + node.links_diff > 0:
            return
        self._anchor(node)
        os.unlink(raw, dir_fd=upper.index.fd)
        upper.indexed.discard(raw)
        self._upper_links.pop(node.upper_inode, None)
        node.upper, node.index_name, node.parent, node.aliases = None, None, None, None
