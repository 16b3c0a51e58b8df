"""The words of cowfs as values: no I/O, imported by everything.

A *layer* is a directory tree in overlayfs's format; *lowers* are read-only layers, the *upper* takes the changes;
the *merged* tree is what a mount shows. A *base* is what a command line names as IMAGE. A *run* is one
command in a throw-away copy of a base, and what is kept of it.
"""

import stat as stat_bits
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple


class Attr(NamedTuple):
    """The attributes of one file of the merged tree: ``struct stat`` with times in integer nanoseconds."""

    ino: int
    mode: int  # type and permission bits, as st_mode
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int  # bytes
    blocks: int  # 512-byte units
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class Kind(Enum):
    """The type of a file, in the words that the command lines and JSON use."""

    __hash__ = object.__hash__  # members are one each; enum's own hash is a call of Python

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    CHAR = "char"
    BLOCK = "block"
    FIFO = "fifo"
    SOCKET = "socket"

    @classmethod
    def of(cls, mode: int) -> "Kind":
        """The kind that the type bits of ``mode`` (st_mode) say."""
        return _KINDS[stat_bits.S_IFMT(mode)]


_KINDS = {
    stat_bits.S_IFREG: Kind.FILE,
    stat_bits.S_IFDIR: Kind.DIRECTORY,
    stat_bits.S_IFLNK: Kind.SYMLINK,
    stat_bits.S_IFCHR: Kind.CHAR,
    stat_bits.S_IFBLK: Kind.BLOCK,
    stat_bits.S_IFIFO: Kind.FIFO,
    stat_bits.S_IFSOCK: Kind.SOCKET,
}


class ImageConfig(NamedTuple):
    """The part of an OCI image config that decides how a command starts (image-spec, config.md)."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()  # "NAME=value"; entries without "=" were dropped
    user: str = ""
    working_dir: str = ""
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    labels: Mapping[str, str] = MappingProxyType({})


class LayerInfo(NamedTuple):
    """One layer of a base. ``number`` counts from the bottom, from 1, as an image's history does."""

    number: int
    directory: Path  # the tree itself, in overlayfs's format
    diff_id: str = ""  # "sha256:<64 hex>", empty for a plain directory
    size: int = 0  # bytes of the uncompressed tar, 0 if not known
    created_by: str = ""  # the history line that made it, empty if not known
    foreign: bool = False  # it lies in another program's store
    opaque: bool = False  # its root hides all layers below, which overlayfs has no mark for
    empty: bool = False  # it has no entries, not even a root: its directory must not give one to the merge


def shown_layers(layers: Sequence[LayerInfo]) -> tuple[LayerInfo, ...]:
    """Of ``layers``, bottom first, those that a mount needs.

    Left out are those that hold nothing, and those of which an opaque root above hides everything.
    """
    top = max((place for place, layer in enumerate(layers) if layer.opaque), default=0)
    return tuple(layer for place, layer in enumerate(layers) if place >= top and not layer.empty)


class Step(NamedTuple):
    """A line of an image's history."""

    created_by: str  # empty if not known
    layer: int | None  # the number of the layer that it made


class Base(NamedTuple):
    """What a source on a command line resolved to: layers, and how a command starts in them."""

    source: str  # as typed
    layers: tuple[LayerInfo, ...]  # bottom first
    config: ImageConfig = ImageConfig()
    digest: str = ""  # the manifest's digest, empty for directories
    host: bool = False  # the layers are the machine's own root
    live: bool = False  # they may change underneath: that root, or a run that goes on
    hidden: tuple[Path, ...] = ()  # directories of the layers that appear empty
    steps: tuple[Step, ...] = ()  # how it was built; empty for what is no image

    @property
    def lowers(self) -> tuple[Path, ...]:
        """The layer directories, the top one first, as MountOptions wants them."""
        return tuple(layer.directory for layer in reversed(self.layers))


class RunState(Enum):
    """Where a run is in its life. ``LOST`` is a run whose launcher was killed before it could seal it."""

    RUNNING = "running"
    DISCARDED = "discarded"
    LOST = "lost"
    STOPPED = "stopped"  # a container of another engine, which may start it again


class Mounted(NamedTuple):
    """What a run had mounted over the merge."""

    target: str  # path inside
    kind: str  # "volume", "injected", or a file system: "proc", "tmpfs" ...
    source: str = ""  # of a volume: the path on the host
    read_only: bool = False


class Run(NamedTuple):
    """What is kept of one run (run.json, docs/format.md). Times are seconds since the epoch."""

    id: str  # 12 hex digits, also the hostname
    directory: Path
    source: str
    lowers: tuple[Path, ...]  # top first, absolute
    command: tuple[str, ...]
    name: str = ""
    digest: str = ""
    host: bool = False
    env_names: tuple[str, ...] = ()  # without values: they hold secrets
    hidden: tuple[Path, ...] = ()  # directories of the lowers that appeared empty inside
    volumes: tuple[str, ...] = ()  # paths inside that were not part of the merge
    mounts: tuple[Mounted, ...] = ()  # the same, and what was there
    read_only: bool = False  # the root could not be written
    started: float = 0.0
    ended: float | None = None
    exit_status: int | None = None
    size: int | None = None  # bytes on the disk of what it changed; known once it is sealed
    pinned: bool = False  # by a person: no budget removes it
    applied: bool = False  # to its base, and can be taken back
    state: RunState = RunState.RUNNING
    engine: str = ""  # of a Container: "podman", "docker"
    typed: str = ""  # of a Container: engine:NAME, or engine:[ROOT]NAME
    tree: Path = Path()  # of a Built
    engines: bool = False  # of a Built: its layers lie in another engine's store

    @property
    def title(self) -> str:
        """What it is called in a sentence."""
        return f"run {self.id}"

    @property
    def token(self) -> str:
        """What a person types for it."""
        return self.id

    @property
    def foreign(self) -> bool:
        """Do its layers lie in another engine's store, where fuse-overlayfs's marks count, too?"""
        return False

    @property
    def upper(self) -> Path:
        """The directory that holds the changes, in overlayfs's format."""
        return self.directory / "upper"

    @property
    def journal(self) -> Path:
        """The file that says who changed what, when; it need not be there."""
        return self.directory / "journal"

    @property
    def work(self) -> Path:
        """overlayfs's work directory, on the same file system as the upper."""
        return self.directory / "work"


class Container(Run):
    """A container of another engine, seen as a run. What it changed lies in that engine's store, and is only read.

    ``directory`` is that of its topmost layer there; ``id`` the first 12 hex digits of its own.
    """

    __slots__ = ()

    @property
    def title(self) -> str:
        """What it is called in a sentence."""
        return f"container {self.name or self.id}"

    @property
    def token(self) -> str:
        """What a person types for it."""
        return self.typed

    @property
    def foreign(self) -> bool:
        """They do."""
        return True

    @property
    def upper(self) -> Path:
        """The directory that holds the changes, in overlayfs's format."""
        return self.directory / "diff"

    @property
    def journal(self) -> Path:
        """The file that says who changed what, when; it need not be there."""
        return self.work / "cowfs" / "journal"


class Built(Run):
    """A layer of an image, seen as a run over the layers below it."""

    __slots__ = ()

    @property
    def foreign(self) -> bool:
        """Do its layers lie in another engine's store?"""
        return self.engines

    @property
    def upper(self) -> Path:
        """The directory that holds the changes, in overlayfs's format."""
        return self.tree
