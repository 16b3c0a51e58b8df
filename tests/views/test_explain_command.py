"""``cowfs explain``, ``layers`` and the sources that name a part of an image, or a run."""

import os
from pathlib import Path

import pytest

from cowfs.model import Base, LayerInfo
from cowfs.store import Store
from cowfs.store.runs import Runs
from tests.views.conftest import Cowfs, records


@pytest.mark.parametrize(
    ("path", "head"),
    [
        ("/etc/passwd", "/etc/passwd: file, from layer 2"),
        ("etc/./passwd/", "/etc/passwd: file, from layer 2"),
        ("/usr", "/usr: directory, from layer 2"),
        ("/nowhere", "/nowhere: not there: no layer has it"),
        ("/cache", "/cache: not there: deleted in layer 2"),
        ("/cache/deep/file", "/cache/deep/file: not there: deleted in layer 2, with /cache"),
        ("/srv/old", "/srv/old: not there: hidden by /srv, which is opaque in layer 2"),
        ("/opt/under", "/opt/under: not there: hidden by /opt, which is no directory in layer 2"),
        ("/opt/never", "/opt/never: not there: /opt is no directory in layer 2"),
        ("/etc/secret", "/etc/secret: file, from layer 4"),
    ],
)
def test_why(cowfs_: Cowfs, image: str, path: str, head: str) -> None:
    status, said = cowfs_("explain", image, path)
    assert said.splitlines()[0] == head
    assert status == ("not there" in head)


def test_rows_say_layer_diff_id_and_command(cowfs_: Cowfs, image: str) -> None:
    _, listed = cowfs_("layers", "--json", image)
    short = [record["diff_id"][7:19] for record in records(listed)]
    _, said = cowfs_("explain", image, "/etc/secret")
    assert [" ".join(line.split()) for line in said.splitlines()[1:]] == [
        f"4 {short[3]} supplies it file 0644 8 bytes step 4",
        f"2 {short[1]} hidden by layer 4 step 2",
        f"1 {short[0]} hidden by layer 4 file 0644 600 bytes step 1",
    ]


def test_links_are_followed_within_the_image(cowfs_: Cowfs, image: str) -> None:
    assert cowfs_("explain", image, "/lib/a.so")[1].splitlines()[:2] == [
        "/lib -> usr/lib: link, from layer 1",
        "/usr/lib/a.so: file, from layer 2",
    ]
    assert cowfs_("explain", image, "/lib/../lib/x")[1].splitlines() == [
        "/lib -> usr/lib: link, from layer 1",
        "/usr/lib/x: not there: no layer has it",
    ]
    assert "\n/etc/passwd: file, from layer 2\n" in cowfs_("explain", image, "/out")[1]
    status, said = cowfs_("explain", image, "/loop")
    assert (status, said.count("/loop -> loop: link")) == (0, 40)


def test_json(cowfs_: Cowfs, image: str) -> None:
    _, said = cowfs_("explain", "--json", image, "/lib/a.so", "/srv/old", os.fsdecode(b"/etc/\xff"))
    link, hidden, odd = records(said)
    assert link["links"] == [{"path": "/lib", "target": "usr/lib", "layer": 1}]
    assert (link["path"], link["leads_to"], link["exists"]) == ("/lib/a.so", "/usr/lib/a.so", True)
    assert [row["effect"] for row in link["layers"]] == ["nothing", "nothing", "supplies", "hidden"]
    assert hidden["reason"] == {"why": "hidden by an opaque directory", "layer": 2, "at": "/srv"}
    assert (odd["path_b64"], odd["exists"]) == ("L2V0Yy//", True)


def test_an_image_as_it_was_after_a_layer(cowfs_: Cowfs, image: str) -> None:
    assert cowfs_("explain", f"{image}@1", "/etc/secret")[1].startswith("/etc/secret: file, from layer 1")
    assert cowfs_("explain", f"{image}@3", "/etc/secret")[1].startswith("/etc/secret: not there: deleted in layer 2")
    status, said = cowfs_("layers", f"{image}@5")
    assert (status, said) == (125, f"cowfs: '{image}@5': {image} has layers 1 to 4\n")


def test_an_opaque_root_hides_all_below(cowfs_: Cowfs, tmp_path: Path) -> None:
    from tests.images.layouts import Layout
    from tests.images.tars import entry, opaque, tar

    image = Layout(tmp_path / "opaque").image(
        tar(entry(b"a", data=b"1"), entry(b"b", data=b"1")), tar(opaque(), entry(b"b", data=b"2"))
    )
    assert cowfs_("explain", image, "/a")[1].startswith("/a: not there: hidden by /, which is opaque in layer 2")
    assert cowfs_("explain", image, "/b")[1].startswith("/b: file, from layer 2")


def test_a_run_that_renamed_a_directory(cowfs_: Cowfs, tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    (lower / "old").mkdir(parents=True)
    (lower / "old/file").write_text("below")
    Store.open(tmp_path / "store").close()
    with_run = Runs(tmp_path / "store")
    run, lock = with_run.create(Base("dir:lower", (LayerInfo(1, lower),)), ("mv", "old", "new"))
    (run.upper / "new").mkdir()
    os.setxattr(run.upper / "new", "trusted.overlay.redirect", b"old")
    os.mknod(run.upper / "old", 0o20000, 0)
    with lock:
        with_run.seal(run, 0)
    status, said = cowfs_("explain", f"run:{run.id}", "/new/file", "/old/file")
    lines = said.splitlines()
    assert lines[0] == "/new/file: file, from layer 1"
    assert "supplies it, as /old/file" in lines[1]
    assert lines[2] == "/old/file: not there: deleted in layer 2, with /old"
    assert status == 1
    assert f"run {run.id}: mv old new" in cowfs_("layers", "run:last")[1]
    assert cowfs_("layers", "run:nobody") == (125, "cowfs: no run 'nobody' (cowdiff lists them)\n")
