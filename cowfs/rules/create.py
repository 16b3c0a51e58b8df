"""What a new file is, and how it takes its place.

    parent            new file's group   new directory's mode     umask applied
    ----------------  -----------------  -----------------------  -------------------------------------
    plain             the caller's       as asked                 yes
    setgid            the parent's       as asked, plus setgid    yes
    with default ACL  as above           as above                 no: the ACL takes its place (acl(5))

    the name is       below it there is  a file is                a directory is
    ----------------  -----------------  -----------------------  -------------------------------------
    free              nothing            made in place            made in place
    free              a whiteout         made in place            made in place, opaque where it hides one
    a whiteout in the upper              built and renamed over   built opaque and exchanged

(inode_init_owner in fs/inode.c; ovl_create_over_whiteout in fs/overlayfs/dir.c.)
"""

import stat
from typing import NamedTuple


class NewFile(NamedTuple):
    """The mode and group that a new file gets."""

    mode: int
    gid: int


def new_file(mode: int, gid: int, umask: int, *, parent_mode: int, parent_gid: int, default_acl: bool) -> NewFile:
    """``mode`` with type bits and the caller's ``gid`` and ``umask`` -> what is to be made."""
    if not default_acl:
        mode &= ~umask
    if parent_mode & stat.S_ISGID:
        gid = parent_gid
        if stat.S_ISDIR(mode):
            mode |= stat.S_ISGID
    return NewFile(mode, gid)
