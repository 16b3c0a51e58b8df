"""The attributes user.cowfs.* of a mount for looking at an image, as getfattr and setfattr meet them."""

import subprocess
import sys
from pathlib import Path

from tests.views.conftest import Cowfs, records

SCRIPT = """
set -e
export LC_ALL=C.UTF-8
cowfs() { "$PYTHON" -c 'from cowfs.cli.main import main; main()' --root "$1/store" "${@:2}"; }
top=$1 image=$2; cd "$top"; mkdir -p mnt up work
"""


def _run(tmp_path: Path, image: str, script: str) -> str:
    command = ["unshare", "-m", "env", f"PYTHON={sys.executable}", "bash", "-c", SCRIPT + script, "-"]
    done = subprocess.run([*command, str(tmp_path), image], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _shorts(cowfs_: Cowfs, image: str) -> list[str]:
    return [record["diff_id"][7:19] for record in records(cowfs_("layers", "--json", image)[1])]


def test_getfattr_shows_layer_and_hides(cowfs_: Cowfs, image: str, tmp_path: Path) -> None:
    short = _shorts(cowfs_, image)
    said = _run(
        tmp_path,
        image,
        """
        cowfs "$top" mount "$image" mnt
        getfattr -d mnt/etc/secret mnt/usr/lib mnt/srv/new
        getfattr -d mnt/lib; getfattr -n user.cowfs.hides mnt/srv/new 2>&1 || true
        umount mnt
        """,
    )
    assert said.splitlines() == [
        "# file: mnt/etc/secret",
        'user.cowfs.hides="1"',
        f'user.cowfs.layer="4 {short[3]} step 4"',
        "",
        "# file: mnt/usr/lib",
        f'user.cowfs.layer="2 {short[1]} step 2"',
        "",
        "# file: mnt/srv/new",
        f'user.cowfs.layer="2 {short[1]} step 2"',
        "",
        "# file: mnt/lib",
        f'user.cowfs.layer="2 {short[1]} step 2"',
        "",
        "mnt/srv/new: user.cowfs.hides: No such attribute",
    ]


def test_what_a_layer_deletes(cowfs_: Cowfs, image: str, tmp_path: Path) -> None:
    short = _shorts(cowfs_, image)
    said = _run(
        tmp_path,
        image,
        """
        cowfs "$top" mount --layers "$image" mnt; cd mnt/layers/02-*
        getfattr --only-values -n user.cowfs.layer .wh.cache; echo
        getfattr --only-values -n user.cowfs.hides .wh.cache srv/.wh..wh..opq opt; echo
        cd "$top"; getfattr -d mnt mnt/upto mnt/history; umount mnt
        """,
    )
    assert said == f"2 {short[1]} step 2\n111\n"


def test_they_cannot_be_set_and_what_is_copied_up_has_an_origin(cowfs_: Cowfs, image: str, tmp_path: Path) -> None:
    short = _shorts(cowfs_, image)
    said = _run(
        tmp_path,
        image,
        """
        cowfs "$top" mount --upper up --work work "$image" mnt
        setfattr -n user.cowfs.layer -v 1 mnt/etc/passwd 2>&1 || true
        setfattr -x user.cowfs.layer mnt/etc/passwd 2>&1 || true
        setfattr -n user.mine -v 1 mnt/etc/passwd
        echo more >>mnt/etc/passwd; chmod 600 mnt/usr/lib/a.so; mv mnt/usr/lib/a.so mnt/etc/b.so
        mv mnt/usr mnt/moved; echo new >mnt/srv/mine
        cp -a mnt/etc/passwd mnt/etc/copy
        getfattr -d mnt/etc/passwd mnt/etc/b.so mnt/srv/mine mnt/srv mnt/moved mnt/etc/copy
        umount mnt; getfattr -d up/etc/passwd
        """,
    )
    up = f'user.cowfs.layer="5 - {tmp_path}/up"'
    assert said.splitlines() == [
        "setfattr: mnt/etc/passwd: Operation not supported",
        "setfattr: mnt/etc/passwd: Operation not supported",
        "# file: mnt/etc/passwd",
        'user.cowfs.hides="2 1"',
        up,
        f'user.cowfs.origin="2 {short[1]} /etc/passwd"',
        'user.mine="1"',
        "",
        "# file: mnt/etc/b.so",
        up,
        f'user.cowfs.origin="2 {short[1]} /usr/lib/a.so"',
        "",
        "# file: mnt/srv/mine",
        up,
        "",
        "# file: mnt/srv",
        'user.cowfs.hides="1"',  # what is in the second layer is opaque
        up,
        f'user.cowfs.origin="2 {short[1]} /srv"',
        "",
        "# file: mnt/moved",
        up,
        f'user.cowfs.origin="2 {short[1]} /usr"',
        "",
        "# file: mnt/etc/copy",
        up,
        'user.mine="1"',
        "",
        "# file: up/etc/passwd",
        'user.mine="1"',
        "",
    ]


def test_other_mounts_have_none(tmp_path: Path) -> None:
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower/file").write_text("x")
    said = _run(
        tmp_path,
        "",
        """
        helper() { "$PYTHON" -c 'from cowfs.cli.mounthelper import main; main()' "$@"; }
        helper lower mnt -o lowerdir=lower; getfattr -d mnt/file; umount mnt
        """,
    )
    assert said == ""
