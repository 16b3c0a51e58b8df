"""In a user namespace, as a rootless engine's: marks are in the ``user.`` namespace, and devices cannot be made."""

import ctypes
import os
import subprocess
import traceback
from pathlib import Path

import pytest

from tests.dropin.conftest import PROGRAMS, Scene
from tests.dropin.test_mixed import run, same_bytes_anywhere
from tests.support.namespaces import CLONE_NEWNS, MS_PRIVATE, MS_REC, check, libc
from tests.support.person import INTERPRETER, ordinary_user

CLONE_NEWUSER = 0x10000000
RANGE = "0 0 65536"  # root stays the owner of /dev/fuse; the machine's privileges are gone all the same


def as_root_of_a_namespace(work) -> None:
    """Run ``work`` as root of a user namespace, in a mount namespace of its own; its failure is ours."""
    (inside, entered), (told, go), (said, say) = os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        failure = ""
        try:
            check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
            os.write(entered, b"x")
            os.read(told, 1)
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            check(libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
            work()
        except BaseException:
            failure = traceback.format_exc()
        finally:
            os.write(say, failure.encode()[-30000:])
            os._exit(0)
    for descriptor in (entered, told, say):
        os.close(descriptor)
    os.read(inside, 1)
    for kind in ("uid", "gid"):
        Path(f"/proc/{pid}/{kind}_map").write_text(RANGE)
    os.write(go, b"x")
    with os.fdopen(said) as failures:
        failure = failures.read()
    os.waitpid(pid, 0)
    os.close(inside)
    os.close(go)
    if failure:
        pytest.fail(failure)


@pytest.fixture
def in_a_user_namespace():
    return as_root_of_a_namespace


PAIRS = [(a, b) for a in PROGRAMS for b in PROGRAMS if "cowfs-overlay" in (a, b)]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=["-then-".join(pair) for pair in PAIRS])
def test_a_rootless_container_goes_on_with_another_program(tmp_path, in_a_user_namespace, first, second):
    def work():
        right = run(Scene(tmp_path / "right"), "overlay", "overlay", "userxattr")
        mixed = Scene(tmp_path / "mixed")
        found = run(mixed, first, second, "userxattr")
        if second == "fuse-overlayfs":  # in a user namespace its copy of a program is without setuid, whoever was first
            found["work/setuid"] = right["work/setuid"]
        assert same_bytes_anywhere(found) == same_bytes_anywhere(right)
        mixed.next_layer()
        mixed.mount("overlay", "userxattr", read_only=True)
        assert sorted(os.listdir(mixed.merged)) == sorted(path for path in right if "/" not in path)

    in_a_user_namespace(work)


def test_marks_are_a_users_without_being_asked_for(tmp_path, in_a_user_namespace):
    def work():
        scene = Scene(tmp_path / "container")
        base = scene.lower("base")
        (base / "directory").mkdir()
        (base / "directory" / "below").touch()
        scene.mount("cowfs-overlay")
        (scene.merged / "directory" / "below").unlink()
        (scene.merged / "directory").rmdir()
        (scene.merged / "directory").mkdir()
        os.chown(scene.merged / "directory", 1000, 1000)
        assert os.listdir(scene.merged / "directory") == []
        assert os.getxattr(scene.upper / "directory", "user.overlay.opaque") == b"y"
        assert (scene.upper / "directory").stat().st_uid == 1000
        scene.umount()

    in_a_user_namespace(work)


AS_A_USER = """
mkdir lower upper work merged && echo below > lower/file && mkdir lower/directory &&
{python} -c 'from cowfs.cli.overlay import main; main()' -o lowerdir=lower,upperdir=upper,workdir=work merged &&
echo more >> merged/file && cat merged/file && rmdir merged/directory && mkdir merged/directory && ls -A merged &&
getfattr --only-values -n user.overlay.opaque upper/directory && fusermount3 -u merged && ls -A merged upper
"""


def test_an_ordinary_user_mounts_without_any_namespace():
    with ordinary_user(1) as user:
        words = ["sh", "-c", AS_A_USER.format(python=INTERPRETER)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, **user.options)
    assert done.stderr == ""
    assert done.stdout.split() == [
        *("below", "more", "directory", "file", "y" + "merged:", "upper:", "directory", "file"),
    ]  # fmt: skip
