"""Which extended attributes of an image are kept, and under which name (values only).

user.*, trusted.* (as root only)     kept ...
trusted.overlay.X, user.overlay.X    ... as trusted.overlay.overlay.X: an ordinary name inside a mount, never a mark
security.capability                  kept if it is revision 2; another one is for another user namespace
system.posix_acl_*                   kept
everything else                      dropped: security.selinux, system.nfs4_acl ... are about another machine
"""

import struct

from cowfs import userns
from cowfs.linux import ACL_ACCESS, ACL_DEFAULT, CAPABILITY
from cowfs.ondisk import ESCAPE, OVERLAY_TRUSTED, OVERLAY_USER

_KEPT = (b"user.", b"trusted.")
_VFS_CAP_REVISION_2 = 0x02000000  # linux/capability.h
_VFS_CAP_SIZE_2 = 20


def stored(xattrs: dict[bytes, bytes], *, data: bool) -> dict[bytes, bytes]:
    """What to write for ``xattrs``. ``data``: a file or directory; nothing else can have user.* (xattr(7))."""
    trusted = userns.is_root_of_machine()  # nobody else can have trusted.*
    return {
        _escaped(name): value
        for name, value in xattrs.items()
        if _is_kept(name, value, data) and (trusted or not name.startswith(b"trusted."))
    }


def outgoing(xattrs: dict[bytes, bytes], *, data: bool) -> dict[bytes, bytes]:
    """What of a tree's attributes, as they are called inside, goes into a layer that we make.

    Not the names of overlayfs's marks: whoever unpacks the layer on another machine may obey them.
    """
    return {
        name: value
        for name, value in xattrs.items()
        if _is_kept(name, value, data) and not name.startswith((OVERLAY_TRUSTED, OVERLAY_USER))
    }


def _is_kept(name: bytes, value: bytes, data: bool) -> bool:
    if name == CAPABILITY:
        return data and len(value) == _VFS_CAP_SIZE_2 and _revision(value) == _VFS_CAP_REVISION_2
    if name in (ACL_ACCESS, ACL_DEFAULT):
        return data
    return name.startswith(_KEPT) and (data or not name.startswith(b"user."))


def _revision(value: bytes) -> int:
    (magic,) = struct.unpack_from("<I", value)
    return int(magic) & 0xFF000000


def _escaped(name: bytes) -> bytes:
    """overlayfs's own escaping (ovl_xattr_escape_name), so that it and we give the name back."""
    for prefix in (OVERLAY_TRUSTED, OVERLAY_USER):
        if name.startswith(prefix):
            return prefix + ESCAPE + name[len(prefix) :]
    return name
