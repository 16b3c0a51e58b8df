"""Images in lines of /etc/fstab: ``mount -a`` over our mount helper, in a mount namespace of their own."""

import subprocess
import sys
from pathlib import Path

from cowfs.images.inspected import inspected
from cowfs.store import Store

HELPER = """#!{python}
import sys
sys.path[:0] = {path}
from cowfs.cli.mounthelper import main
main()
"""

# mount(8) looks for helpers in /sbin only: there lies an overlay with ours.
SCRIPT = """
set -e
cd "$1"; mkdir tmp plain apart mine
mount -t tmpfs tmpfs tmp; mkdir tmp/u tmp/w
mount -t overlay -o lowerdir=/usr/sbin,upperdir=tmp/u,workdir=tmp/w overlay /usr/sbin
cp helper /usr/sbin/mount.fuse.cowfs; chmod 755 /usr/sbin/mount.fuse.cowfs
mkdir up work
mount -a --fstab "$1/fstab"
cat plain/etc/secret; echo; ls apart; ls apart/upto
echo more >>mine/etc/passwd
grep -c fuse.cowfs /proc/self/mounts
umount plain apart mine
cat up/etc/passwd
mount --fstab "$1/fstab" plain; ls plain/srv; umount plain
"""


def test_mount_a(image: str, tmp_path: Path) -> None:
    (tmp_path / "helper").write_text(HELPER.format(python=sys.executable, path=sys.path))
    with Store.open(tmp_path / "store") as store:
        inspected(image, store)
    root = f"root={tmp_path}/store"
    (tmp_path / "fstab").write_text(
        f"{image} {tmp_path}/plain fuse.cowfs ro,{root},x-systemd.automount 0 0\n"
        f"{image}@2 {tmp_path}/apart fuse.cowfs ro,layers,nofail,{root} 0 0\n"
        f"{image} {tmp_path}/mine fuse.cowfs upperdir={tmp_path}/up,workdir={tmp_path}/work,{root} 0 0\n"
    )
    command = ["unshare", "-m", "bash", "-c", SCRIPT, "-", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [
        *("harmless", "history", "layers", "merged", "upto", "01", "02", "3"),
        *("root", "app", "more", "new"),
    ]
