"""Words of ``-o`` as mount programs of ours understand them: splitting, escapes, switches. Imports next to nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

# What mount(8) passes on or /etc/fstab carries, and what changes nothing here.
IGNORED: Final = frozenset({
    "rw", "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev",
    "sync", "async", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime",
    "strictatime", "lazytime", "nolazytime", "silent", "default_permissions", "allow_other",
})  # fmt: skip
SWITCHES: Final = {
    "ro": ("read_only", True),
    "dev": ("allow_dev", True),
    "nodev": ("allow_dev", False),
    "suid": ("allow_suid", True),
    "nosuid": ("allow_suid", False),
    "volatile": ("volatile", True),
    "userxattr": ("userxattr", True),
}
EXEC: Final = {"exec": True, "noexec": False}


def split(text: str, separator: str) -> Iterator[str]:
    """Split at separators that no backslash stands before; a lowerdir's own backslashes stay for its own split."""
    part = ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            part += escaped if separator == ":" or escaped == separator else "\\" + escaped
        elif character == separator:
            yield part
            part = ""
        else:
            part += character
    yield part


def unescaped(path: str) -> str:
    """A path in which backslashes stand before separators."""
    return next(split(path, ":")) if "\\" in path else path


def absolute(path: str) -> Path:
    """From the working directory of now; the serving process has another."""
    return Path(path).absolute()
