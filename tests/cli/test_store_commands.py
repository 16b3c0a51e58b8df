"""``cowfs check``, ``gc``, ``df``, ``inspect``, ``tag`` and ``export`` as they are typed."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cowfs.cli.entry import status_of
from cowfs.cli.main import cowfs
from cowfs.images.sources import resolve, resolve_image
from cowfs.store import Store
from cowfs.store.runs import Runs

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.images.layouts import Layout, config_of
from tests.images.tars import DIRECTORY, HARD_LINK, SYMLINK, entry, tar

ONE = tar(
    entry(b"./", DIRECTORY),
    entry(b"d/", DIRECTORY),
    entry(b"d/f", data=b"content" * 1000, xattrs={b"user.x": b"1"}),
    entry(b"d/g", HARD_LINK, link=b"d/f"),
    entry(b"l", SYMLINK, link=b"d/f"),
)
TWO = tar(entry(b"two", data=b"2" * 5000))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def image(layout: Layout) -> str:
    """An image of two layers in a layout."""
    return layout.image(ONE, TWO)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a store will be."""
    return tmp_path / "store"


@pytest.fixture
def run(root: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Status, output and errors of ``cowfs --root ROOT ARGUMENTS``."""

    def status_and_output(*arguments: str) -> tuple[int, str, str]:
        status = status_of(cowfs, "cowfs", ["--root", str(root), *arguments])
        return (status, *capfd.readouterr())

    return status_and_output


def records(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


# --- check


def layer_of(root: Path, image: str) -> Path:
    """The directory of the bottom layer, root/ and all."""
    with Store.open(root) as store:
        return resolve(image, store, every_layer=True).layers[0].directory.parent


def flip(path: Path, at: int = 10) -> None:
    """One bit, at the same times."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_name(layer: Path) -> None:
    before = (layer / "root/d").stat()
    (layer / "root/d/g").rename(layer / "root/d/h")
    os.utime(layer / "root/d", ns=(before.st_atime_ns, before.st_mtime_ns))


def a_copy(layer: Path) -> None:
    """Of a hard link: the same bytes and attributes, but no link."""
    before = (layer / "root/d").stat()
    shutil.copy2(layer / "root/d/f", layer / "root/d/new")
    (layer / "root/d/new").rename(layer / "root/d/g")
    os.utime(layer / "root/d", ns=(before.st_atime_ns, before.st_mtime_ns))


def another_digest(layer: Path) -> None:
    record = json.loads((layer / "layer.json").read_bytes())
    record["tree"] = "sha256:" + "0" * 64
    (layer / "layer.json").write_text(json.dumps(record))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a byte": lambda layer: flip(layer / "root/d/f"),
    "the last byte": lambda layer: flip(layer / "root/d/f", 6999),
    "a name": another_name,
    "a mode": lambda layer: (layer / "root/d/f").chmod(0o640),
    "an owner": lambda layer: os.chown(layer / "root/l", 1, 1, follow_symlinks=False),
    "an attribute": lambda layer: os.setxattr(layer / "root/d/f", "user.x", b"2"),
    "an attribute more": lambda layer: os.setxattr(layer / "root", "trusted.overlay.opaque", b"y"),
    "a time": lambda layer: os.utime(layer / "root/d", ns=(1, 1)),
    "a link": a_copy,
    "a file less": lambda layer: (layer / "root/d/f").unlink(),
    "a byte of the skeleton": lambda layer: flip(layer / "skeleton.gz", 40),
    "no skeleton": lambda layer: (layer / "skeleton.gz").unlink(),
    "an empty skeleton": lambda layer: (layer / "skeleton.gz").write_bytes(b""),
    "the record": lambda layer: (layer / "layer.json").write_bytes(b""),
    "the digest of the tree": another_digest,
}


@pytest.mark.parametrize("what", DAMAGES)
def test_x08_whatever_changed_in_a_layer_is_found_and_repaired(
    root: Path, image: str, run: Callable[..., tuple[int, str, str]], what: str
) -> None:
    layer = layer_of(root, image)
    assert run("check") == (0, "3 layers and images checked: all as they came\n", "")
    DAMAGES[what](layer)
    status, output, errors = run("check")
    assert (status, output) == (1, "3 layers and images checked: 1 of them damaged\n")
    assert errors.startswith(f"cowfs: layer {layer.name[:12]}: ")
    assert errors.endswith(f"({image})\n")
    status, output, _ = run("check", "--repair")
    assert (status, output.splitlines()[-1]) == (0, "3 layers and images checked: all as they came")
    assert run("check", "--json")[0] == 0
    assert (layer / "root/d/f").read_bytes() == b"content" * 1000
    assert os.listdir(root / "staging") == []


def test_x08_blobs_and_records_are_checked_and_brought_again(
    root: Path, layout: Layout, image: str, run: Callable[..., tuple[int, str, str]]
) -> None:
    other = layout.image(TWO, name="other")
    for text in (image, other):
        layer_of(root, text)
    with Store.open(root) as store:
        stored = resolve_image(image, store)
    for digest in (stored.config, stored.digest):
        flip(root / "blobs/sha256" / digest[7:])
        status, output, errors = run("check", "--json")
        assert status == 1
        (damaged,) = [record for record in records(output) if not record["ok"]]
        assert damaged["image"] == image
        assert run("check", other)[0] == 0
        assert run("check", "--repair")[0] == 0
    assert not errors


def test_a_layer_whose_source_is_gone_stays_damaged_and_says_why(
    root: Path, layout: Layout, image: str, run: Callable[..., tuple[int, str, str]]
) -> None:
    flip(layer_of(root, image) / "root/d/f")
    shutil.rmtree(layout.path)
    status, _, errors = run("check", "--repair")
    assert status == 1
    assert f"{image} cannot be brought again: no file or directory {layout.path}" in errors
    assert run("layers", image)[0] == 0, "what is damaged is better than nothing"


def test_a_layer_whose_source_is_another_one_now(
    root: Path, layout: Layout, image: str, run: Callable[..., tuple[int, str, str]]
) -> None:
    flip(layer_of(root, image) / "root/d/f")
    layout.entries.clear()
    layout.image(TWO)
    status, _, errors = run("check", "--repair")
    assert status == 1
    assert "there is another image there now" in errors


def test_a_layer_in_use_is_not_repaired(root: Path, image: str, run: Callable[..., tuple[int, str, str]]) -> None:
    layer = layer_of(root, image)
    flip(layer / "root/d/f")
    with Store.open(root) as store, store.lease(resolve(image, store)):
        status, _, errors = run("check", "--repair")
        assert status == 1
        assert f"layer {layer.name[:12]} is in use: end the runs and mounts that use it" in errors
    assert run("check", "--repair")[0] == 0


def test_check_reads_what_no_image_uses(root: Path, image: str, run: Callable[..., tuple[int, str, str]]) -> None:
    layer = layer_of(root, image)
    for record in (root / "images").iterdir():
        record.unlink()
    flip(layer / "root/d/f")
    status, output, _ = run("check", "--json")
    assert status == 1
    assert {record["layer"][7:]: record["ok"] for record in records(output)}[layer.name] is False


# --- gc, df


def test_gc_says_what_would_go_and_does_it(root: Path, image: str, run: Callable[..., tuple[int, str, str]]) -> None:
    with Store.open(root) as store:
        base = resolve(image, store)
        disk = {layer.diff_id: found.disk for layer in base.layers if (found := store.layer(layer.diff_id))}
        kept, lock = Runs(store.root).create(base, ["true"])
        lock.close()
    part = root / "blobs/sha256" / ("a" * 64 + ".part")
    part.write_bytes(b"half of it")
    for record in (root / "images").iterdir():
        record.unlink()
    before = sorted(root.rglob("*"))

    status, output, _ = run("gc", "--dry-run")
    assert output.splitlines()[0] == "would remove download aaaaaaaaaaaa  10 B"
    assert output.splitlines()[-1] == "this would free 10 B"
    assert f"would keep layer {min(disk)[7:19]}: it goes with the last run that uses it: cowdiff rm {kept.id}" in output

    shutil.rmtree(root / "runs" / kept.id)
    status, output, _ = run("gc", "--dry-run", "--json")
    freed = {record["layer"]: record["freed"] for record in records(output) if "layer" in record}
    assert (status, freed) == (0, disk)
    assert all(record["removed"] is False for record in records(output))
    assert sorted(root.rglob("*")) == [path for path in before if kept.id not in path.parts]

    status, output, _ = run("gc", "--json")
    assert {record["layer"] for record in records(output) if record.get("removed") and "layer" in record} == set(disk)
    assert not list((root / "layers/sha256").iterdir())
    assert not list((root / "blobs/sha256").iterdir())
    assert run("gc") == (0, "freed 0 B\n", "")


def test_gc_leaves_what_is_in_use(root: Path, image: str, run: Callable[..., tuple[int, str, str]]) -> None:
    with Store.open(root) as store, store.lease(resolve(image, store)):
        for record in (root / "images").iterdir():
            record.unlink()
        _, output, _ = run("gc", "--json")
        assert [record["in_use"] for record in records(output)] == [True, True]
    assert len(os.listdir(root / "layers/sha256")) == 2


def test_df_counts_what_is_there(root: Path, image: str, run: Callable[..., tuple[int, str, str]]) -> None:
    with Store.open(root) as store:
        base = resolve(image, store)
        sizes = [layer.disk for diff_id in store.layers() if (layer := store.layer(diff_id))]
        made, lock = Runs(store.root).create(base, ["true"])
        lock.close()
        (made.upper / "f").write_bytes(b"x" * 100_000)
    status, output, _ = run("df", "--json")
    rows = {record["what"]: record for record in records(output)}
    assert status == 0
    assert (rows["layers"]["count"], rows["layers"]["size"], rows["layers"]["reclaimable"]) == (2, sum(sizes), 0)
    du = sum(path.lstat().st_blocks * 512 for path in (root / "layers/sha256").rglob("root/**/*"))
    assert du <= sum(sizes) + 4096 * 3
    assert rows["runs"]["count"] == 1
    assert rows["runs"]["size"] >= 100_000
    assert rows["records"]["count"] == 3
    head, *lines = run("df")[1].splitlines()
    assert head.split() == ["WHAT", "COUNT", "SIZE", "GC", "FREES"]
    assert lines[-1].endswith(f"are free in {root}")


# --- inspect, tag, export


def test_inspect_says_which_line_made_which_layer(
    root: Path, layout: Layout, run: Callable[..., tuple[int, str, str]]
) -> None:
    history = [
        {"created_by": "ADD one", "created": "2024-01-01T00:00:00Z"},
        {"created_by": "CMD \x1b[31m", "empty_layer": True},
        {"created_by": "RUN two"},
    ]
    config = config_of([ONE, TWO], history=history, config={"Cmd": ["sh"], "User": "app", "Env": ["A=1"]})
    text = layout.image(ONE, TWO, config=config)
    status, output, _ = run("inspect", text, "--json")
    found = json.loads(output)
    assert status == 0
    assert [(line["layer"], line["created_by"]) for line in found["history"]] == [
        (1, "ADD one"),
        (None, "CMD \x1b[31m"),
        (2, "RUN two"),
    ]
    assert [line["diff_id"] for line in found["history"]] == [
        config["rootfs"]["diff_ids"][0],
        None,
        config["rootfs"]["diff_ids"][1],
    ]
    assert found["size"] == len(ONE) + len(TWO)
    assert found["config"]["User"] == "app"
    lines = run("inspect", text)[1].splitlines()
    assert "\x1b" not in "".join(lines)
    assert ["user", "app"] in [line.split() for line in lines]
    assert [line.split()[0] for line in lines[-3:]] == ["1", "-", "2"]


def test_inspect_of_a_history_that_does_not_add_up(
    root: Path, layout: Layout, run: Callable[..., tuple[int, str, str]]
) -> None:
    text = layout.image(ONE, TWO, config=config_of([ONE, TWO], history=[{"created_by": "one"}]))
    found = json.loads(run("inspect", text, "--json")[1])
    assert [(line["layer"], line["created_by"]) for line in found["history"]] == [(1, ""), (2, "")]


def test_a_tag_is_one_more_name(root: Path, image: str, run: Callable[..., tuple[int, str, str]]) -> None:
    assert run("tag", image, "mine:1") == (0, "", "")
    assert run("rm", image)[0] == 0
    assert run("layers", "mine:1")[0] == 0
    assert run("check") == (0, "3 layers and images checked: all as they came\n", "")
    assert run("tag", "mine:1", "No")[0] == 125
    assert run("tag", "nothing", "a")[0] == 125
    assert run("rm", "mine:1")[0] == 0
    assert os.listdir(root / "layers/sha256") == []


def test_export_prints_the_digest(
    root: Path, image: str, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    status, output, _ = run("export", image, f"oci:{tmp_path}/out:x")
    (entry,) = json.loads((tmp_path / "out/index.json").read_bytes())["manifests"]
    assert (status, output) == (0, entry["digest"] + "\n")
    again = json.loads(run("export", image, f"oci:{tmp_path}/out:y", "--json")[1])
    assert again == {"image": image, "target": f"oci:{tmp_path}/out:y", "digest": entry["digest"]}
    assert run("export", "@host", f"oci:{tmp_path}/h")[0] == 125
