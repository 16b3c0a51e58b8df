"""``cowfs diff``: lines, patches, and all paths against an independent reading of the tars."""

import os
from pathlib import Path

import pytest

from tests.images.layouts import Layout
from tests.views.conftest import Cowfs, records
from tests.views.model import model, random_layers

SEED = int(os.environ.get("SEED", "1"))  # the first of a few; another one looks elsewhere


def test_lines(cowfs_: Cowfs, image: str) -> None:
    status, said = cowfs_("diff", f"{image}@1", f"{image}@2")
    assert status == 1
    assert said.splitlines() == [
        "D /cache/ (it held 2, 300 B)",
        "m /etc/ (mode 0755 -> 0700)",
        "M /etc/passwd (5 B -> 9 B, 4 B differ)",
        "D /etc/secret (600 B)",
        "T /opt (6 B; was a directory; it held 1, 11 B)",
        "A /srv/new (1 B)",
        "D /srv/old (70 B)",
        "m /usr/lib/a.so (1.0 KiB; mode 0644 -> 0755)",
    ]
    assert cowfs_("diff", image, image) == (0, "")


def test_a_patch(cowfs_: Cowfs, image: str) -> None:
    said = cowfs_("diff", "--text", f"{image}@1", f"{image}@2")[1]
    assert "--- a/etc/passwd\n+++ b/etc/passwd\n@@ -1 +1,2 @@\n root\n+app\n" in said


def test_directories_and_mistakes(cowfs_: Cowfs, image: str, tmp_path: Path) -> None:
    for name, text in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text)
    assert cowfs_("diff", f"dir:{tmp_path}/one", f"dir:{tmp_path}/two") == (1, "M /file (1 B, 1 B differ)\n")
    status, said = cowfs_("diff", f"dir:{tmp_path}/one", "dir:/nowhere")
    assert (status, said) == (125, "cowfs: no directory /nowhere\n")


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_random_images(cowfs_: Cowfs, tmp_path: Path, seed: int) -> None:
    layers = random_layers(seed)
    image = Layout(tmp_path / "random").image(*layers)
    before, after = model(layers[:2]).visible, model(layers).visible
    found = {record["path"]: record["change"] for record in records(cowfs_("diff", "--json", f"{image}@2", image)[1])}
    gone = [path for path, change in found.items() if change in ("removed", "replaced")]
    expected = {}
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        if new is None and any(path.startswith(above + "/") for above in gone):
            continue
        if old is None or new is None:
            expected[path] = "added" if old is None else "removed"
        elif old.kind != new.kind:
            expected[path] = "replaced"
        elif old.data != new.data:
            expected[path] = "modified"
    assert found == expected, f"seed {seed}"
