"""The tar of a layer without the data of its files, kept beside the tree: together they give the exact tar again.

    tar          header  pax header  data of a file     padding  header ...  two blocks of zeros
    skeleton     header  pax header                     padding  header ...  two blocks of zeros
    tree                             the file at its path

So the DiffID of a layer that leaves the store is the one with which it came, whatever wrote it, and no byte is stored
twice. Data that is in no file (of whiteouts, of what the unpacker ignores) is in the skeleton. Written by the importer,
read by who exports, pushes or checks a layer.
"""

import math
import os
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO

from cowfs.images import paths
from cowfs.images.compression import Compression, decompress, gzip_writer
from cowfs.images.paths import Mark
from cowfs.images.tarheader import BadTar
from cowfs.images.tarstream import Entry, TarReader, Type
from cowfs.store.descent import Descent

_FLUSH = 256 << 10  # bytes
_PIECE = 512 << 10
_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Recorder:
    """Writes a skeleton, packed, to a file that stays the caller's."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pack = gzip_writer()
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes | memoryview) -> None:
        """The next bytes; a view is copied, as its chunk is not kept."""
        self._pieces.append(bytes(piece))
        self._size += len(piece)
        if self._size > _FLUSH:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._pack.compress(b"".join(self._pieces)))
        self._pieces.clear()
        self._size = 0

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self._flush()
            self._file.write(self._pack.flush())


def has_file_data(entry: Entry) -> bool:
    """True if the unpacker makes a file of the entry's data."""
    return entry.type is Type.FILE and paths.place(entry.name).mark is Mark.NONE


def rebuild(packed: BinaryIO, root_fd: int) -> Iterator[bytes]:
    """The tar of the layer with the skeleton ``packed`` and the tree ``root_fd``, in large pieces.

    Its digest must be the DiffID. Raises BadTar, BadPath, BadCompression and OSError where skeleton or tree are not
    what they were.
    """
    pieces: list[bytes] = []
    size = 0
    for piece in _rebuild(packed, root_fd):
        pieces.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield b"".join(pieces)
            pieces.clear()
            size = 0
    yield b"".join(pieces)


def _rebuild(packed: BinaryIO, root_fd: int) -> Iterator[bytes]:
    recorded: list[bytes] = []
    plain = decompress(packed.read, Compression.GZIP, ratio=math.inf)
    with Descent(root_fd) as directories:
        reader = TarReader(plain, lambda piece: recorded.append(bytes(piece)))
        for entry in reader:
            yield from recorded
            recorded.clear()
            if entry.size and has_file_data(entry):
                yield from _data(directories, entry)
                reader.without_data()
        yield from recorded


def _data(directories: Descent, entry: Entry) -> Iterator[bytes]:
    place = paths.place(entry.name)
    fd = os.open(place.name, _READ, dir_fd=directories.directory(place.parent))
    try:
        for offset, length in entry.regions if entry.regions is not None else [(0, entry.size)]:
            end = offset + length
            while offset < end:
                piece = os.pread(fd, min(end - offset, _CHUNK), offset)
                if not piece:
                    raise BadTar(f"a file of the tree is too short: {entry.name[:200]!r}")
                yield piece
                offset += len(piece)
    finally:
        os.close(fd)
