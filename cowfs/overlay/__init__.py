"""The merged file system without FUSE: every operation of it as a method, synchronous, testable without a mount.

A chain of classes, one module per family of operations as in the kernel's fs/overlayfs, each using those before it:

    Parts (layers) <- Tree (nodes) <- Live <- Status (attributes) <- CopyUp <- Create <- Remove <- Rename
        <- Attributes (setattr, xattrs) <- PartialCopyUp (big files) <- Files (open, read, write)

Errors are OSError with an errno. Not safe for threads: one thread calls it, and only ``Fill.run`` may be given to
another.
"""

import os

from cowfs.options import MountOptions
from cowfs.overlay.attributes import Changes
from cowfs.overlay.copy_up import Content, Fill
from cowfs.overlay.create import ROOT, Caller
from cowfs.overlay.files import Files
from cowfs.state.handles import Handle
from cowfs.state.nodes import DirNode, Node


class Overlay(Files):
    """One merged tree. ``options`` name its layers; raises OSError naming the directory that cannot be used."""

    shows_what_is_stored = True  # attributes; else there are others, too
    shows_links = False  # the edge can show one number for several nodes (cowfs.overlay.engine)

    def __init__(self, options: MountOptions) -> None:
        if options.writable:
            # New files get exactly the mode that was asked for: the caller's umask comes as a number, or was applied.
            os.umask(0)
        super().__init__(options)


def open_overlay(options: MountOptions) -> Overlay:
    """The overlay that the options ask for. Raises OSError."""
    if options.engine is None:
        return Overlay(options)
    from cowfs.overlay.engine import open_engine  # others shall not pay for it

    return open_engine(options)


__all__ = ["ROOT", "Caller", "Changes", "Content", "DirNode", "Fill", "Handle", "Node", "Overlay", "open_overlay"]
