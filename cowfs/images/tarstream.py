"""The reader of layers: a tar stream in, entries with their data out. Bounded and strict; used by the unpacker and by
archives of images.

    reader = TarReader(chunks)
    for entry in reader:
        for offset, piece in reader.data(): ...     # of that entry, before the next one is asked for

It knows ustar, pax (global headers and sparse files too), GNU long names and Unix V7, and keeps names as bytes.
Refused, as BadTar: whatever cannot be understood, what two readers would understand differently, a stream that ends
without the two blocks of zeros, and anything but zeros after them. Memory is bounded whatever a header claims.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from cowfs.images import limits, sparse
from cowfs.images.tarheader import (
    BLOCK,
    ZEROS,
    BadTar,
    Header,
    parse_header,
    parse_pax,
    pax_number,
    pax_size,
    pax_text,
    pax_time,
)

_XATTR = b"SCHILY.xattr."
_Records = list[tuple[bytes, bytes]]


class Type(Enum):
    """What an entry makes."""

    FILE = b"0"
    HARD_LINK = b"1"
    SYMLINK = b"2"
    CHAR = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


_TYPES = {kind.value: kind for kind in Type} | {b"\0": Type.FILE, b"7": Type.FILE}


@dataclass(slots=True)
class Entry:
    """One entry, all its headers taken together. Names are as written; times are nanoseconds."""

    type: Type
    name: bytes
    link: bytes
    mode: int  # permission bits, setuid, setgid and sticky
    uid: int
    gid: int
    mtime_ns: int
    atime_ns: int
    size: int  # of the file that it makes
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    regions: list[tuple[int, int]] | None = None  # of a sparse file: where the data goes


class TarReader:
    """Iterates over the entries of one stream of chunks. BadTar says where the stream is wrong.

    Chunks that can ``skip`` (cowfs.images.files.File) are not read where nobody asks for the data. ``record`` gets all
    bytes of the stream in order, but those that ``data`` yields.
    """

    def __init__(self, chunks: Iterable[bytes], record: Callable[[bytes | memoryview], object] | None = None) -> None:
        self._chunks = iter(chunks)
        self._record = record
        self._skip_chunks: Callable[[int], None] | None = getattr(chunks, "skip", None)
        self._chunk = memoryview(b"")
        self._at = 0  # in the chunk
        self._before = 0  # bytes of the stream before the chunk
        self._global: dict[bytes, bytes] = {}
        self._left = 0  # bytes of data of the entry that were not read
        self._padding = 0
        self._entry: Entry | None = None

    @property
    def position(self) -> int:
        """Bytes of the stream that were read."""
        return self._before + self._at

    def __iter__(self) -> Iterator[Entry]:
        """The entries. Data that was not asked for is skipped."""
        try:
            while (entry := self._next()) is not None:
                self._entry = entry
                yield entry
                self._skip(self._left)
                self._skip(self._padding)
            self._expect_end()
        except BadTar as error:
            raise BadTar(f"{error} (before byte {self.position} of the tar)") from None

    def data(self) -> Iterator[tuple[int, memoryview]]:
        """The data of the present entry: pieces, and where in the file each one goes."""
        assert self._entry is not None
        regions = self._entry.regions
        for offset, length in [(0, self._left)] if regions is None else regions:
            at = offset
            for piece in self._take(length):
                self._left -= len(piece)
                yield at, piece
                at += len(piece)

    def without_data(self) -> None:
        """The stream lacks the data of the present entry: a skeleton (cowfs.images.skeleton)."""
        self._left = 0

    # --- headers

    def _next(self) -> Entry | None:
        """The next entry with all headers that belong to it; None at the first block of zeros."""
        records: _Records | None = None
        long_names: dict[bytes, bytes] = {}
        while True:
            block = self._block()
            if block == ZEROS:
                if records is not None or long_names:
                    raise BadTar("a header belongs to no entry")
                return None
            header = parse_header(block)
            if header.type == b"x":
                if records is not None:
                    raise BadTar("an entry has two pax headers")
                records = parse_pax(self._header_data(header, limits.PAX))
            elif header.type == b"g":
                self._add_global(parse_pax(self._header_data(header, limits.PAX)))
            elif header.type in (b"L", b"K"):
                if header.type in long_names:
                    raise BadTar("an entry has two long names")
                long_names[header.type] = _long_name(self._header_data(header, limits.PATH + 1))
            else:
                return self._make(header, records or [], long_names)

    def _header_data(self, header: Header, limit: int) -> bytes:
        if header.size > limit:
            raise BadTar(f"a header is larger than {limit} bytes")
        data = self._read(header.size)
        self._read(-header.size % BLOCK)
        return data

    def _add_global(self, records: _Records) -> None:
        """What holds for all entries that follow; what names one file cannot."""
        for key, value in records:
            if key in (b"path", b"linkpath", b"size") or key.startswith(sparse.PREFIX):
                raise BadTar("a global header names a single file")
            self._global[key] = value
        if sum(len(key) + len(value) for key, value in self._global.items()) > limits.PAX:
            raise BadTar("the global headers are too large")

    def _make(self, header: Header, records: _Records, long_names: dict[bytes, bytes]) -> Entry:
        kind = _TYPES.get(header.type)
        if kind is None:
            raise BadTar(f"an entry of type {header.type!r}, which is not supported")
        entry = Entry(
            type=kind,
            name=long_names.get(b"L", header.name),
            link=long_names.get(b"K", header.link),
            mode=header.mode,
            uid=header.uid,
            gid=header.gid,
            mtime_ns=header.mtime * 1_000_000_000,
            atime_ns=header.mtime * 1_000_000_000,
            size=header.size,
            major=header.major,
            minor=header.minor,
        )
        if records or self._global:
            _apply(entry, {**self._global, **dict(records)}, header)
        if kind is Type.FILE and entry.name.endswith(b"/"):
            # Unix V7 had no type for directories
            if header.type != b"\0":
                raise BadTar("a file has the name of a directory")
            entry.type = Type.DIRECTORY
        self._start_data(entry, records)
        return _checked(entry)

    def _start_data(self, entry: Entry, records: _Records) -> None:
        if entry.size and entry.type is not Type.FILE:
            raise BadTar("an entry that is no file has data")
        self._left = entry.size
        self._padding = -entry.size % BLOCK
        if not records or entry.type is not Type.FILE:
            return
        found = sparse.from_records(records, entry.size, self._block)
        if found is not None:
            shape, taken = found
            self._left -= taken
            entry.size = shape.size
            entry.regions = shape.regions

    def _expect_end(self) -> None:
        if self._block() != ZEROS:
            raise BadTar("a single block of zeros in the middle")
        while self._more():
            rest = self._chunk[self._at :]
            if rest != bytes(len(rest)):
                raise BadTar("something follows the end of the archive")
            if self._record is not None:
                self._record(rest)
            self._at = len(self._chunk)

    # --- bytes

    def _more(self) -> bool:
        """True if there are bytes to read in the present chunk, after a new one was fetched if need be."""
        while self._at == len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._before += self._at
            self._chunk = memoryview(chunk)
            self._at = 0
        return True

    def _block(self) -> bytes:
        at = self._at
        if at + BLOCK <= len(self._chunk):
            self._at = at + BLOCK
            block = bytes(self._chunk[at : at + BLOCK])
            if self._record is not None:
                self._record(block)
            return block
        return self._read(BLOCK)

    def _read(self, size: int) -> bytes:
        data = b"".join(self._take(size))
        if self._record is not None:
            self._record(data)
        return data

    def _take(self, size: int) -> Iterator[memoryview]:
        """``size`` bytes in pieces that are parts of the chunks."""
        while size:
            if not self._more():
                raise BadTar("the stream ends too early")
            piece = self._chunk[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def _skip(self, size: int) -> None:
        if self._record is not None:
            for piece in self._take(size):
                self._record(piece)
            return
        here = min(size, len(self._chunk) - self._at)
        self._at += here
        if self._skip_chunks is not None and size > here:
            self._skip_chunks(size - here)
            self._before += size - here
        else:
            for _ in self._take(size - here):
                pass


def _apply(entry: Entry, found: dict[bytes, bytes], header: Header) -> None:
    """What pax records say instead of the header. An empty value takes a record back (POSIX pax, "Extended Header")."""
    for key, value in found.items():
        if key.startswith(_XATTR):
            entry.xattrs[key[len(_XATTR) :]] = value
        elif not value:
            continue
        elif key == b"path":
            entry.name = pax_text(value)
        elif key == b"linkpath":
            entry.link = pax_text(value)
        elif key == b"size":
            entry.size = pax_size(value, header.size)
        elif key == b"uid":
            entry.uid = pax_number(value, "uid")
        elif key == b"gid":
            entry.gid = pax_number(value, "gid")
        elif key == b"mtime":
            entry.mtime_ns = pax_time(value)
            if b"atime" not in found:
                entry.atime_ns = entry.mtime_ns
        elif key == b"atime":
            entry.atime_ns = pax_time(value)
    if name := found.get(sparse.NAME):
        entry.name = pax_text(name)


def _checked(entry: Entry) -> Entry:
    if entry.uid > limits.OWNER or entry.gid > limits.OWNER:
        raise BadTar("an owner is larger than any uid")
    if max(abs(entry.mtime_ns), abs(entry.atime_ns)) > limits.SECONDS * 1_000_000_000:
        raise BadTar("a time is out of every range")
    if entry.xattrs:
        if any(not name or len(name) > limits.COMPONENT or b"\0" in name for name in entry.xattrs):
            raise BadTar("an extended attribute has an impossible name")
        if sum(len(name) + len(value) for name, value in entry.xattrs.items()) > limits.XATTRS:
            raise BadTar(f"an entry has more than {limits.XATTRS} bytes of extended attributes")
    if entry.type in (Type.SYMLINK, Type.HARD_LINK) and not entry.link:
        raise BadTar("a link has no target")
    if entry.type is Type.SYMLINK and len(entry.link) > limits.TARGET:
        raise BadTar(f"the target of a link is longer than {limits.TARGET} bytes")
    return entry


def _long_name(data: bytes) -> bytes:
    """GNU's long name: a NUL ends it."""
    return pax_text(data.removesuffix(b"\0"))
