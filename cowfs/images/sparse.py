"""GNU's sparse files in pax archives, formats 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files").

Values only. The old GNU type "S" is refused by the reader: docker and podman refuse it as well.
"""

from collections.abc import Callable
from typing import NamedTuple

from cowfs.images import limits
from cowfs.images.tarheader import BLOCK, BadTar, pax_number

PREFIX = b"GNU.sparse."
NAME = b"GNU.sparse.name"
_OFFSET = b"GNU.sparse.offset"
_NUMBYTES = b"GNU.sparse.numbytes"


class Sparse(NamedTuple):
    """``regions`` are (offset, length) of the stored data, ascending; ``size`` is the file's."""

    size: int
    regions: list[tuple[int, int]]
    stored: int  # bytes of the regions


def from_records(
    records: list[tuple[bytes, bytes]], stored: int, read_block: Callable[[], bytes]
) -> tuple[Sparse, int] | None:
    """The map of an entry with ``stored`` bytes of data, and the bytes of data that the map itself took.

    None if the records describe no sparse file. ``read_block`` reads the data of the entry, for format 1.0.
    """
    found = {key: value for key, value in records if key.startswith(PREFIX)}
    if not found:
        return None
    taken = 0
    version = (found.get(PREFIX + b"major"), found.get(PREFIX + b"minor"))
    if version == (b"1", b"0"):
        size = _needed(found, b"realsize")
        numbers, taken = _read_map(stored, read_block)
    elif version in ((None, None), (b"0", b"0"), (b"0", b"1")):
        size = _needed(found, b"size")
        numbers = _numbers_of(records, found.get(PREFIX + b"map"))
        if PREFIX + b"numblocks" in found and 2 * _needed(found, b"numblocks") != len(numbers):
            raise BadTar("a sparse map has the wrong length")
    else:
        raise BadTar("an unknown format of sparse files")
    return _check(size, numbers, stored - taken), taken


def _needed(found: dict[bytes, bytes], key: bytes) -> int:
    return pax_number(found.get(PREFIX + key, b""), "sparse " + key.decode())


def _numbers_of(records: list[tuple[bytes, bytes]], text: bytes | None) -> list[int]:
    if text is not None:
        return [pax_number(part, "sparse map") for part in text.split(b",")] if text else []
    pairs = [(key, value) for key, value in records if key in (_OFFSET, _NUMBYTES)]
    if any(key != (_OFFSET, _NUMBYTES)[place % 2] for place, (key, _) in enumerate(pairs)):
        raise BadTar("a sparse map is out of order")
    return [pax_number(value, "sparse map") for _, value in pairs]


def _read_map(stored: int, read_block: Callable[[], bytes]) -> tuple[list[int], int]:
    """Format 1.0: a count and the numbers, one a line, padded to blocks, in front of the data."""
    text = b""
    count = None
    while count is None or text.count(b"\n") < 1 + 2 * count:
        if len(text) + BLOCK > min(stored, limits.PAX):
            raise BadTar("a sparse map does not end")
        text += read_block()
        if count is None and b"\n" in text:
            count = pax_number(text.split(b"\n", 1)[0], "sparse map")
    return [pax_number(line, "sparse map") for line in text.split(b"\n")[1 : 1 + 2 * count]], len(text)


def _check(size: int, numbers: list[int], stored: int) -> Sparse:
    if len(numbers) % 2 or size > limits.FILE:
        raise BadTar("a sparse file is impossible")
    regions = list(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for offset, length in regions:
        if offset < end or offset + length > size:
            raise BadTar("a sparse map is out of order")
        end = offset + length
    if sum(length for _, length in regions) != stored:
        raise BadTar("a sparse file has not the data that its map says")
    return Sparse(size, [region for region in regions if region[1]], stored)
