"""Whatever looks at layers, over images in docker's and podman's own stores."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images.test_foreign import DIFF_IDS, Docker, Podman
from tests.views.conftest import Cowfs

SCRIPT = """
set -e
cowfs() { "$PYTHON" -c 'from cowfs.cli.main import main; main()' --root "$1/store" "${@:2}"; }
cd "$1"; mkdir mnt; cowfs "$1" mount --layers "$2" mnt
cd mnt/layers; ls -A *; getfattr --only-values -n user.cowfs.hides 02-*/.wh.f; echo
getfattr --only-values -n user.cowfs.layer ../merged/g; cd /; umount "$1/mnt"
"""


@pytest.mark.parametrize("by_file", [False, True], ids=["overlayfs", "fuse-overlayfs"])
@pytest.mark.parametrize("program", [Docker, Podman])
def test_their_images(cowfs_: Cowfs, tmp_path: Path, program: Callable[[Path], Docker | Podman], by_file: bool) -> None:
    theirs = program(tmp_path / "theirs")
    if by_file:  # as fuse-overlayfs deletes where it can make no devices
        (theirs.trees[1] / "f").unlink()
        (theirs.trees[1] / ".wh.f").touch()
    source = f"{'docker' if program is Docker else 'podman'}:[{theirs.root}]debian:12"
    one, two = (diff_id[7:19] for diff_id in DIFF_IDS)
    status, said = cowfs_("explain", source, "/f")
    assert (status, said.splitlines()[0]) == (1, "/f: not there: deleted in layer 2")
    assert cowfs_("find", "--deleted", source)[1].endswith("/f  (deleted in layer 2)\n")
    assert cowfs_("waste", source)[1].startswith("1 B of 2 B (50.0%) in 1 files")
    assert cowfs_("diff", f"{source}@1", source) == (1, "D /f (1 B)\nA /g (1 B)\n")
    assert cowfs_("report", source, "-o", str(tmp_path / "page.html")) == (0, "")
    assert f'"id":"{two}"' in (tmp_path / "page.html").read_text()
    command = ["unshare", "-m", "env", f"PYTHON={sys.executable}", "bash", "-c", SCRIPT, "-", str(tmp_path), source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"01-{one}:", "f", "", f"02-{two}:", ".wh.f", "g", "1", f"2 {two} step 2"]
