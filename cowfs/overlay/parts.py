"""The layers of a mount, and how directories of theirs make up one: marks that lead from layer to layer.

No nodes here: what is found are directories and places of layers.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from cowfs import ondisk, userns
from cowfs.layers import data, syscalls
from cowfs.layers import origin as origins
from cowfs.layers.directory import DescriptorCache, Directory, Layer
from cowfs.layers.marks import Marks
from cowfs.layers.upper import Upper
from cowfs.options import MountOptions
from cowfs.rules import redirect as redirects
from cowfs.state.extents import Extents
from cowfs.state.nodes import Node, Place
from cowfs.state.partial import BLOCK, Partial

NAME_MAX = 255
_OPEN_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def error(code: int) -> OSError:
    """The OSError of an errno."""
    return OSError(code, os.strerror(code))


class LowerIndex(NamedTuple):
    """The index of a lower that was an upper: its copies, each of a file below it, for all names of that file."""

    directory: Directory
    names: frozenset[bytes]


class LowerFile(NamedTuple):
    """A file of the lowers, by one of its names."""

    place: Place  # its attributes
    status: os.stat_result
    data: Place | None = None  # its bytes, where they are not there (metacopy)
    links_diff: int = 0  # its link count less that of the file at ``place``

    @property
    def links(self) -> int:
        return self.status.st_nlink + self.links_diff


class NumberSet(Protocol):
    """Numbers of nodes."""

    add: Callable[[int], None]
    discard: Callable[[int], None]


class Parts:
    """The opened layers."""

    patience: ClassVar[float] = 0.0  # seconds to wait for a work directory that another mount is about to leave

    # What the mount may do better than we: close the last descriptor of a removed file, whose file system then frees
    # what it had; be told of a file of which soon not all data is behind its handles' descriptors; and know the files
    # that have no extended attributes.
    close_removed: Callable[[int], None] = staticmethod(os.close)
    bare_numbers: "NumberSet | None" = None
    before_parts: Callable[[Node], None] = staticmethod(lambda node: None)

    def __init__(self, options: MountOptions) -> None:
        """Open them. Raises OSError naming the directory that cannot be used."""
        self.options = options
        self.marks = self._namespace(options)
        self.ids = userns.mapped_ids()  # owners beyond are shown as root: the kernel could not even delete theirs
        self.cache = DescriptorCache()
        self.lowers: list[Layer] = []  # the top one first
        self.upper: Upper | None = None
        self.indexes: list[LowerIndex] = []  # the one of the lowest layer first
        try:
            self._open_layers(options)
        except BaseException:
            self.cache.close()
            raise

    def _open_layers(self, options: MountOptions) -> None:
        lowers, upper = list(options.lowers), options.upper
        if upper is not None and not options.writable:
            lowers.insert(0, upper)  # an upper that is only looked at is one more lower
            upper = None
        hidden = frozenset(_identity(path) for path in options.hidden)
        indexes = dict(options.indexes)
        for index, path in enumerate(lowers, 1):
            layer = self._lower_layer(open_lower(os.fsencode(path), options.live_lower), index)
            layer.hidden = hidden
            self.lowers.append(layer)
            if path in indexes:
                self._open_index(indexes[path], index)
        if upper is None or options.work is None:
            return
        layer = self._upper_layer(os.open(upper, _OPEN_ROOT))
        work = os.open(options.work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.upper = Upper(layer, work, patience=self.patience)
        except BaseException:
            os.close(work)
            raise

    def _namespace(self, options: MountOptions) -> Marks:
        return Marks(userxattr=options.userxattr)

    def _lower_layer(self, root: int, index: int) -> Layer:
        return Layer(root, index, self.marks, self.cache)

    def _upper_layer(self, root: int) -> Layer:
        return Layer(root, 0, self.marks, self.cache, is_upper=True)

    def _open_index(self, path: Path, place: int) -> None:
        try:
            root = open_lower(os.fsencode(path), live=False)
        except FileNotFoundError:
            return
        directory = Layer(root, place, self.marks, self.cache).root
        names = frozenset(name for name, kind in directory.list() if kind not in (None, stat.S_IFDIR))
        if names:
            self.indexes.insert(0, LowerIndex(directory, names))

    def stack(self, parts: Sequence[Directory], where: Sequence[Directory], name: bytes) -> list[Directory]:
        """The directories that make up ``name``: ``parts`` is its parent, ``where`` those of them that have it as one.

        Follows opaque and redirect marks (ovl_lookup in fs/overlayfs/namei.c). Never empty.
        """
        found: list[Directory] = []
        for directory in where:
            child = directory.child(name)
            found.append(child)
            if child.layer.index == len(self.lowers):
                break  # marks speak of the layers below, and there are none
            marks = child.marks()
            if marks.opaque:
                break
            if marks.redirect is not None:
                found.extend(self._redirected(parts, directory, marks.redirect))
                break
        return found

    def _redirected(self, parts: Sequence[Directory], directory: Directory, redirect: bytes) -> list[Directory]:
        below, name = self._redirect_base(parts, directory, redirect)
        return self._enter(below, name) if below else []

    def _redirect_base(
        self, parts: Sequence[Directory], directory: Directory, redirect: bytes
    ) -> tuple[list[Directory], bytes]:
        """Where a redirect found in ``directory`` leads: the parent in the layers below it, and the last name."""
        refused = redirects.refusal(redirect)
        if refused:
            raise error(refused)
        if not redirect.startswith(b"/"):
            return [part for part in parts if part.layer.index > directory.layer.index], redirect
        *path, name = redirect[1:].split(b"/")
        below = [layer.root for layer in self.lowers if layer.index > directory.layer.index]
        for component in path:
            below = self._enter(below, component)
        return below, name

    def _enter(self, parts: Sequence[Directory], name: bytes) -> list[Directory]:
        """The directory ``name`` in a merge of ``parts``, which is not a node's; empty where it is none."""
        where: list[Directory] = []
        for directory in parts:
            status = self._visible(directory, name)
            if status is None:
                continue
            if not stat.S_ISDIR(status.st_mode):
                break
            where.append(directory)
        return self.stack(parts, where, name) if where else []

    def _visible(self, directory: Directory, name: bytes) -> os.stat_result | None:
        """lstat of an entry of one layer, None where it is absent. A whiteout is what it is: no directory."""
        try:
            return directory.stat(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as failure:
            if failure.errno == errno.ENAMETOOLONG:
                return None
            raise

    def _indexed(self) -> set[bytes]:
        return self.upper.indexed if self.upper is not None else set()

    def origin_of(self, directory: Directory, name: bytes) -> tuple[origins.Origin, os.stat_result] | None:
        """The file that a copy carries as its origin, and that file's status; None where it is not in the lowers."""
        value = self.marks.get(directory.path_of(name), ondisk.ORIGIN)
        origin = origins.decode(value) if value else None
        if origin is None:
            return None
        for layer in self.lowers:
            if layer.uuid_of(layer.root) == origin.uuid:
                listing = layer.root.open_listing()
                try:
                    status = origins.locate(origin, listing)
                finally:
                    os.close(listing)
                if status is not None:
                    return origin, status
        return None

    def through_indexes(self, place: Place, status: os.stat_result, data: Place | None = None) -> LowerFile:
        """What a name of the lowers leads to where one of them was an upper: maybe a copy that its index has."""
        links_diff = 0
        for index in self.indexes if status.st_nlink > 1 else ():
            layer, above = place[0].layer, index.directory.layer
            if above.index == layer.index:  # it is a name of a copy itself, or of a new file
                origin = self.origin_of(*place)
                links_diff = self.links_diff(place, status, status if origin is None else origin[1])
            elif above.index < layer.index and (name := origin_name(place)) in index.names:
                below, status = status, index.directory.stat(name)
                links_diff = self.links_diff((index.directory, name), status, below)
                is_metacopy = self.marks.get(index.directory.path_of(name), ondisk.METACOPY) is not None
                place, data = (index.directory, name), (data or place) if is_metacopy else None
        return LowerFile(place, status, data, links_diff)

    def links_diff(self, place: Place, upper: os.stat_result, lower: os.stat_result) -> int:
        """The nlink mark, "U+1" or "L-2" (ovl_get_nlink in fs/overlayfs/util.c), relative to the upper's link count."""
        value = self.marks.get(place[0].path_of(place[1]), ondisk.NLINK)
        try:
            relative_to, diff = chr(value[0]), int(value[1:])  # type: ignore[index]
        except (TypeError, ValueError, IndexError):
            return 0
        return diff if relative_to == "U" else lower.st_nlink + diff - upper.st_nlink

    def _metacopy_data(
        self, parts: Sequence[Directory], name: bytes, directory: Directory, status: os.stat_result
    ) -> Place | None:
        if (
            not stat.S_ISREG(status.st_mode)
            or directory.layer.index == len(self.lowers)
            or not directory.marks().impure
        ):
            return None
        path = directory.path_of(name)
        if self.marks.get(path, ondisk.METACOPY) is None:
            return None
        place = self._data_below(parts, name, directory, self.marks.get(path, ondisk.REDIRECT))
        below = [part for part in parts if part.layer.index > directory.layer.index]
        if place is None and self.options.live_lower and below:
            return below[0], name  # it went away: the name remains, and an open says so
        if place is None:
            raise error(errno.EIO)  # as overlayfs: the attributes of a file whose data is nowhere
        return place

    def _data_below(
        self, parts: Sequence[Directory], name: bytes, directory: Directory | None, redirect: bytes | None
    ) -> Place | None:
        if directory is None:
            return None
        if redirect is not None:
            below, name = self._redirect_base(parts, directory, redirect)
        else:
            below = [part for part in parts if part.layer.index > directory.layer.index]
        for part in below:
            status = self._visible(part, name)
            if status is None:
                continue
            if not stat.S_ISREG(status.st_mode):
                return None
            deeper = part.layer.index < len(self.lowers) and part.marks().impure
            if not deeper or self.marks.get(part.path_of(name), ondisk.METACOPY) is None:
                found = self.through_indexes((part, name), status)
                return found.data or found.place
            again = self.marks.get(part.path_of(name), ondisk.REDIRECT)
            if again is not None:
                return self._data_below(below, name, part, again)
        return None


def origin_name(place: Place) -> bytes:
    """What the copy of a file is called in an index, empty where the file has no handle."""
    directory, name = place
    origin = origins.origin_of(directory.fd, name, directory.layer.uuid_of(directory))
    return origins.encode(origin).hex().encode() if origin else b""


def read_partial(marks: Marks, attributes: Place, lower: Place) -> Partial | None:
    """Which parts of a metacopy's data are beside its attributes; None where none are."""
    value = marks.get(attributes[0].path_of(attributes[1]), ondisk.PARTIAL)
    if value is None or not value.isdigit():
        return None
    upper = os.open(attributes[1], _READ, dir_fd=attributes[0].fd)
    try:
        written = Extents()
        for start, end in data.extents(upper, os.fstat(upper).st_size):
            written.add(start // BLOCK * BLOCK, -(-end // BLOCK) * BLOCK)
    finally:
        os.close(upper)
    return Partial(os.open(lower[1], _READ, dir_fd=lower[0].fd), int(value), written)


def open_lower(path: bytes, live: bool) -> int:
    """The top of a lower, where the kernel lets us by a private read-only mount; ``live``: with the mounts in it."""
    try:
        root = syscalls.clone_read_only(path, recursive=live)
    except OSError as failure:
        if failure.errno not in (errno.EPERM, errno.ENOSYS, errno.EINVAL):
            raise OSError(failure.errno, failure.strerror, path) from None
        return os.open(path, _OPEN_ROOT)  # without privilege, or an old kernel
    if not stat.S_ISDIR(os.fstat(root).st_mode):
        os.close(root)
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return root


def _identity(path: os.PathLike[str]) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return (status.st_dev, status.st_ino)
