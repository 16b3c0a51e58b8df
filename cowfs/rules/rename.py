"""When a rename is refused, and what the target's layers need for it.

    target            flags        source is    refusal
    ----------------  -----------  -----------  ------------------------------------------------
    anything          WHITEOUT     anything     EINVAL, as overlayfs: a whiteout is never a file
    absent            EXCHANGE     anything     ENOENT
    present           NOREPLACE    anything     EEXIST
    not a directory   -            a directory  ENOTDIR
    a directory       -            not one      EISDIR
    not empty         -            a directory  ENOTEMPTY
    below the source  any          a directory  EINVAL
    above the source  any          anything     ENOTEMPTY (EINVAL with EXCHANGE)

    moved thing       what its new place needs
    ----------------  -----------------------------------------------------------------------------
    merged directory  a redirect to where its lower part lies; the name itself where it stays in its parent
    pure directory    an opaque mark, where a lower holds a directory of the new name
    metacopy file     a redirect to where its data lies
    other             nothing

(rename(2); ovl_rename in fs/overlayfs/dir.c. The kernel refuses loops itself for a mount; the core is used without one,
too.)
"""

import errno

NOREPLACE = 1
EXCHANGE = 2
WHITEOUT = 4


def refusal(
    flags: int,
    *,
    source_is_dir: bool,
    target: bool,
    target_is_dir: bool,
    target_is_empty: bool,
    loop_down: bool,
    loop_up: bool,
) -> int:
    """The errno of the table, 0 where the rename may go on. ``loop_down``: the target lies in the source's tree."""
    if flags & WHITEOUT or flags & ~(NOREPLACE | EXCHANGE) or flags == NOREPLACE | EXCHANGE:
        return errno.EINVAL
    if loop_down:
        return errno.EINVAL
    if loop_up:
        return errno.EINVAL if flags & EXCHANGE else errno.ENOTEMPTY
    if not target:
        return errno.ENOENT if flags & EXCHANGE else 0
    if flags & NOREPLACE:
        return errno.EEXIST
    if flags & EXCHANGE:
        return 0
    return _replacement(source_is_dir, target_is_dir, target_is_empty)


def _replacement(source_is_dir: bool, target_is_dir: bool, target_is_empty: bool) -> int:
    if source_is_dir and not target_is_dir:
        return errno.ENOTDIR
    if target_is_dir and not source_is_dir:
        return errno.EISDIR
    return errno.ENOTEMPTY if target_is_dir and not target_is_empty else 0
