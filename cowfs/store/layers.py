"""Layers in the store: built in staging, made durable, published by one rename (commit order below).

    staging/<random>/root/...            the unpacker writes here, and skeleton.gz
    syncfs                               every byte of it is on disk; meanwhile the tree's digest is made
    staging/<random>/layer.json, fsync   the facts
    rename to layers/sha256/<hex>        listed
    fsync of layers/sha256               and stays listed

Without the syncfs a power cut leaves empty files in a layer that is listed. One syncfs serves all layers of an import.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from cowfs.errors import StoreError
from cowfs.ondisk import LAYER_JSON, LAYER_ROOT, LAYER_SKELETON
from cowfs.store import staging
from cowfs.store.descriptors import (
    is_named,
    make_directory,
    open_directory,
    read_file,
    sync_file_system,
    try_lock,
    write_file,
)
from cowfs.store.records import LIMIT, Damaged, StoredLayer, decode_layer, digest_hex, encode
from cowfs.store.trees import remove_tree

if TYPE_CHECKING:
    from cowfs.store.treedigest import TreeFacts


class LayerBuild:
    """A layer on its way: ``root_fd`` is the directory of its tree. ``facts`` are set when it is complete."""

    __slots__ = ("entry", "facts", "root_fd")

    def __init__(self, entry: staging.Entry, root_fd: int) -> None:
        self.entry = entry
        self.root_fd = root_fd
        self.facts: StoredLayer | None = None

    def restart(self) -> None:
        """Begin again with an empty tree."""
        os.close(self.root_fd)
        remove_tree(self.entry.fd, os.fsencode(LAYER_ROOT))
        self.root_fd = make_directory(self.entry.fd, LAYER_ROOT)

    @contextlib.contextmanager
    def skeleton(self) -> Iterator[BinaryIO]:
        """The new, empty file for the skeleton of its tar (cowfs.images.skeleton)."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(LAYER_SKELETON, flags, 0o600, dir_fd=self.entry.fd), "wb") as file:
            yield file

    def tree(self) -> "TreeFacts":
        """What the tree is like; it is complete. Not by ``root_fd``: another process may have begun again."""
        from cowfs.store.treedigest import tree_facts

        root_fd = open_directory(self.entry.fd, LAYER_ROOT)
        try:
            return tree_facts(root_fd)
        finally:
            os.close(root_fd)

    def close(self) -> None:
        """Remove it if it was not published."""
        os.close(self.root_fd)
        self.entry.close()


class Layers:
    """``layers/sha256`` and what is staged for it."""

    def __init__(self, layers_fd: int, staging_fd: int) -> None:
        self.fd = layers_fd
        self._staging_fd = staging_fd

    def find(self, diff_id: str) -> StoredLayer | None:
        """The layer if it is listed. One whose record is damaged, or a link, counts as absent and is removed.

        Raises StoreError if a damaged layer is in use.
        """
        name = digest_hex(diff_id)
        try:
            fd = open_directory(self.fd, name)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(name, dir_fd=self.fd)
            return None
        try:
            layer = decode_layer(read_file(fd, LAYER_JSON, LIMIT))
            if layer.diff_id == diff_id:
                os.close(fd)
                return layer
        except (FileNotFoundError, Damaged):
            pass
        locked = try_lock(fd)
        if not is_named(fd, self.fd, name):  # it was being removed while we looked
            os.close(fd)
            return None
        if not locked:
            os.close(fd)
            raise StoreError(f"the layer {diff_id} is damaged and in use: end the runs that use it, then try again")
        staging.take_away(self._staging_fd, self.fd, name, fd)
        return None

    @contextlib.contextmanager
    def opened(self, diff_id: str) -> Iterator[tuple[int, BinaryIO]]:
        """The tree of a listed layer and its skeleton, for reading. Raises OSError."""
        with contextlib.ExitStack() as cleanup:
            fd = open_directory(self.fd, digest_hex(diff_id))
            cleanup.callback(os.close, fd)
            root_fd = open_directory(fd, LAYER_ROOT)
            cleanup.callback(os.close, root_fd)
            skeleton = os.open(LAYER_SKELETON, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            yield root_fd, cleanup.enter_context(open(skeleton, "rb", buffering=0))

    @staticmethod
    def disk(fd: int) -> int:
        """Bytes that the layer with the descriptor ``fd`` takes on the disk."""
        try:
            return decode_layer(read_file(fd, LAYER_JSON, LIMIT)).disk
        except (OSError, Damaged):
            from cowfs.store.treedigest import tree_facts

            return tree_facts(fd).disk

    def names(self) -> list[str]:
        """The hex digits of every listed layer."""
        return os.listdir(self.fd)

    def stage(self) -> LayerBuild:
        """A new, empty layer."""
        entry = staging.create(self._staging_fd)
        return LayerBuild(entry, make_directory(entry.fd, LAYER_ROOT))

    def commit(self, builds: Sequence[LayerBuild], *, replace: bool = False) -> None:
        """Publish complete layers, all or as many as the file system takes. Raises OSError.

        One that is listed already stays, as it is the same; or it is replaced in one step. Raises StoreError if it is
        in use then.
        """
        if not builds:
            return
        with _Synced(self.fd):
            trees = [build.tree() for build in builds]
        for build, tree in zip(builds, trees, strict=True):
            assert build.facts is not None, "only complete layers are published"
            build.facts = build.facts._replace(tree=tree.digest, disk=tree.disk)
            write_file(build.entry.fd, LAYER_JSON, encode(build.facts))
            name = digest_hex(build.facts.diff_id)
            try:
                build.entry.publish(self.fd, name)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if replace:
                    self._exchange(build.entry, name)
        os.fsync(self.fd)

    def _exchange(self, entry: staging.Entry, name: str) -> None:
        fd = open_directory(self.fd, name)
        try:
            if not try_lock(fd):
                raise StoreError(f"layer {name[:12]} is in use: end the runs and mounts that use it, then try again")
            entry.exchange(self.fd, name)
        finally:
            os.close(fd)

    def remove(self, name: str, fd: int) -> None:
        """Unlist and remove a layer; ``fd`` is its descriptor, exclusively locked, and is closed."""
        staging.take_away(self._staging_fd, self.fd, name, fd)


class _Synced:
    """The file system is synced in a thread while the body reads; the end waits for it. Raises OSError."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._sync)

    def _sync(self) -> None:
        try:
            sync_file_system(self._fd)
        except OSError as error:
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error
