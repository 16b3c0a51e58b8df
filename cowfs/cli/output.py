"""What the commands print: JSON lines, aligned columns, sizes for people. No I/O."""

import base64
import json
from collections.abc import Mapping, Sequence

from cowfs.cli.entry import printable

_MANY = 3  # runs that a line still names
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def json_line(record: Mapping[str, object]) -> str:
    """One object on one line. A string that is not UTF-8 gets a second key, ``<key>_b64``, with its bytes."""
    found: dict[str, object] = {}
    for key, value in record.items():
        if isinstance(value, str) and not _is_utf8(value):
            data = value.encode("utf-8", "surrogateescape")
            found[key] = data.decode("utf-8", "replace")
            found[f"{key}_b64"] = base64.b64encode(data).decode()
        else:
            found[key] = value
    return json.dumps(found, ensure_ascii=False)


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """The rows as aligned lines, control characters escaped; ``right`` are the columns that align right."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return ["  ".join(_cells(row, widths, right)).rstrip() for row in shown]


def human_size(size: int) -> str:
    """``size`` bytes in the unit that leaves at most three digits before the point."""
    amount, unit = float(size), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{size} B"


def short_digest(digest: str) -> str:
    """The 12 hex digits that people compare."""
    return digest.removeprefix("sha256:")[:12]


def kept_by(runs: tuple[str, ...]) -> str:
    """Why a layer is kept, and what to do: ``runs`` are those that name it and are kept."""
    if not runs:
        return "a run that goes on, a mount or an import uses it"
    if len(runs) > _MANY:
        return f"{len(runs)} runs that are kept use it (cowdiff prune --keep 0 removes all that are over)"
    return f"it goes with the last run that uses it: cowdiff rm {' '.join(runs)}"


def _cells(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if place in right else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
