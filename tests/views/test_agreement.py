"""``explain``, the attributes of mounts and ``diff`` say the same of every path of an image, hidden ones, too."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from cowfs.images.inspected import inspected
from cowfs.model import Base
from cowfs.store import Store
from cowfs.views.explain import Explainer, Explanation
from cowfs.views.survey import Survey
from tests.images.layouts import Layout
from tests.images.test_unpack import everything
from tests.views.conftest import LAYERS, Cowfs, records
from tests.views.model import random_layers

SEED = int(os.environ.get("SEED", "1"))  # the first of a few; another one looks elsewhere
IMAGES = os.environ.get("IMAGES", "").split()  # more to look at, as oci:/somewhere:latest
MAIN = "from cowfs.cli.main import main; main()"

# Prints what is below a mount: by path the inode's number, and the attributes of files and directories.
SCRIPT = """
import json, os, stat, subprocess, sys
cowfs, root, image, mountpoint = sys.argv[1:]
def looked_at(*options):
    subprocess.run([sys.executable, "-c", cowfs, "--root", root, "mount", *options, image, mountpoint], check=True)
    found = {}
    try:
        for directory, directories, files in os.walk(mountpoint):
            for name in directories + files:
                path = os.path.join(directory, name)
                status = os.lstat(path)
                labels = {}
                if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                    for label in os.listxattr(path):
                        if label.startswith("user.cowfs."):
                            labels[label[11:]] = os.fsdecode(os.getxattr(path, label))
                found[path[len(mountpoint):]] = [status.st_ino, labels]
    finally:
        subprocess.run(["umount", mountpoint], check=True)
    return found
print(json.dumps([looked_at(), looked_at("--layers")]))
"""

Shown = dict[str, tuple[int, dict[str, str]]]


@pytest.fixture(params=["hiding", "unpacking", *range(SEED, SEED + 2), *IMAGES])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An image: of every way to hide, of what unpackers get wrong, a random one."""
    layers = {"hiding": LAYERS, "unpacking": everything()}.get(request.param)
    if layers is None and isinstance(request.param, str):
        return request.param
    return Layout(tmp_path / "agreeing").image(*(layers or random_layers(request.param)))


@pytest.fixture
def base(source: str, tmp_path: Path) -> Base:
    with Store.open(tmp_path / "store") as store:
        return inspected(source, store)


def _below(shown: Shown, top: str) -> Shown:
    return {path[len(top) :]: found for path, found in shown.items() if path.startswith(top + "/")}


def _all_paths(base: Base) -> list[bytes]:
    survey = Survey(base)
    try:
        return [found.path for found in survey]
    finally:
        survey.close()


def _hides(found: Explanation) -> str:
    return " ".join(str(row.layer.number) for row in found.hidden)


def _check_state(base: Base, up_to: int, shown: Shown, paths: list[bytes]) -> int:
    """One merged tree against what ``explain`` says of each path; how many attributes there were."""
    explainer = Explainer(base.layers[:up_to])
    try:
        explained = {path: explainer.explain(path) for path in paths}
    finally:
        explainer.close()
    there = {os.fsdecode(path) for path, found in explained.items() if found.supplier is not None}
    assert there == shown.keys()
    names = defaultdict(list)
    for path, (number, _) in shown.items():
        names[number].append(_hides(explained[os.fsencode(path)]))
    seen = 0
    for path, (number, labels) in shown.items():
        supplier = explained[os.fsencode(path)].supplier
        assert supplier is not None
        if not labels:
            assert supplier.testimony.status is not None
            assert supplier.testimony.status.st_mode & 0o170000 not in (0o100000, 0o040000), path
            continue
        layer = supplier.layer
        assert labels["layer"] == f"{layer.number} {layer.diff_id[7:19]} {layer.created_by}", path
        assert labels.get("hides", "") in names[number], path
        assert "origin" not in labels
        seen += 1
    return seen


def _check_layer(base: Base, number: int, shown: Shown) -> None:
    """One layer by itself: each file of it, and each mark, hides what ``explain`` says that this layer hides."""
    explainer = Explainer(base.layers[:number])
    try:
        for path, (_, labels) in shown.items():
            if not labels:
                continue
            above, _, name = path.rpartition("/")
            named = path
            if name.startswith(".wh."):
                named = above or "/" if name == ".wh..wh..opq" else f"{above}/{name[4:]}"
            found = explainer.explain(os.fsencode(named))
            assert found.rows[0].layer.number == number == int(labels["layer"].split()[0]), path
            hidden = [row.layer.number for row in found.hidden if found.hider(row) is found.rows[0]]
            if name == named.rpartition("/")[2] and found.rows[0].testimony.status.st_nlink > 1:  # type: ignore[union-attr]
                continue  # of which name is it told?
            assert [int(layer) for layer in labels.get("hides", "").split()] == hidden, path
    finally:
        explainer.close()


def _check_difference(base: Base, up_to: int, changes: dict[str, str], paths: list[bytes]) -> None:
    """What ``diff`` says that a layer did: what came or went, came or went by this layer."""
    gone = tuple(path.rstrip("/") + "/" for path, change in changes.items() if change in ("removed", "replaced"))
    before, after = Explainer(base.layers[: up_to - 1]), Explainer(base.layers[:up_to])
    try:
        for path in paths:
            old, found = before.explain(path).supplier, after.explain(path)
            new, change = found.supplier, changes.get(os.fsdecode(path))
            if new is None:
                assert (old is not None) == (
                    change == "removed" or (old is not None and os.fsdecode(path).startswith(gone))
                )
                if old is not None:
                    assert found.reason is not None, path
                    assert found.reason.layer is not None, path
                    assert found.reason.layer.number == up_to, path
            elif old is None:
                assert (change, new.layer.number) == ("added", up_to), path
            elif change is not None:
                assert new.layer.number == up_to, path
            else:
                assert old.verdict.effect is new.verdict.effect
    finally:
        before.close()
        after.close()


def test_every_path(cowfs_: Cowfs, source: str, base: Base, tmp_path: Path) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    command = ["unshare", "-m", sys.executable, "-c", SCRIPT, MAIN, str(tmp_path / "store"), source, str(mountpoint)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    merged, apart = json.loads(done.stdout)
    paths = _all_paths(base)
    assert _check_state(base, len(base.layers), merged, paths) > 0
    assert _below(apart, "/merged").keys() == merged.keys()
    for number, layer in enumerate(base.layers, 1):
        _check_state(base, number, _below(apart, f"/upto/{number:02d}"), paths)
        _check_layer(base, number, _below(apart, f"/layers/{number:02d}-{layer.diff_id[7:19]}"))
        if number > 1:
            said = cowfs_("diff", "--json", f"{source}@{number - 1}", f"{source}@{number}")[1]
            _check_difference(base, number, _changes(records(said)), paths)


def _changes(said: list[dict[str, Any]]) -> dict[str, str]:
    return {_path(record): record["change"] for record in said}


def _path(record: dict[str, Any]) -> str:
    import base64

    encoded = record.get("path_b64")
    return os.fsdecode(base64.b64decode(encoded)) if encoded else str(record["path"])
