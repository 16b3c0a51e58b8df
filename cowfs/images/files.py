"""Where the documents and blobs of an image are read from: a directory, or a tar that is used in place.

Both give :class:`File` objects by name. What they hold is not trusted: only regular files are opened, and who reads
checks sizes and digests.
"""

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

from cowfs.errors import BrokenImage
from cowfs.images import limits
from cowfs.images.compression import MAGIC_SIZE, Compression, decompress, sniff
from cowfs.images.tarheader import BadTar
from cowfs.images.tarstream import TarReader, Type

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK = 64 << 10
_LINKS = 8  # that lead from one name of an archive to another
_MEMBERS = 100_000  # of an archive


class File:
    """``size`` bytes of an open file, from ``offset`` on. Iterating gives chunks."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd = fd
        self._start = offset
        self._at = offset
        self._end = offset + size
        self.size = size

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, b"" at the end."""
        data = os.pread(self._fd, min(size, self._end - self._at), self._at)
        self._at += len(data)
        return data

    def skip(self, size: int) -> None:
        """Leave out ``size`` bytes; beyond the end there is nothing to read."""
        self._at = min(self._at + size, self._end)

    def fill(self, chunks: Iterable[bytes]) -> None:
        """Write an empty file, to be read from its beginning."""
        with open(self._fd, "wb", closefd=False) as file:
            for chunk in chunks:
                file.write(chunk)
                self.size += len(chunk)
        self._end = self.size

    def part(self, offset: int, size: int) -> "File":
        """``size`` bytes of it, with a descriptor of its own."""
        return File(os.dup(self._fd), self._start + offset, size)

    def discard(self) -> bool:
        """Nothing is kept of it: reading it again would give the same."""
        return False

    def close(self) -> None:
        """Let the descriptor go. Twice does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(_CHUNK), b"")

    def __enter__(self) -> "File":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Files(Protocol):
    """Files by name."""

    def open(self, name: str) -> File:
        """Raises BrokenImage if there is no such file."""


def read_document(files: Files, name: str, what: str) -> bytes:
    """All bytes of a small file, which is called ``what`` in messages. Raises BrokenImage."""
    with files.open(name) as file:
        if file.size > limits.DOCUMENT:
            raise BrokenImage(f"the {what} is larger than {limits.DOCUMENT} bytes")
        return b"".join(file)


class DirectoryFiles:
    """The files below a directory. Names are ours or made of checked digests."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, name: str) -> File:
        """The regular file ``name``; symbolic links are followed, as build tools make layouts of them."""
        path = self._path / name
        try:
            return open_file(path)
        except OSError as error:
            raise BrokenImage(f"{path} cannot be read: {error.strerror}") from None


class ArchiveFiles:
    """The members of a tar that is not compressed, found by reading its headers once."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._members: dict[bytes, tuple[int, int]] = {}  # offset and size
        self._links: dict[bytes, bytes] = {}
        self._read_headers()

    def open(self, name: str) -> File:
        """The member ``name``; links lead to other members only."""
        member = _member(os.fsencode(name))
        for _ in range(_LINKS):
            if member not in self._links:
                break
            member = self._links[member]
        if member not in self._members:
            raise BrokenImage(f"the archive has no {name!r}")
        offset, size = self._members[member]
        return self._file.part(offset, size)

    def close(self) -> None:
        """Let the archive go."""
        self._file.close()

    def _read_headers(self) -> None:
        reader = TarReader(self._file)
        for entry in reader:
            name = _member(entry.name)
            if entry.type is Type.SYMLINK:
                self._links[name] = _member(posixpath.join(posixpath.dirname(name), entry.link))
            elif entry.type is Type.HARD_LINK:
                self._links[name] = _member(entry.link)
            elif entry.type is Type.FILE and entry.regions is None:
                if name in self._members:
                    raise BadTar(f"{name.decode('utf-8', 'backslashreplace')!r} is there twice")
                self._members[name] = (reader.position, entry.size)
            if len(self._members) + len(self._links) > _MEMBERS:
                raise BadTar(f"an archive of more than {_MEMBERS} members")


def open_archive(path: Path, scratch_file: Callable[[], int]) -> ArchiveFiles:
    """The tar ``path``. Members are read in any order, so a compressed one is unpacked into a file without a name.

    Raises BadTar, BadCompression, BrokenImage.
    """
    try:
        file = open_file(path)
    except OSError as error:
        raise BrokenImage(f"{path} cannot be read: {error.strerror}") from None
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(file.close)
        with file.part(0, MAGIC_SIZE) as start:
            compression = sniff(start.read(MAGIC_SIZE))
        if compression is not Compression.NONE:
            plain = File(scratch_file(), 0, 0)
            on_failure.callback(plain.close)
            plain.fill(decompress(file.read, compression))
            file.close()
            file = plain
        archive = ArchiveFiles(file)
        on_failure.pop_all()
    return archive


def open_file(path: Path) -> File:
    """The regular file ``path``. Raises OSError."""
    fd = os.open(path, _OPEN)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return File(fd, 0, found.st_size)


def _member(name: bytes) -> bytes:
    """One spelling for each member. These names never reach a file system."""
    return posixpath.normpath(b"/" + name).lstrip(b"/")
