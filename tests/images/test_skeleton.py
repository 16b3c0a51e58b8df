"""A layer's tar comes out of the store as it went in, byte for byte, whoever wrote it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cowfs.images.skeleton import rebuild
from cowfs.images.sources import resolve
from cowfs.images.tarheader import BadTar
from cowfs.store import Store
from tests.images.layouts import Layout, digest
from tests.images.tars import (
    BLOCK,
    CHAR,
    DIRECTORY,
    END,
    HARD_LINK,
    SYMLINK,
    entry,
    header,
    opaque,
    padded,
    pax,
    tar,
    whiteout,
)

LONG = b"/".join([b"long-%d" % number * 20 for number in range(12)])
SPARSE_MAP = padded(b"2\n0\n3\n1048573\n3\n")

TARS = {
    "nothing": END,
    "no entry for a directory": tar(entry(b"a/b/c", data=b"1" * 1000)),
    "every type": tar(
        entry(b"./", DIRECTORY, mode=0o1777),
        entry(b"./d/", DIRECTORY),
        entry(b"./d/file", data=bytes(range(256)) * 40, xattrs={b"user.a": b"\0=\n"}),
        entry(b"./d/link", HARD_LINK, link=b"./d/file"),
        entry(b"./d/symlink", SYMLINK, link=b"file"),
        entry(b"./tty", CHAR, device=(5, 0)),
    ),
    "times and owners": tar(entry(b"f", data=b"x", uid=1 << 31, gid=7, time_ns=-(10**9) - 1)),
    "long names": tar(entry(LONG, data=b"x"), entry(b"l", SYMLINK, link=LONG)),
    "GNU's long names": header(b"././@LongLink", b"L", size=len(LONG) + 1)
    + padded(LONG + b"\0")
    + tar(header(LONG[:100], size=1) + padded(b"1")),
    "whiteouts with data": tar(
        entry(b".wh.gone", data=b"nobody wants this"), whiteout(b"d/x"), entry(b"e/.wh..wh..opq", data=b"this neither")
    ),
    "what AUFS left": tar(entry(b".wh..wh.plnk", DIRECTORY), entry(b".wh..wh.plnk/1.2", data=b"y" * 3000)),
    "a whiteout and an entry": tar(opaque(), whiteout(b"f"), entry(b"f", data=b"1"), entry(b"d", DIRECTORY)),
    "a sparse file": pax([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
                          (b"GNU.sparse.name", b"s"), (b"GNU.sparse.realsize", b"1048576")])
    + header(b"GNUSparseFile/s", size=len(SPARSE_MAP) + 6) + SPARSE_MAP + padded(b"abcxyz") + END,
    "a global header": pax([(b"comment", b"c" * 700)], b"g") + tar(entry(b"f", data=b"1")),
    "more than zeros need be": tar(entry(b"f", data=b"1")) + bytes(40 * BLOCK),
    "padding that is not zeros": header(b"f", size=3) + b"abc" + b"?" * (BLOCK - 3) + END,
    "many": tar(*(entry(b"d/%d" % number, data=b"%d" % number * (number % 700)) for number in range(3000))),
}  # fmt: skip


@pytest.mark.parametrize("what", TARS)
@pytest.mark.parametrize("how", ["none", "gzip"])
def test_the_tar_comes_out_as_it_went_in(store: Store, layout: Layout, what: str, how: str) -> None:
    (layer,) = resolve(layout.image(TARS[what], how=how), store).layers
    with store.open_layer(layer.diff_id) as (root_fd, skeleton):
        again = b"".join(rebuild(skeleton, root_fd))
    assert digest(again) == layer.diff_id
    assert again == TARS[what]


def test_data_is_not_stored_twice(store: Store, layout: Layout) -> None:
    data = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(10_000))
    (layer,) = resolve(layout.image(tar(entry(b"f", data=data))), store).layers
    assert (layer.directory.parent / "skeleton.gz").stat().st_size < 1000


def test_a_file_that_lost_its_end_is_told(store: Store, layout: Layout) -> None:
    (layer,) = resolve(layout.image(tar(entry(b"f", data=b"12345"))), store).layers
    with (layer.directory / "f").open("r+b") as file:
        file.truncate(3)
    with store.open_layer(layer.diff_id) as (root_fd, skeleton), pytest.raises(BadTar, match="too short"):
        b"".join(rebuild(skeleton, root_fd))


def test_e12_entries_without_end_are_stopped_and_cost_no_memory(tmp_path: Path) -> None:
    """The real limit is a million (ten of them: test_census); what each entry costs in memory is what counts here.

    Names in order and out of it, directories that no entry describes, and the record of it all.
    """
    program = """
import os, resource, sys
from pathlib import Path
from cowfs.images import limits
from cowfs.images.skeleton import Recorder
from cowfs.images.tarheader import BadTar
from cowfs.images.unpack import unpack
from cowfs.store.treedigest import tree_facts
from tests.images.tars import header

def endless():
    number = 0
    while True:
        number += 1
        yield header(b"%d/%d/%d" % (number % 7, number // 1000, number))

limits.ENTRIES = 10_000
root = os.open(sys.argv[1], os.O_RDONLY)
with open(sys.argv[2], "wb") as file:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with Recorder(file) as skeleton:
            unpack(endless(), root, skeleton.add)
    except BadTar as error:
        print(error)
    tree_facts(root)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    (tmp_path / "root").mkdir()
    command = [sys.executable, "-c", program, tmp_path / "root", tmp_path / "skeleton"]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()
    assert said[0].startswith("a layer of more than 10000 entries")
    assert int(said[1]) < 6 << 10, "KiB"
