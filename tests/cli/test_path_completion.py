"""Completion of paths inside an image, as bash does it: a shell with our script, and TAB."""

import os
import shlex
import sys
from pathlib import Path

import pexpect
import pytest

from cowfs.cli.inside import paths
from cowfs.errors import NotFound
from cowfs.images.inspected import inspected
from cowfs.store import Store
from tests.images.layouts import Layout
from tests.images.tars import DIRECTORY, SYMLINK, entry, tar

PROGRAM = """#!{python}
from cowfs.cli.main import main
main()
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    """An unpacked image, and beside it the program as it is called."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/cowfs").write_text(PROGRAM.format(python=sys.executable))
    (tmp_path / "bin/cowfs").chmod(0o755)
    layer = tar(
        entry(b"usr", DIRECTORY),
        entry(b"usr/bin", DIRECTORY),
        entry(b"usr/bin/bash"),
        entry(b"usr/bin/with space"),
        entry(b"usr/bin/\xff"),
        entry(b"usr/bin/\x1b[31m"),
        entry(b"bin", SYMLINK, link=b"usr/bin"),
    )
    image = Layout(tmp_path / "layout").image(layer)
    with Store.open(tmp_path / "store") as store:
        inspected(image, store)
    return image


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("explain {image} /us", "explain {image} /usr/X"),
        ("explain {image} /usr/b", "explain {image} /usr/bin/X"),
        ("explain {image} /bin/ba", "explain {image} /bin/bash X"),
        ("explain {image} /usr/bin/w", r"explain {image} '/usr/bin/with space' X"),
        ("find {image} /usr/bin/b", "find {image} /usr/bin/bash X"),
        ("layers oci:{tmp}/layout:im", "layers oci:{tmp}/layout:image X"),
        ("explain oci:{tmp}/nowhere /us", "explain oci:{tmp}/nowhere /usX"),
    ],
)
def test_tab(source: str, tmp_path: Path, typed: str, becomes: str) -> None:
    """What the line is after TAB and an X: its words, by a printf that is put before it."""
    environment = os.environ | {"COWFS_ROOT": str(tmp_path / "store"), "INPUTRC": "/dev/null", "TERM": "dumb"}
    environment["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"
    shell = pexpect.spawn("bash", ["--norc", "--noprofile"], env=environment, timeout=60, encoding="utf-8")
    try:
        shell.setwinsize(24, 1000)
        shell.sendline("PS1=; stty -echo; eval \"$(_COWFS_COMPLETE=bash_source cowfs)\"; echo re''ady")
        shell.expect_exact("ready\r\n")
        shell.send("cowfs " + typed.format(image=source, tmp=tmp_path) + "\tX\x01printf '<%s>' \n")
        words = shlex.split(becomes.format(image=source, tmp=tmp_path))
        shell.expect_exact("".join(f"<{word}>" for word in ["cowfs", *words]))
    finally:
        shell.close(force=True)


def test_nothing_is_unpacked_for_it(source: str, tmp_path: Path) -> None:
    other = Layout(tmp_path / "other").image(tar(entry(b"file")))
    with Store.open(tmp_path / "store") as store:
        assert list(paths(source, store, "/u")) == ["/usr/"]
        with pytest.raises(NotFound):
            list(paths(other, store, "/"))
        assert len(store.images()) == 1
