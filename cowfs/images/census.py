"""How many entries a tar has, told by its headers and before any of them is unpacked. Used by the importer where a
layer is mostly headers: to make a file takes a hundred times as long as to count it.

It finds the headers as cowfs.images.tarstream does and judges none of them: where it cannot go on, the unpacker, which
comes to the same place, says why.
"""

from collections.abc import Iterable

from cowfs.images import limits
from cowfs.images.tarheader import BLOCK, ZEROS, BadTar, number, parse_pax, pax_number

_NO_DATA = b"00000000000\0"
_NAMES = b"LK"


def check_entries(chunks: Iterable[bytes]) -> None:
    """Raises BadTar if the tar has more entries than a layer may have. Global headers count, as they cost the same."""
    for count, _ in enumerate(_entries(chunks), 1):
        if count > limits.ENTRIES:
            raise BadTar(f"a layer of more than {limits.ENTRIES} entries")


def _entries(chunks: Iterable[bytes]) -> Iterable[None]:
    """Something for each entry."""
    data, at = b"", 0
    pax: int | None = None  # the size that a pax header gives the next entry
    for chunk in chunks:
        # the next header begins beyond what there was, or was cut
        data, at = (chunk, at - len(data)) if at >= len(data) else (data[at:] + chunk, 0)
        while at + BLOCK <= len(data):
            kind = data[at + 156]
            field = data[at + 124 : at + 136]
            if field != _NO_DATA and data[at : at + BLOCK] == ZEROS:
                return
            try:
                size = 0 if field == _NO_DATA else number(field, "size")
                if kind == ord("x"):
                    if size > limits.PAX:
                        return
                    if at + BLOCK + size > len(data):
                        break  # all of it is looked at together
                    pax = _size(data[at + BLOCK : at + BLOCK + size])
                elif kind not in _NAMES:
                    yield
                    if kind != ord("g"):
                        size, pax = size if pax is None else pax, None
            except BadTar:
                return
            at += BLOCK + size + -size % BLOCK


def _size(header: bytes) -> int | None:
    value = dict(parse_pax(header)).get(b"size") if b"size=" in header else None
    return pax_number(value, "size") if value else None
