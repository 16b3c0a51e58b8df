"""An ACL that is set by somebody outside the file's group takes setgid off, as chmod does."""

import os
import struct

import pytest

# version 2; user::rwx, group::r-x, mask::r-x, other::r-x (include/uapi/linux/posix_acl_xattr.h)
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, 0xFFFFFFFF) for tag, permissions in ((1, 7), (4, 5), (0x10, 5), (0x20, 5))
)


@pytest.mark.parametrize(("group", "expected"), [(60, 0o755), (50, 0o2755)])
def test_an_acl_by_an_owner_outside_the_group_takes_setgid_off(mounted, group, expected):
    def check(mount):
        path = mount.merged / "file"
        path.touch()
        os.chown(path, 1000, 50)
        path.chmod(0o2755)
        pid = os.fork()
        if not pid:
            os.setgroups([group])
            os.setgid(1000)
            os.setuid(1000)
            os.setxattr(path, "system.posix_acl_access", ACL)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return path.stat().st_mode & 0o7777

    def prepare(mount):
        for directory in (mount.top, *mount.top.parents):
            if directory.stat().st_uid == 0 and not directory.stat().st_mode & 1:
                directory.chmod(directory.stat().st_mode | 0o11)

    assert mounted(check, prepare=prepare) == expected
