"""``cowfs mount --layers``: each layer against its tar, each state in between against the kernel's overlayfs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.images.layouts import Layout
from tests.views.conftest import Cowfs, records
from tests.views.model import model, random_layers

SEED = int(os.environ.get("SEED", "1"))  # the first of a few; another one looks elsewhere

MAIN = "from cowfs.cli.main import main; main()"

WALK = """
import hashlib, json, os, stat, sys
def walk(top):
    found = {}
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(directory, name)
            try:
                status = os.lstat(path)
            except FileNotFoundError:  # the kernel lists whiteouts of a directory that merges with nothing
                continue
            kind = stat.S_IFMT(status.st_mode)
            data = open(path, "rb").read().hex() if kind == stat.S_IFREG else ""
            data = os.readlink(path) if kind == stat.S_IFLNK else data
            facts = [oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, data]
            found[os.path.relpath(path, top)] = facts
    return found
"""

SCRIPT = (
    WALK
    + """
import subprocess
cowfs, root, image, mountpoint, empty, *directories = sys.argv[1:]
subprocess.run([sys.executable, "-c", cowfs, "--root", root, "mount", "--layers", image, mountpoint], check=True)
try:
    shown = {name: walk(mountpoint + "/" + name) for name in ("merged", "layers", "upto")}
    history = open(mountpoint + "/history").read()
finally:
    subprocess.run(["umount", mountpoint], check=True)
kernel = []
for count in range(1, len(directories) + 1):
    lowers = ":".join([*reversed(directories[:count]), empty])
    subprocess.run(["mount", "-t", "overlay", "-o", "lowerdir=" + lowers, "overlay", mountpoint], check=True)
    kernel.append(walk(mountpoint))
    subprocess.run(["umount", mountpoint], check=True)
print(json.dumps({"shown": shown, "history": history, "kernel": kernel}))
"""
)


def _inside(tree: dict[str, list[object]], top: str) -> dict[str, list[object]]:
    return {path[len(top) + 1 :]: facts for path, facts in tree.items() if path.startswith(top + "/")}


def _telling(names: Iterable[str]) -> set[str]:
    """Without the whiteouts below an opaque directory: all that they could delete is hidden already."""
    found = set(names)
    opaque = {name.removesuffix("/.wh..wh..opq") for name in found if name.endswith("/.wh..wh..opq")}
    hidden = {name for name in found for above in opaque if name.startswith(above + "/")}
    return {name for name in found if name not in hidden or "/.wh." not in name or name.endswith("/.wh..wh..opq")}


@pytest.mark.parametrize("seed", range(SEED, SEED + 2))
def test_every_layer_and_every_state(cowfs_: Cowfs, tmp_path: Path, seed: int) -> None:
    layers = random_layers(seed, 4)
    image, expected = Layout(tmp_path / "random").image(*layers), model(layers)
    listed = records(cowfs_("layers", "--json", image)[1])
    directories = [record["directory"] for record in listed]
    mountpoint, empty = tmp_path / "mnt", tmp_path / "empty"  # the kernel wants two lowers
    mountpoint.mkdir()
    empty.mkdir()
    command = ["unshare", "-m", sys.executable, "-c", SCRIPT, MAIN, str(tmp_path / "store"), image]
    done = subprocess.run(
        [*command, str(mountpoint), str(empty), *directories], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for number, (record, entries) in enumerate(zip(listed, expected.entries, strict=True), 1):
        short = record["diff_id"][7:19]
        shown = _inside(found["shown"]["layers"], f"{number:02d}-{short}")
        assert _telling(shown) == _telling(entries), f"seed {seed}: layer {number}"
        assert _inside(found["shown"]["upto"], f"{number:02d}") == found["kernel"][number - 1], f"seed {seed}: {number}"
        assert f"{number:02d}  {short}  step {number}\n" in found["history"]
    assert found["shown"]["merged"] == found["kernel"][-1]
    assert {"/" + path for path in found["shown"]["merged"]} == expected.visible.keys()


def test_mistakes(cowfs_: Cowfs, image: str, tmp_path: Path) -> None:
    said = cowfs_("mount", "--layers", image, image, str(tmp_path))
    assert said == (125, "cowfs: --layers shows the layers of one SOURCE, and takes no --upper\n")
