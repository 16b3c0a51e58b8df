"""What a single layer says about a path, for ``cowfs explain``: its own entries and marks, no merge."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cowfs import ondisk, userns
from cowfs.layers.directory import DescriptorCache, Directory, Layer, is_whiteout
from cowfs.layers.marks import Marks
from cowfs.rules.explain import Saying, Word


@dataclass(frozen=True, slots=True)
class Testimony:
    """A layer's word, and the status of its own entry where it has one."""

    saying: Saying
    status: os.stat_result | None = None


def testify(directory: Path, path: bytes) -> Testimony:
    """What the layer in ``directory`` says about ``path``. Raises OSError where the layer cannot be read."""
    cache = DescriptorCache()
    try:
        root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return _walk(Layer(root, 1, Marks(userxattr=not userns.is_root_of_machine()), cache).root, path)
    finally:
        cache.close()


def _walk(root: Directory, path: bytes) -> Testimony:
    current, above = root, b""
    word, about = Word.DIRECTORY, b""
    status = root.stat_self()
    names = [name for name in path.split(b"/") if name]
    for number, name in enumerate(names, 1):
        here = b"/".join((above, name))
        try:
            status = current.stat(name)
        except OSError as failure:
            if failure.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise
            return Testimony(Saying(word if word is Word.OPAQUE else Word.ABSENT, about))
        if is_whiteout(status) or _is_xattr_whiteout(current, name, status):
            return Testimony(Saying(Word.DELETED, here))
        if not stat.S_ISDIR(status.st_mode):
            last = number == len(names)
            return Testimony(Saying(Word.PRESENT if last else Word.REPLACED, here, last), status if last else None)
        current, above = current.child(name), here
        if current.marks().opaque:
            word, about = Word.OPAQUE, here
    return Testimony(Saying(word, about or above, True), status)


def _is_xattr_whiteout(directory: Directory, name: bytes, status: os.stat_result) -> bool:
    if not stat.S_ISREG(status.st_mode) or status.st_size or not directory.marks().has_xattr_whiteouts:
        return False
    return directory.layer.marks.get(directory.path_of(name), ondisk.WHITEOUT) is not None
