"""``cowfs mount --layers`` entry for entry: each layer against an independent reading of its tar, each state in between
against the kernel's overlayfs. Types, modes, owners, times, attributes, links, bytes."""

import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from cowfs.images.inspected import inspected
from cowfs.store import Store
from tests.images import model
from tests.images.layouts import Layout
from tests.images.test_unpack import everything
from tests.views.conftest import LAYERS

EMPTY = hashlib.sha256().hexdigest()
IMAGES = os.environ.get("IMAGES", "").split()  # more to look at, as oci:/somewhere:latest
MAIN = "from cowfs.cli.main import main; main()"

SCRIPT = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from tests.images.model import seen
cowfs, root, image, mountpoint = sys.argv[2:]
subprocess.run([sys.executable, "-c", cowfs, "--root", root, "mount", "--layers", image, mountpoint], check=True)
try:
    tops = ["merged", *("layers/" + name for name in os.listdir(mountpoint + "/layers"))]
    tops += ["upto/" + name for name in os.listdir(mountpoint + "/upto")]
    sys.stdout.write(repr({top: seen(mountpoint + "/" + top) for top in sorted(tops)}))
finally:
    subprocess.run(["umount", mountpoint], check=True)
"""


@pytest.fixture(params=["hiding", "unpacking", *IMAGES])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    layers = {"hiding": LAYERS, "unpacking": everything()}.get(request.param)
    return request.param if layers is None else Layout(tmp_path / "layout").image(*layers)


def _tars(source: str) -> list[bytes]:
    """The layers of an image of a layout, as its documents name them."""
    _, path, name = source.split(":")
    blobs = Path(path) / "blobs/sha256"
    index = json.loads((Path(path) / "index.json").read_text())["manifests"]
    chosen = next(one for one in index if one["annotations"]["org.opencontainers.image.ref.name"] == name)
    found = []
    for layer in json.loads((blobs / chosen["digest"][7:]).read_text())["layers"]:
        data = (blobs / layer["digest"][7:]).read_bytes()
        if layer["mediaType"].endswith("zstd"):
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        found.append(gzip.decompress(data) if layer["mediaType"].endswith("gzip") else data)
    return found


def _same(shown: model.Tree, expected: model.Tree, what: str) -> None:
    """What differs, said in a few lines: trees are large."""
    differs = {path: (shown.get(path), expected.get(path)) for path in shown.keys() | expected.keys()}
    found = {path: pair for path, pair in differs.items() if pair[0] != pair[1]}
    assert not found, f"{what}: {len(found)}, as {dict(list(found.items())[:3])}"


def _without_labels(tree: model.Tree) -> model.Tree:
    return {
        path: replace(node, xattrs=tuple(item for item in node.xattrs if not item[0].startswith("user.cowfs.")))
        for path, node in tree.items()
    }


def _is_mark(path: bytes) -> bool:
    return path.rpartition(b"/")[2].startswith(b".wh.")


def test_every_layer_and_every_state(source: str, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        base = inspected(source, store)
    (tmp_path / "mnt").mkdir()
    command = ["unshare", "-m", sys.executable, "-c", SCRIPT, str(Path(__file__).parents[2]), MAIN]
    command += [str(tmp_path / "store"), source, str(tmp_path / "mnt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    shown = {top: _without_labels(tree) for top, tree in eval(done.stdout, {"Node": model.Node}).items()}
    layers = _tars(source)
    assert len(layers) == len(base.layers)
    for number, (layer, info) in enumerate(zip(layers, base.layers, strict=True), 1):
        tree = shown[f"layers/{number:02d}-{info.diff_id[7:19]}"]
        assert {os.fsdecode(path) for path in tree if _is_mark(path)} == _telling(_names(layer)), number
        for path in filter(_is_mark, tree):
            assert (tree[path].kind, tree[path].content) == (stat.S_IFREG, EMPTY)
        brought = {path: node for path, node in tree.items() if not _is_mark(path)}
        # a layer that holds nothing has no root of its own either
        _same(brought, model.merged([layer]) if _names(layer) else {b"": tree[b""]}, f"layer {number}")
        directories = [one.directory for one in reversed(base.layers[:number]) if not one.empty]
        _same(shown[f"upto/{number:02d}"], model.kernel_view(directories), f"the state after {number}")
    _same(shown["merged"], shown[f"upto/{len(layers):02d}"], "merged")


def _names(layer: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(layer), errors="surrogateescape") as archive:
        return {os.path.normpath("/" + member.name).lstrip("/") for member in archive}


def _telling(names: set[str]) -> set[str]:
    """The marks of a tar that say something: not one beside an entry of its name, nor below an opaque directory."""
    opaque = [name.removesuffix(".wh..wh..opq") for name in names if name.endswith(".wh..wh..opq")]
    marks = set()
    for name in names:
        above, _, mark = name.rpartition("/")
        if mark == ".wh..wh..opq":
            marks.add(name)
        elif mark.startswith(".wh."):
            hidden = f"{above}/{mark[4:]}".lstrip("/")
            if hidden not in names and not any(name.startswith(top) for top in opaque):
                marks.add(name)
    return marks
