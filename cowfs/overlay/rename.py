"""Names that move (ovl_rename in fs/overlayfs/dir.c); the law is in ``cowfs.rules.rename``.

The upper's rename is the commit point. RENAME_WHITEOUT leaves a whiteout at the old name in the same step; a directory
that moves onto a whiteout is exchanged with it, so that the whiteout lands at the old name.
"""

import errno
import os
import stat
from typing import Final

from cowfs import ondisk
from cowfs.layers import syscalls
from cowfs.overlay.copy_up import Content
from cowfs.overlay.parts import NAME_MAX, error
from cowfs.overlay.remove import Remove
from cowfs.rules import rename as rules
from cowfs.rules.remove import Removal
from cowfs.state.nodes import DirNode, Node

_NO_WHITEOUT_FLAG: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})


class Rename(Remove):
    """Moves names."""

    def rename(self, old: Node, old_name: bytes, new: Node, new_name: bytes, flags: int = 0) -> None:
        """rename(2), renameat2(2).

        Raises what the table of ``cowfs.rules.rename`` says, EXDEV only as ``set_redirect``.
        """
        source, target = self.lookup(old, old_name), self.find(new, new_name)
        assert isinstance(old, DirNode)
        assert isinstance(new, DirNode)
        if len(new_name) > NAME_MAX:
            raise error(errno.ENAMETOOLONG)
        if source is target and not flags & rules.NOREPLACE:
            return  # two names of one file: nothing moves (rename(2))
        refused = rules.refusal(
            flags,
            source_is_dir=source.is_dir,
            target=target is not None,
            target_is_dir=target is not None and target.is_dir,
            target_is_empty=not (isinstance(target, DirNode) and self.load(target)),
            loop_down=source.is_dir and _is_within(new, source),
            loop_up=target is not None and target is not source and target.is_dir and _is_within(old, target),
        )
        if refused:
            raise error(refused)
        if new.orphan:
            raise error(errno.ENOENT)
        self.raise_directory(old)
        self.raise_directory(new)
        self._prepare(source, old, old_name, new, new_name)
        if flags & rules.EXCHANGE:
            assert target is not None
            self._prepare(target, new, new_name, old, old_name)
            self._exchange(source, old, old_name, target, new, new_name)
        else:
            self._replace(source, old, old_name, target, new, new_name)

    def _prepare(self, node: Node, old: DirNode, old_name: bytes, new: DirNode, new_name: bytes) -> None:
        """Bring a node into the upper at its old name, with the marks that its new place needs."""
        self.raise_node(node, Content.STAYS)
        self.link_name(old, old_name, node)
        if isinstance(node, DirNode):
            assert node.upper_dir is not None
            assert new.upper_dir is not None
            under = new.below.get(new_name)
            if node.lowers:
                self.set_redirect(node, absolute=new is not old)
                node.upper_dir.forget_marks()
            elif under is not None and under.kind == stat.S_IFDIR:
                self.marks.set_self(node.upper_dir.path(), ondisk.OPAQUE, b"y")
                node.upper_dir.forget_marks()
        elif node.data is not None:
            self.set_redirect(node, absolute=new is not old or node.index_name is not None)
        assert new.upper_dir is not None
        if not node.is_dir and old.upper_dir is not None and old.upper_dir.marks().impure:
            self.mark_impure(new.upper_dir)

    def _exchange(
        self, source: Node, old: DirNode, old_name: bytes, target: Node, new: DirNode, new_name: bytes
    ) -> None:
        assert old.upper_dir is not None
        assert new.upper_dir is not None
        self.mark_impure_from(new, old)
        syscalls.renameat2(old.upper_dir.fd, old_name, new.upper_dir.fd, new_name, syscalls.RENAME_EXCHANGE)
        assert old.entries is not None
        assert new.entries is not None
        self._move_name(source, old, old_name, new, new_name)
        self._move_name(target, new, new_name, old, old_name)
        old.entries[old_name], new.entries[new_name] = target, source
        self.touch(source, target, old, new)

    def mark_impure_from(self, source: DirNode, target: DirNode) -> None:
        """What moves out of an impure directory may have an origin."""
        assert source.upper_dir is not None
        assert target.upper_dir is not None
        if source.upper_dir.marks().impure:
            self.mark_impure(target.upper_dir)

    def _replace(
        self, source: Node, old: DirNode, old_name: bytes, target: Node | None, new: DirNode, new_name: bytes
    ) -> None:
        if target is not None:
            self._before_replace(target, new, new_name)
        covers = old_name in old.below
        self._move_on_disk(source, old, old_name, new, new_name, covers=covers)
        if target is not None:
            # The new name was taken over, whether it was in a lower or not: nothing remains of the target's.
            how = Removal.UNLINK if new.in_upper(new_name) else Removal.WHITEOUT
            self._leave(new, new_name, target, how)
        assert old.entries is not None
        del old.entries[old_name]
        old.uppers.discard(old_name)
        if covers:
            old.add_whiteout(old_name)
        self._move_name(source, old, old_name, new, new_name)
        self._enter_name(new, new_name, source)
        self.touch(old)

    def _before_replace(self, target: Node, new: DirNode, new_name: bytes) -> None:
        if isinstance(target, DirNode):
            self._anchor_directory(target)
            if target.upper_dir is not None and target.whiteouts:
                # Opaque first: without its whiteouts the lower names must not come back, not even for a moment.
                self.marks.set_self(target.upper_dir.path(), ondisk.OPAQUE, b"y")
                self.writer().clear(target.upper_dir)
                target.drop_whiteouts()
        else:
            self._keep_link_count(target)
            self._before_unlink(new, new_name, target)

    def _move_on_disk(
        self, source: Node, old: DirNode, old_name: bytes, new: DirNode, new_name: bytes, *, covers: bool
    ) -> None:
        assert old.upper_dir is not None
        assert new.upper_dir is not None
        if source.is_dir and new_name in new.whiteouts:
            syscalls.renameat2(old.upper_dir.fd, old_name, new.upper_dir.fd, new_name, syscalls.RENAME_EXCHANGE)
            if not covers:
                os.unlink(old_name, dir_fd=old.upper_dir.fd)
            return
        if covers:
            try:
                syscalls.renameat2(old.upper_dir.fd, old_name, new.upper_dir.fd, new_name, syscalls.RENAME_WHITEOUT)
                return
            except OSError as failure:
                if failure.errno not in _NO_WHITEOUT_FLAG:
                    raise
        os.rename(old_name, new_name, src_dir_fd=old.upper_dir.fd, dst_dir_fd=new.upper_dir.fd)
        if covers:  # two steps where the file system has no RENAME_WHITEOUT; between them both names are there
            self.writer().whiteout(old.upper_dir, old_name)

    def _move_name(self, node: Node, old: DirNode, old_name: bytes, new: DirNode, new_name: bytes) -> None:
        assert new.upper_dir is not None
        if (node.parent, node.name) == (old, old_name):
            node.parent, node.name = new, new_name
        elif node.aliases and (old, old_name) in node.aliases:
            node.aliases.remove((old, old_name))
            node.aliases.append((new, new_name))
        if isinstance(node, DirNode):
            assert node.upper_dir is not None
            node.upper_dir.parent, node.upper_dir.name = new.upper_dir, new_name
        elif node.index_name is None and node.upper == (old.upper_dir, old_name):
            node.upper = (new.upper_dir, new_name)


def _is_within(node: DirNode, ancestor: Node) -> bool:
    current: Node | None = node
    while current is not None:
        if current is ancestor:
            return True
        current = current.parent
    return False
