"""What leaves a run: mounts, tars, layers, overlay directories, images, and the difference of two runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cowfs.images.sources import resolve
from cowfs.store import Store
from cowfs.store.runs import Runs

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.images.layouts import Layout
from tests.images.tars import entry, tar

Cowdiff = Callable[..., subprocess.CompletedProcess[str]]
Snapshot = Callable[[Path], dict[str, Any]]
SCRIPT = """
echo hi >proof; echo x >>etc/passwd; rm -r doc; mkdir -p srv/a
head -c 100000 /dev/zero >srv/a/zeros; ln proof srv/proof
ln -s proof link; mkfifo fifo; chown 7:8 proof; chmod 4755 proof; setcap cap_net_raw=ep srv/a/zeros
"""
UMOUNT = [sys.executable, "-c", "from cowfs.cli.main import main; main()", "umount"]


@pytest.fixture
def left(make_run: Any, tmp_path: Path, snapshot: Snapshot) -> dict[str, Any]:
    """The tree that the one run left, as the kernel's overlayfs shows it."""
    run = make_run(SCRIPT)
    merged = tmp_path / "merged"
    layers = f"lowerdir={run.upper}:{run.lowers[0]}"
    subprocess.run(["mount", "-t", "overlay", "cowdiff-test", "-o", layers, merged], check=True, timeout=20)
    try:
        return without_root(snapshot(merged))
    finally:
        subprocess.run(["umount", merged], check=True, timeout=20)


def without_root(tree: dict[str, Any]) -> dict[str, Any]:
    return {path: file for path, file in tree.items() if path != "/"}


def test_mount_shows_what_the_run_left(
    left: dict[str, Any], cowdiff: Cowdiff, tmp_path: Path, snapshot: Snapshot
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for arguments, expected in (((), left), (("--before",), without_root(snapshot(tmp_path / "lower")))):
        done = cowdiff("mount", "last", str(there), *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        try:
            assert without_root(snapshot(there)) == expected
            with pytest.raises(OSError):
                (there / "new").touch()
        finally:
            subprocess.run([*UMOUNT, there], check=True, timeout=20)


def test_a_run_that_goes_on_can_be_mounted(make_run: Any, cowdiff: Cowdiff, tmp_path: Path) -> None:
    run = make_run("echo hi >proof", seal=False)
    there = tmp_path / "there"
    there.mkdir()
    assert cowdiff("mount", run.id, str(there)).returncode == 0
    try:
        assert (there / "proof").read_text() == "hi\n"
        (run.upper / "later").write_text("later\n")
        assert (there / "later").read_text() == "later\n"
    finally:
        subprocess.run([*UMOUNT, there], check=True, timeout=20)
        make_run.locks.pop().close()


def test_a_tar_of_the_whole_tree(left: dict[str, Any], cowdiff: Cowdiff, tmp_path: Path, snapshot: Snapshot) -> None:
    assert cowdiff("export", "last", f"tar:{tmp_path / 'out.tar'}").returncode == 0
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    unpack = ["tar", "-x", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-f", tmp_path / "out.tar"]
    subprocess.run([*unpack, "-C", unpacked], check=True, timeout=20)
    assert without_root(snapshot(unpacked)) == left
    assert (unpacked / "proof").stat().st_ino == (unpacked / "srv/proof").stat().st_ino


def test_an_overlay_directory(left: dict[str, Any], cowdiff: Cowdiff, tmp_path: Path, snapshot: Snapshot) -> None:
    assert cowdiff("export", "last", f"overlay:{tmp_path / 'out'}").returncode == 0
    merged = tmp_path / "merged"
    layers = f"lowerdir={tmp_path / 'out'}:{tmp_path / 'lower'}"
    subprocess.run(["mount", "-t", "overlay", "cowdiff-test", "-o", layers, merged], check=True, timeout=20)
    try:
        assert without_root(snapshot(merged)) == left
    finally:
        subprocess.run(["umount", merged], check=True, timeout=20)


def test_a_layer(left: dict[str, Any], cowdiff: Cowdiff, tmp_path: Path) -> None:
    """The layer over one of the base is the tree that the run left."""
    lower = subprocess.run(["tar", "-c", "-C", tmp_path / "lower", "."], check=True, capture_output=True).stdout
    done = subprocess.run(
        [*cowdiff.command, "export", "last", "layer:-"],  # type: ignore[attr-defined]
        env=os.environ | cowdiff.environment,  # type: ignore[attr-defined]
        check=True,
        capture_output=True,
        timeout=30,
    )
    image = Layout(tmp_path / "layout").image(lower, done.stdout)
    with Store.open(tmp_path / "other") as store:
        lowers = resolve(image, store).lowers
    merged = tmp_path / "merged"
    layers = "lowerdir=" + ":".join(map(str, lowers))
    subprocess.run(["mount", "-t", "overlay", "cowdiff-test", "-o", layers, merged], check=True, timeout=20)
    try:
        assert {f"/{path.relative_to(merged)}" for path in merged.rglob("*")} == left.keys()
        assert (merged / "etc/passwd").read_text() == "root:x:0:0\nx\n"
    finally:
        subprocess.run(["umount", merged], check=True, timeout=20)


@pytest.mark.parametrize("target", ["tar:{}/lower", "overlay:{}/lower", "zip:x", "tar:", "nothing"])
def test_nothing_is_overwritten(make_run: Any, cowdiff: Cowdiff, tmp_path: Path, target: str) -> None:
    make_run("true")
    done = cowdiff("export", "last", target.format(tmp_path))
    assert (done.returncode, len(done.stderr.splitlines())) == (125, 1)


def run_over(store: Path, image: str, script: str) -> str:
    """A run over an image, by writing into its upper."""
    with Store.open(store) as opened:
        run, lock = Runs(store).create(resolve(image, opened), ["sh", "-c", script])
    subprocess.run(["sh", "-euc", script], cwd=run.upper, check=True, timeout=20)
    lock.close()
    Runs(store).seal(run, 0)
    return run.id


def test_commit_makes_an_image_with_one_layer_more(cowdiff: Cowdiff, store: Path, tmp_path: Path) -> None:
    image = Layout(tmp_path / "layout").image(tar(entry(b"one", data=b"1")))
    run_over(store, image, "echo 2 >two")
    done = cowdiff("commit", "last", "mine:1")
    assert (done.returncode, done.stderr) == (0, "")
    with Store.open(store) as opened:
        base = resolve("mine:1", opened)
        assert [layer.diff_id for layer in base.layers][-1] == done.stdout.strip()
        assert base.layers[-1].created_by == "sh -c 'echo 2 >two'"
        assert (base.layers[-1].directory / "two").read_text() == "2\n"
        opened.remove_image(image)
    again = run_over(store, "mine:1", "echo 3 >three")
    assert cowdiff("commit", again, "mine:2").returncode == 0
    with Store.open(store) as opened:
        assert len(resolve("mine:2", opened).layers) == 3


def test_commit_needs_an_image(make_run: Any, cowdiff: Cowdiff, store: Path, tmp_path: Path) -> None:
    make_run("echo hi >proof")
    assert "no image" in cowdiff("commit", "last", "mine").stderr
    image = Layout(tmp_path / "layout").image(tar(entry(b"one", data=b"1")))
    run = run_over(store, image, "echo 2 >two")
    with Store.open(store) as opened:
        opened.remove_image(image)
    done = cowdiff("commit", run, "mine")
    assert (done.returncode, len(done.stderr.splitlines())) == (125, 1)
    assert "no longer in the store" in done.stderr


def test_the_difference_of_two_runs(make_run: Any, cowdiff: Cowdiff) -> None:
    make_run("echo one >proof; echo x >>etc/passwd; rm doc/one; mkdir a; echo a >a/f", name="first")
    make_run("echo two >proof; echo x >>etc/passwd; rm -r doc; mkdir a; echo a >a/f; chmod 600 a/f", name="second")
    done = cowdiff("diff", "first", "second")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "m /a/f (2 B; mode 0644 -> 0600)",
        "D /doc/",
        "D /doc/deep/",
        "D /doc/deep/two (2 B)",
        "M /proof (4 B, 3 B differ)",
    ]
    assert "-one\n+two\n" in cowdiff("diff", "first", "second", "--text").stdout
    told = [json.loads(line) for line in cowdiff("diff", "first", "second", "--json").stdout.splitlines()]
    assert [change["path"] for change in told][-1] == "/proof"
    same = cowdiff("diff", "first", "first")
    assert (same.returncode, same.stdout) == (0, "")
