"""Which paths a person means. Pure.

A pattern without ``*?[`` is that path and all below it. One with them is a shell pattern in which ``*`` stands for a
slash as well: of the name where it has no slash, else of the whole path.
"""

import fnmatch
import re
from collections.abc import Callable
from typing import Final

_GLOB: Final = re.compile(rb"[*?\[]")


def matcher(path: bytes) -> Callable[[bytes], bool]:
    """Says of an absolute path whether ``path`` means it."""
    if not _GLOB.search(path):
        top = b"/" + path.strip(b"/")
        below = top.rstrip(b"/") + b"/"
        return lambda name: name == top or name.startswith(below)
    matches = re.compile(fnmatch.translate(path.decode("latin-1")).encode("latin-1")).match
    if b"/" in path:
        return lambda name: matches(name) is not None or (not path.startswith(b"/") and matches(name[1:]) is not None)
    return lambda name: matches(name.rpartition(b"/")[2]) is not None
