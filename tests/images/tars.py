"""Writes tars byte by byte, right ones and wrong ones. Shares nothing with the reader under test, nor with tarfile."""

from collections.abc import Iterable, Mapping

BLOCK = 512
END = bytes(2 * BLOCK)
TIME = 1_700_000_000

FILE, HARD_LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"


def padded(data: bytes) -> bytes:
    """``data`` filled up to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def octal(value: int, width: int) -> bytes:
    """A numeric field; GNU's base-256 where octal digits are too few."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return bytes([0xFF if value < 0 else 0x80]) + value.to_bytes(width - 1, "big", signed=value < 0)


def header(
    name: bytes,
    kind: bytes = FILE,
    *,
    size: int | bytes = 0,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = TIME,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One header block. Fields given as bytes are written as they are."""
    size_field = size if isinstance(size, bytes) else octal(size, 12)
    before = b"".join(
        (
            name.ljust(100, b"\0"),
            octal(mode, 8),
            octal(uid, 8),
            octal(gid, 8),
            size_field.ljust(12, b"\0"),
            octal(mtime, 12),
        )
    )
    owners = bytes(64)
    numbers = octal(device[0], 8) + octal(device[1], 8)
    after = kind + link.ljust(100, b"\0") + magic + owners + numbers + prefix.ljust(155, b"\0") + bytes(12)
    total = sum(before) + sum(after) + 8 * ord(" ")
    block = before + (b"%06o\0 " % total if checksum is None else checksum) + after
    assert len(block) == BLOCK, "a field is too long"
    return block


def pax_record(key: bytes, value: bytes) -> bytes:
    """``"%d key=value\\n"`` with its own length in front."""
    size = len(key) + len(value) + 3
    digits = len(str(size))
    while len(str(size + digits)) != digits:
        digits += 1
    return b"%d %b=%b\n" % (size + digits, key, value)


def pax(records: Iterable[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    """A pax header with its data."""
    data = b"".join(pax_record(key, value) for key, value in records)
    return header(b"PaxHeaders/x", kind, size=len(data)) + padded(data)


def entry(
    name: bytes,
    kind: bytes = FILE,
    data: bytes = b"",
    *,
    mode: int | None = None,
    uid: int = 0,
    gid: int = 0,
    time_ns: int = TIME * 10**9,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[bytes, bytes] | None = None,
    records: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """One entry, with a pax header where ustar is too small for it."""
    pairs = [(b"SCHILY.xattr." + key, value) for key, value in (xattrs or {}).items()] + list(records)
    if len(name) > 100:
        pairs.append((b"path", name))
    if len(link) > 100:
        pairs.append((b"linkpath", link))
    seconds, fraction = divmod(time_ns, 10**9)
    if fraction:
        pairs.append((b"mtime", _decimal(time_ns)))
    if mode is None:
        mode = 0o755 if kind == DIRECTORY else 0o644
    fields = {"size": len(data), "mode": mode, "uid": uid, "gid": gid, "mtime": seconds, "device": device}
    block = header(name[:100], kind, link=link[:100], **fields)  # type: ignore[arg-type]
    return (pax(pairs) if pairs else b"") + block + padded(data)


def tar(*entries: bytes) -> bytes:
    """A whole archive."""
    return b"".join(entries) + END


def whiteout(path: bytes) -> bytes:
    """The entry that deletes ``path`` below."""
    directory, slash, name = path.rpartition(b"/")
    return entry(directory + slash + b".wh." + name)


def opaque(directory: bytes = b"") -> bytes:
    """The entry that hides all that is below ``directory``."""
    return entry((directory + b"/" if directory else b"") + b".wh..wh..opq")


def _decimal(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    return sign + b"%d.%09d" % divmod(abs(nanoseconds), 10**9)
