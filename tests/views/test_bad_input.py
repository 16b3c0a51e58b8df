"""What cannot be looked at: one line that says what and where, exit status 125, and nothing mounted."""

import shutil
from pathlib import Path

import pytest

from tests.views.conftest import Cowfs, records

LOOKS = (["layers"], ["explain", "/etc"], ["find"], ["waste"], ["report", "-o", "page.html"])
Line = list[str]


def _line(words: Line, source: str) -> Line:
    return [words[0], source, *words[1:]]


@pytest.mark.parametrize("words", LOOKS, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nosuch", "no image 'nosuch:latest' in the store"),
        ("{image}@5", "has layers 1 to 4"),
        ("{image}@0", "has layers 1 to 4"),
        ("{image}@2@3", "has layers 1 to 2"),
        ("oci:/nowhere:tag", "no file or directory /nowhere"),
        ("dir:/nowhere", "no directory /nowhere"),
        ("run:last", "there are no runs yet"),
    ],
)
def test_no_such_source(cowfs_: Cowfs, image: str, words: Line, source: str, said: str) -> None:
    status, printed = cowfs_(*_line(words, source.format(image=image)))
    assert status == 125
    assert said in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("words", [*LOOKS[1:], ["mount", "mnt"], ["mount", "--layers", "mnt"]], ids=" ".join)
@pytest.mark.parametrize("harm", ["root gone", "root a file", "layer gone"])
def test_a_broken_layer(
    cowfs_: Cowfs, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Line, harm: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mnt").mkdir()
    root = Path(records(cowfs_("layers", "--json", image)[1])[1]["directory"])
    shutil.rmtree(tmp_path / "layout")  # nowhere to unpack it from again
    shutil.rmtree(root.parent if harm == "layer gone" else root)
    if harm == "root a file":
        root.write_text("not a directory")
    line = _line(words, image) if words[0] != "mount" else [*words[:-1], image, words[-1]]
    status, printed = cowfs_(*line)
    assert status == 125
    assert printed.count("\n") == 1
    assert root.parent.name[:12] in printed or root.parent.name in printed
    assert "/proc/" not in printed
    assert f"{tmp_path}/mnt" not in Path("/proc/self/mounts").read_text()


def test_paths_outside(cowfs_: Cowfs, image: str) -> None:
    status, printed = cowfs_("find", image, "../etc")
    assert (status, printed) == (125, "cowfs: ../etc: paths are those of the image, from its root, without ..\n")
    assert cowfs_("explain", image, "../../../etc/passwd")[1].startswith("/etc/passwd: file, from layer 2\n")


def test_a_mount_point_in_use(cowfs_: Cowfs, image: str, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt/file").touch()
    for where, said in (("mnt", "not empty"), ("none", "no such directory"), ("mnt/file", "not a directory")):
        status, printed = cowfs_("mount", image, str(tmp_path / where))
        assert (status, printed.count("\n")) == (125, 1)
        assert f"{tmp_path / where}: {said}" in printed
