"""Redirect marks: a single name, of the same directory in the layers below, or a path from the root of the merge.

redirect           leads to
-----------------  --------------------------------------
name               the same directory, there ``name``
/a/b               the root, there ``a``, there ``b``
"", a/b, /a//b     EINVAL   as overlayfs (ovl_get_redirect_xattr in fs/overlayfs/namei.c): no overlay writes it
., .., /a/../b     EACCES   likewise: it might lead out of the layer
"""

import errno


def refusal(redirect: bytes) -> int:
    """The errno that following a redirect fails with, 0 where it can be followed."""
    components = redirect.removeprefix(b"/").split(b"/")
    if b"" in components or b"\0" in redirect or (len(components) > 1 and not redirect.startswith(b"/")):
        return errno.EINVAL
    return errno.EACCES if b"." in components or b".." in components else 0
