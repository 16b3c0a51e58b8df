"""Platforms as images name them, ``linux/arm64/v8``, and which one a machine takes. Values only."""

import platform
import re
from typing import NamedTuple

from cowfs.errors import UsageError

_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "i386": ("386", ""),
}
_ALIASES = {"x86_64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_OSES = ("linux", "windows", "darwin", "freebsd")
# What runs on each variant, the best first (containerd's platforms.Only); for a variant that is not named, on the best.
_VARIANTS = {
    ("arm64", ""): ("v8", ""),
    ("arm64", "v8"): ("v8", ""),
    ("arm", ""): ("v7", "v6", "v5", ""),
    ("arm", "v7"): ("v7", "v6", "v5", ""),
    ("arm", "v6"): ("v6", "v5", ""),
    ("arm", "v5"): ("v5", ""),
    ("amd64", ""): ("", "v1"),
}


class Platform(NamedTuple):
    """``variant`` may be empty."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def rank(self, other: "Platform") -> int | None:
        """How well an image for ``other`` fits, 0 being best; None if it does not."""
        if (other.os, other.architecture) != (self.os, self.architecture):
            return None
        fitting = _VARIANTS.get((self.architecture, self.variant), (self.variant,))
        return fitting.index(other.variant) if other.variant in fitting else None


def host() -> Platform:
    """This machine's."""
    machine = platform.machine()
    return Platform("linux", *_MACHINES.get(machine, (machine, "")))


def parse_platform(text: str) -> Platform:
    """``linux/arm64/v8``, ``linux/arm64`` or ``arm64``. Raises UsageError."""
    parts = text.lower().split("/")
    if parts[0] not in _OSES:
        parts.insert(0, "linux")
    if not 2 <= len(parts) <= 3 or not all(map(_PART.fullmatch, parts)):
        raise UsageError(f"{text!r} is not a platform, like linux/arm64")
    return Platform(parts[0], _ALIASES.get(parts[1], parts[1]), *parts[2:])
