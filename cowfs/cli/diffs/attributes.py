"""Extended attributes in words: ACLs as ``getfacl`` shows them, capabilities as ``getcap``, others as text. Pure.

The formats are the kernel's: ``struct posix_acl_xattr_header`` (include/uapi/linux/posix_acl_xattr.h) and
``struct vfs_ns_cap_data`` (include/uapi/linux/capability.h). A value that is not one of them is shown as bytes.
"""

import struct
from collections.abc import Iterator
from typing import Final

from cowfs.linux import ACL_ACCESS, ACL_DEFAULT, CAPABILITIES, CAPABILITY
from cowfs.runs.changes import Xattrs
from cowfs.runs.escape import printable

_SHOWN: Final = 60  # bytes of a value
_ACLS: Final = {ACL_ACCESS: "acl", ACL_DEFAULT: "default acl"}
_TAGS: Final = {0x01: "user:", 0x02: "user:", 0x04: "group:", 0x08: "group:", 0x10: "mask:", 0x20: "other:"}
_NAMED: Final = (0x02, 0x08)
_ACL_VERSION: Final = 2
_CAP_REVISIONS: Final = {0x01000000: 1, 0x02000000: 2, 0x03000000: 2}  # how many pairs of words
_CAP_EFFECTIVE: Final = 1


def differences(before: Xattrs, after: Xattrs, *, values: bool) -> Iterator[str]:
    """What came, went and became different, in words; ``values``: with those of attributes that are not in words."""
    old, new = dict(before), dict(after)
    for name in sorted(old.keys() | new.keys()):
        left, right = old.get(name), new.get(name)
        if left == right:
            continue
        if name in _ACLS:
            yield _acl_difference(_ACLS[name], left, right)
        elif name == CAPABILITY:
            yield f"capabilities {capabilities(left)} -> {capabilities(right)}"
        else:
            yield _plain_difference(name, left, right, values=values)


def acl(value: bytes | None) -> list[str] | None:
    """The entries of an ACL; none of an absent one; None of what is not one."""
    if value is None:
        return []
    if len(value) % 8 != 4 or struct.unpack_from("<I", value)[0] != _ACL_VERSION:
        return None
    entries = []
    for tag, bits, who in struct.iter_unpack("<HHI", value[4:]):
        if tag not in _TAGS:
            return None
        letters = "".join(letter if bits & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
        entries.append(f"{_TAGS[tag]}{who if tag in _NAMED else ''}:{letters}")
    return entries


def capabilities(value: bytes | None) -> str:
    """As ``cap_net_raw=ep``."""
    if value is None:
        return "none"
    words = struct.unpack(f"<{len(value) // 4}I", value[: len(value) // 4 * 4])
    pairs = _CAP_REVISIONS.get(words[0] & 0xFF000000) if words else None
    if pairs is None or len(words) < 1 + 2 * pairs:
        return _text(value)
    permitted = sum(words[1 + 2 * pair] << 32 * pair for pair in range(pairs))
    inheritable = sum(words[2 + 2 * pair] << 32 * pair for pair in range(pairs))
    effective = "e" if words[0] & _CAP_EFFECTIVE else ""
    parts = []
    for which, flags in (
        (permitted & ~inheritable, effective + "p"),
        (permitted & inheritable, effective + "ip"),
        (inheritable & ~permitted, "i"),
    ):
        if which:
            parts.append(f"{','.join(_names(which))}={flags}")
    return " ".join(parts) or "="


def _names(bits: int) -> Iterator[str]:
    for number in range(64):
        if bits >> number & 1:
            yield f"cap_{CAPABILITIES[number]}" if number < len(CAPABILITIES) else f"cap_{number}"


def _acl_difference(what: str, left: bytes | None, right: bytes | None) -> str:
    old, new = acl(left), acl(right)
    if old is None or new is None:
        return f"{what} differs"
    signs = [f"-{entry}" for entry in old if entry not in new] + [f"+{entry}" for entry in new if entry not in old]
    return f"{what} {' '.join(signs) or 'in another order'}"


def _plain_difference(name: bytes, left: bytes | None, right: bytes | None, *, values: bool) -> str:
    shown = printable(name)
    if left is None or right is None:
        value = left if right is None else right
        assert value is not None
        return f"{'+' if left is None else '-'}{shown}" + (f"={_text(value)}" if values else "")
    return f"{shown} {_text(left)} -> {_text(right)}" if values else f"{shown} differs"


def _text(value: bytes) -> str:
    cut = value[:_SHOWN]
    more = f"... ({len(value)} bytes)" if len(value) > _SHOWN else ""
    return f'"{printable(cut)}"{more}'
