"""The writer of layers: an entry as :mod:`cowfs.images.tarstream` reads it becomes its header bytes. Values only.

One spelling for each entry, so that the same tree becomes the same tar: ustar, and a pax header exactly where ustar is
too small (long names, nanoseconds, big owners and sizes, extended attributes in order). A file with regions is written
in GNU's sparse format 1.0, which Go's reader knows, and so docker and podman.
"""

from struct import Struct

from cowfs.images.tarheader import BLOCK
from cowfs.images.tarstream import Entry, Type

END = bytes(2 * BLOCK)
_FIELDS = Struct("100s8s8s8s12s12s8sc100s8s32x32x8s8s155x12x")
_NAME = 100  # bytes of the field
_PAX_NAME = b"PaxHeaders/entry"
_SPACES = b" " * 8


def padding(size: int) -> bytes:
    """What follows ``size`` bytes of data."""
    return bytes(-size % BLOCK)


def headers(entry: Entry) -> bytes:
    """All that comes before the data of ``entry``. Its data are its regions, or ``size`` bytes; then ``padding``.

    Times of access are not written.
    """
    records: list[tuple[bytes, bytes]] = []
    name, size, sparse_map = entry.name, entry.size if entry.type is Type.FILE else 0, b""
    if entry.regions is not None:
        sparse_map = _sparse_map(entry)
        records += [
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", name),
            (b"GNU.sparse.realsize", b"%d" % size),
        ]
        name = b"GNUSparseFile/" + name[-_NAME:].rpartition(b"/")[2]
        size = len(sparse_map) + sum(length for _, length in entry.regions)
    seconds, nanoseconds = divmod(entry.mtime_ns, 1_000_000_000)
    if nanoseconds or not _fits(seconds, 12):
        records.append((b"mtime", _decimal(entry.mtime_ns)))
    numbers = ((b"uid", entry.uid, 8), (b"gid", entry.gid, 8), (b"size", size, 12))
    records += [(key, b"%d" % value) for key, value, width in numbers if not _fits(value, width)]
    texts = ((b"path", name), (b"linkpath", entry.link))
    records += [(key, value) for key, value in texts if len(value) > _NAME]
    records += [(b"SCHILY.xattr." + key, value) for key, value in sorted(entry.xattrs.items())]
    block = _block(
        name[:_NAME], entry.type.value, entry.link[:_NAME], size, entry.mode, entry.uid, entry.gid, seconds,
        entry.major, entry.minor,
    )  # fmt: skip
    return (_pax(records) if records else b"") + block + sparse_map


def stored_size(entry: Entry) -> int:
    """Bytes of the file's data that follow the headers, without padding."""
    if entry.type is not Type.FILE:
        return 0
    return entry.size if entry.regions is None else sum(length for _, length in entry.regions)


def _sparse_map(entry: Entry) -> bytes:
    """The regions as the format has them: a count and the numbers, one a line, padded to whole blocks.

    A last region without a length says where the file ends, as GNU tar writes it.
    """
    regions = list(entry.regions or [])
    if not regions or sum(regions[-1]) != entry.size:
        regions.append((entry.size, 0))
    lines = b"".join(b"%d\n%d\n" % region for region in regions)
    text = b"%d\n" % len(regions) + lines
    return text + padding(len(text))


def _pax(records: list[tuple[bytes, bytes]]) -> bytes:
    data = b"".join(_record(key, value) for key, value in records)
    return _block(_PAX_NAME, b"x", b"", len(data), 0o644, 0, 0, 0, 0, 0) + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    """``"%d key=value\\n"``, the number being the length of it all, its own digits too."""
    rest = len(key) + len(value) + 3
    size = rest + len(b"%d" % rest)
    size = rest + len(b"%d" % size)
    return b"%d %b=%b\n" % (size, key, value)


def _block(
    name: bytes, kind: bytes, link: bytes, size: int, mode: int, uid: int, gid: int, mtime: int, major: int, minor: int
) -> bytes:
    """One header. Numbers that do not fit are 0: a pax record has them."""
    before = (name, _octal(mode, 8), _octal(uid, 8), _octal(gid, 8), _octal(size, 12), _octal(mtime, 12))
    after = (kind, link, b"ustar\x0000", _octal(major, 8), _octal(minor, 8))
    block = bytearray(_FIELDS.pack(*before, _SPACES, *after))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _fits(value: int, width: int) -> bool:
    return 0 <= value < 1 << 3 * (width - 1)


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value if _fits(value, width) else 0)


def _decimal(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    whole, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    return sign + b"%d" % whole + (b".%09d" % fraction).rstrip(b"0").rstrip(b".")
