"""Lengths of time and sizes as people type them: "90s", "12h", "7d", "2w"; "512", "64k", "1.5G". Pure.

Used by the command lines, for docker's options too, and by the retention of runs.
"""

import re
from typing import Final

from cowfs.errors import UsageError

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PART: Final = re.compile(r"([0-9]+)([smhdw])")
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)  # docker's units
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def seconds(text: str) -> int:
    """The seconds that ``text`` says; parts may follow each other, as "1d12h". Raises UsageError."""
    if not re.fullmatch(rf"(?:{_PART.pattern})+", text):
        raise UsageError(f"{text!r} is not a length of time: write it as 90s, 30m, 12h, 7d or 2w")
    return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))


def size(text: str) -> int:
    """The bytes that ``text`` says; a unit is a power of 1024. Raises UsageError."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r} is not a size: write it as 512, 64k, 10M or 1.5G")
    return int(float(found[1]) * 1024 ** _POWERS[found[2].lower()])
