"""``cowfs mounts`` and ``cowfs umount --all``, in a mount namespace of their own."""

import subprocess
import sys
from pathlib import Path

from tests.views.conftest import Cowfs, records

SCRIPT = """
cowfs() { "$PYTHON" -c 'from cowfs.cli.main import main; main()' --root "$1/store" "${@:2}"; }
cd "$1" && mkdir lower one two
cowfs "$1" mount dir:lower one && cowfs "$1" mount --layers dir:lower two || exit 1
cowfs "$1" mounts --json; cowfs "$1" umount --all && cowfs "$1" mounts --json
"""


def test_mounts_and_umount_all(tmp_path: Path) -> None:
    command = ["unshare", "-m", "env", f"PYTHON={sys.executable}", "bash", "-c", SCRIPT, "-", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    here = [found for found in records(done.stdout) if found["mountpoint"].startswith(str(tmp_path))]
    assert [(Path(found["mountpoint"]).name, found["source"], found["access"]) for found in here] == [
        ("one", "dir:lower", "ro"),
        ("two", "dir:lower", "ro"),
    ]
    assert all(found["pid"] for found in here)


def test_umount_wants_to_know_which(cowfs_: Cowfs) -> None:
    said = "cowfs: which mount? name a MOUNTPOINT, or --all (cowfs mounts lists them)\n"
    assert cowfs_("umount") == (125, said)
