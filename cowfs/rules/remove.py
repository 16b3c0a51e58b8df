"""What takes the place of a name that is removed or moved away.

in the upper  in a lower  removal
------------  ----------  ----------------------------------------------
yes           no          UNLINK    the upper entry goes
no            yes         WHITEOUT  a whiteout is made
yes           yes         REPLACE   a whiteout takes the entry's place
"""

from enum import Enum


class Removal(Enum):
    """How a name leaves the merged tree."""

    UNLINK = "unlink"
    WHITEOUT = "whiteout"
    REPLACE = "replace"


def removal(*, in_upper: bool, in_lower: bool) -> Removal:
    """The row of the table; the name is visible, so one of the two holds."""
    if not in_lower:
        return Removal.UNLINK
    return Removal.REPLACE if in_upper else Removal.WHITEOUT
