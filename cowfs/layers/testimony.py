"""What a single layer says about a path, for who explains it: its own entries and marks, no merge."""

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
    """A layer's word; the status of its own entry, or of the file above that ended the way.

    ``below`` is the path to ask the layers below about: another one where a directory was renamed.
    """

    saying: Saying
    status: os.stat_result | None = None
    below: bytes = b""


def testify(directory: Path, path: bytes) -> Testimony:
    """What the layer in ``directory`` says about ``path``. Raises OSError where the layer cannot be read."""
    cache = DescriptorCache()
    try:
        return Witness(opened(directory, cache)).testify(path)
    finally:
        cache.close()


def opened(directory: Path, cache: DescriptorCache, *, foreign: bool = False) -> Layer:
    """A layer to be asked; ``foreign``: another engine may have written it. ``cache`` closes it. Raises OSError."""
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    userxattr = not userns.is_root_of_machine()
    if not foreign:
        return Layer(root, 1, Marks(userxattr=userxattr), cache)
    from cowfs.layers.engines import EngineMarks, open_layer

    return open_layer(root, 1, EngineMarks(userxattr=userxattr), cache)


class Witness:
    """One open layer that is asked about paths.

    ``opaque``: its root hides all layers below, which overlayfs has no mark for; ``empty``: it has nothing, not even
    a root of its own.
    """

    def __init__(self, layer: Layer, *, opaque: bool = False, empty: bool = False) -> None:
        self._opaque = opaque
        self._empty = empty
        self._root = layer.root

    def testify(self, path: bytes) -> Testimony:
        """What it says about ``path``; nothing is listed, so the cost follows the path's depth."""
        if self._empty and not self._opaque:
            return Testimony(Saying(Word.ABSENT), below=path)
        walk = _Walk(self._root, Word.OPAQUE if self._opaque else Word.DIRECTORY)
        try:
            return walk.run([name for name in path.split(b"/") if name])
        finally:
            walk.forget()


class _Walk:
    """One way down a layer."""

    def __init__(self, root: Directory, word: Word) -> None:
        self._current = root
        self._opened: list[Directory] = []
        self._word = word
        self._about = b""  # what the word is about
        self._below = b""  # where the layers below have what was walked to here

    def forget(self) -> None:
        for directory in reversed(self._opened):
            directory.forget()

    def run(self, names: list[bytes]) -> Testimony:
        here = b""
        status = self._current.stat_self()
        for number, name in enumerate(names, 1):
            here = b"/".join((here, name))
            if self._current.deletes(name):
                return Testimony(Saying(Word.DELETED, here), below=b"/".join((self._below, *names[number - 1 :])))
            try:
                status = self._current.stat(name)
            except OSError as failure:
                if failure.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                    raise
                word = self._word if self._word is Word.OPAQUE else Word.ABSENT
                return Testimony(
                    Saying(word, self._about or b"/"), below=b"/".join((self._below, *names[number - 1 :]))
                )
            below = b"/".join((self._below, *names[number - 1 :]))
            if is_whiteout(status) or _is_xattr_whiteout(self._current, name, status):
                return Testimony(Saying(Word.DELETED, here), below=below)
            if not stat.S_ISDIR(status.st_mode):
                last = number == len(names)
                return Testimony(Saying(Word.PRESENT if last else Word.REPLACED, here, last), status, below)
            self._enter(name, here)
        return Testimony(Saying(self._word, self._about or here or b"/", True), status, self._below or b"/")

    def _enter(self, name: bytes, here: bytes) -> None:
        self._current = self._current.child(name)
        self._opened.append(self._current)
        marks = self._current.marks()
        if marks.opaque:
            self._word, self._about = Word.OPAQUE, here
        if marks.redirect is None:
            self._below = b"/".join((self._below, name))
        elif marks.redirect.startswith(b"/"):
            self._below = marks.redirect.rstrip(b"/")
        else:
            self._below = b"/".join((self._below, marks.redirect))


def _is_xattr_whiteout(directory: Directory, name: bytes, status: os.stat_result) -> bool:
    if not stat.S_ISREG(status.st_mode) or status.st_size or not directory.marks().has_xattr_whiteouts:
        return False
    return directory.layer.marks.get(directory.path_of(name), ondisk.WHITEOUT) is not None
