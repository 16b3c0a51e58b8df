"""One change as a patch in git's extended format, which ``git apply`` takes. Pure: from values and bytes to lines.

git knows regular files, their execute bit and symbolic links. What it cannot say (owners, attributes, directories,
devices, binary content) stands in lines that start with "# ", which it skips.
"""

import stat
from collections.abc import Iterator
from typing import Final

from cowfs.cli.diffs.render import line, metadata_words
from cowfs.cli.diffs.unified import hunks
from cowfs.model import Kind
from cowfs.runs.changes import Change, ChangeClass, Difference, Version

LIMIT: Final = 8 << 20  # bytes of a file that is still compared as text
_TEXT_PROBE: Final = 8192  # git's own measure: a NUL in the first bytes makes a file binary
_ESCAPES: Final = dict(zip(range(7, 14), (rb"\a", rb"\b", rb"\t", rb"\n", rb"\v", rb"\f", rb"\r"), strict=True))


def patch(change: Change, old: bytes | None, new: bytes | None, about: str = "") -> Iterator[bytes]:
    """The lines of ``change``. ``old`` and ``new``: a file's content or a link's target, None where it is not text.

    Neither is looked at where the content is the same. ``about``: what is said of content that is not shown.
    """
    if has_same_content(change):
        old = new = b""
    before = change.before if old is not None else None
    after = change.after if new is not None else None
    whole = before is change.before and after is change.after
    if not whole or metadata_words(change):
        yield (
            b"# " + line(change, values=True).encode("utf-8", "backslashreplace") + _sizes(change, whole, about) + b"\n"
        )
    if not whole or (before is None and after is None):
        return
    if change.change is ChangeClass.REPLACED:
        yield from _one(change, before, None, old or b"", b"")
        yield from _one(change, None, after, b"", new or b"")
    else:
        yield from _one(change, before, after, old or b"", new or b"")


def has_same_content(change: Change) -> bool:
    """True for a regular file before and after, with the same bytes, whether they are text or not."""
    if change.before is None or change.after is None or Difference.CONTENT in change.differs:
        return False
    return change.before.kind is change.after.kind is Kind.FILE


def is_text(content: bytes) -> bool:
    """As git sees it."""
    return b"\0" not in content[:_TEXT_PROBE]


def _sizes(change: Change, whole: bool, about: str) -> bytes:
    sizes = [version.size for version in (change.before, change.after) if version and version.kind is Kind.FILE]
    if whole or not sizes:
        return b""
    said = b" bytes, " + (about or "not shown").encode()
    return b" [" + b" -> ".join(b"%d" % size for size in sizes) + said + b"]"


def _one(change: Change, before: Version | None, after: Version | None, old: bytes, new: bytes) -> Iterator[bytes]:
    old_path, new_path = change.before_path or change.path, change.path
    body = list(hunks(old, new))
    header = list(_extended(before, after, old_path, new_path, exact=not body))
    if not header and not body:
        return
    yield b"diff --git %s %s\n" % (_quoted(b"a" + old_path), _quoted(b"b" + new_path))
    yield from header
    if body:
        yield b"--- %s\n" % (_name(b"a" + old_path) if before else b"/dev/null")
        yield b"+++ %s\n" % (_name(b"b" + new_path) if after else b"/dev/null")
        yield from body


def _extended(
    before: Version | None, after: Version | None, old_path: bytes, new_path: bytes, *, exact: bool
) -> Iterator[bytes]:
    if before is None:
        assert after is not None
        yield b"new file mode %o\n" % git_mode(after)
        return
    if after is None:
        yield b"deleted file mode %o\n" % git_mode(before)
        return
    if git_mode(before) != git_mode(after):
        yield b"old mode %o\n" % git_mode(before)
        yield b"new mode %o\n" % git_mode(after)
    if old_path != new_path:
        if exact:
            yield b"similarity index 100%\n"
        yield b"rename from %s\n" % _quoted(old_path[1:])
        yield b"rename to %s\n" % _quoted(new_path[1:])


def git_mode(version: Version) -> int:
    """st_mode as git knows it: of the permissions only the owner's execute bit."""
    if version.kind is Kind.SYMLINK:
        return stat.S_IFLNK
    return stat.S_IFREG | (0o755 if version.mode & stat.S_IXUSR else 0o644)


def _name(path: bytes) -> bytes:
    """A name in a "---" line: a tab ends one with blanks, as git writes it."""
    quoted = _quoted(path)
    return quoted + b"\t" if b" " in quoted else quoted


def _quoted(path: bytes) -> bytes:
    """A path as git quotes it (quote_c_style in its quote.c)."""
    if all(0x20 <= byte < 0x7F and byte not in b'"\\' for byte in path):
        return path
    return b'"' + b"".join(map(_escaped, path)) + b'"'


def _escaped(byte: int) -> bytes:
    if byte in b'"\\':
        return b"\\%c" % byte
    if 0x20 <= byte < 0x7F:
        return b"%c" % byte
    return _ESCAPES.get(byte, b"\\%03o" % byte)
