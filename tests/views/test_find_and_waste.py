"""``cowfs find``, ``waste`` and ``explain`` against an independent reading of the layers' tars."""

import os
from collections import defaultdict
from pathlib import Path

import pytest

from tests.images.layouts import Layout
from tests.images.tars import HARD_LINK, entry, tar, whiteout
from tests.views.conftest import Cowfs, records
from tests.views.model import model, random_layers

SEED = int(os.environ.get("SEED", "1"))  # the first of a few; another one looks elsewhere


def test_find_shows_layer_size_mode_and_kind(cowfs_: Cowfs, image: str) -> None:
    assert cowfs_("find", image, "passwd") == (0, "  2        9 B  0644  file       /etc/passwd\n")
    assert cowfs_("find", image, "*.so") == (0, "  2    1.0 KiB  0755  file       /usr/lib/a.so\n")
    assert cowfs_("find", f"{image}@2", "/etc")[1].splitlines()[0] == "  2          -  0700  directory  /etc"
    assert cowfs_("find", image, "nowhere") == (1, "")


def test_find_deleted_finds_a_secret_that_a_later_layer_removed(cowfs_: Cowfs, image: str) -> None:
    assert cowfs_("find", f"{image}@3", "secret") == (1, "")
    gone = "  1      600 B  0644  file       /etc/secret  (deleted in layer 2)\n"
    assert cowfs_("find", "--deleted", f"{image}@3", "secret") == (0, gone)
    replaced = gone.replace("deleted in layer 2", "replaced in layer 4")
    assert cowfs_("find", "--deleted", image, "secret") == (0, replaced)


def test_waste_of_the_image(cowfs_: Cowfs, image: str) -> None:
    status, said = cowfs_("waste", "--json", image)
    assert status == 0
    kinds = {record["path"]: record["why"] for record in records(said) if "why" in record}
    assert kinds == {
        "/cache/deep/file": "deleted",
        "/etc/passwd": "shadowed",
        "/etc/secret": "shadowed",
        "/opt/under": "deleted",
        "/srv/old": "deleted",
        "/usr/lib/a.so": "duplicated",
    }
    text = cowfs_("waste", image)[1]
    assert text.startswith("1.9 KiB of 2.9 KiB (66.")
    assert "/usr/lib/a.so" in text
    assert cowfs_("waste", "--fail-above", "65%", image)[0] == 1
    assert cowfs_("waste", "--fail-above", "67%", image)[0] == 0
    assert cowfs_("waste", "--fail-above", "much", image) == (
        125,
        "cowfs: --fail-above much: write a percentage, as 5%\n",
    )


def test_waste_of_hard_links(cowfs_: Cowfs, tmp_path: Path) -> None:
    """A file is wasted once, and only when its last name is gone."""
    below = tar(
        entry(b"a", data=b"1" * 100),
        entry(b"b", HARD_LINK, link=b"a"),
        entry(b"c", data=b"2" * 30),
        entry(b"d", HARD_LINK, link=b"c"),
    )
    image = Layout(tmp_path / "linked").image(below, tar(whiteout(b"a"), whiteout(b"c"), whiteout(b"d")))
    *_, sums = records(cowfs_("waste", "--json", image)[1])
    assert (sums["total"], sums["wasted"], sums["files"]) == (130, 30, 1)


@pytest.mark.parametrize("seed", range(SEED, SEED + 5))
def test_all_paths_of_random_images(cowfs_: Cowfs, tmp_path: Path, seed: int) -> None:
    layers = random_layers(seed)
    image, expected = Layout(tmp_path / "random").image(*layers), model(layers)
    visible, wasted = expected.visible, expected.wasted()

    found = {record["path"]: record for record in records(cowfs_("find", "--json", image)[1])}
    facts = {path: (row["layer"], row["kind"], row["size"] * (row["kind"] == "file")) for path, row in found.items()}
    assert facts == {path: (item.layer, item.kind, len(item.data)) for path, item in visible.items()}, f"seed {seed}"

    deleted = [row for row in records(cowfs_("find", "--json", "--deleted", image)[1]) if row["kind"] == "file"]
    carried = sorted((row["path"], row["layer"], row["size"]) for row in deleted)
    assert carried == sorted((path, item.layer, len(item.data)) for path, item in wasted), f"seed {seed}"

    sizes = defaultdict(list)
    for path, item in expected.carried:
        sizes[path].append(len(item.data))
    least = sum(min(sizes[path]) for path in sizes if path in visible and visible[path].kind == "file")
    total = sum(map(sum, sizes.values()))
    *_, sums = records(cowfs_("waste", "--json", image)[1])
    assert sums["wasted"] == sum(len(item.data) for _, item in wasted), f"seed {seed}"
    assert (sums["total"], sums["efficiency"]) == (total, round(least / total, 6) if total else 1.0)

    for record in records(cowfs_("explain", "--json", image, *expected.paths())[1]):
        if record.get("links"):
            continue
        path, rows = record["path"], record["layers"]
        assert record["exists"] is (path in visible), f"seed {seed}: {record}"
        hidden = [row["layer"] for row in rows if row["effect"] == "hidden" and row.get("kind") == "file"]
        assert hidden == [row["layer"] for row in deleted if row["path"] == path], f"seed {seed}: {record}"
        suppliers = [row["layer"] for row in rows if row["effect"] == "supplies"]
        assert suppliers == [visible[name].layer for name in (path,) if name in visible], f"seed {seed}: {record}"
