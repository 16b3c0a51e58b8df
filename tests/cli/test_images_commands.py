"""``cowfs images``, ``rm`` and ``layers``, and what the group makes of mistakes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cowfs.cli.entry import printable, status_of
from cowfs.cli.main import COMMANDS, cowfs
from cowfs.cli.output import columns, human_size, json_line
from cowfs.errors import CommandNotFound, NotFound
from cowfs.images.sources import resolve
from cowfs.store import Store
from cowfs.store.runs import Runs

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.images.layouts import Layout
from tests.images.tars import entry, tar

ONE, TWO = tar(entry(b"one", data=b"1")), tar(entry(b"two", data=b"2" * 5000))


@pytest.fixture
def image(tmp_path: Path) -> str:
    """An image of two layers in a layout."""
    return Layout(tmp_path / "layout").image(ONE, TWO)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a store will be."""
    return tmp_path / "store"


def run(root: Path, *arguments: str) -> int:
    """The status of ``cowfs --root ROOT ARGUMENTS``; the capture fixture has what it printed."""
    return status_of(cowfs, "cowfs", ["--root", str(root), *arguments])


def test_layers_and_images_and_rm(root: Path, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "layers", image) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["LAYER", "DIFFID", "SIZE", "MADE", "BY"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]
    assert [line.endswith(f"step {number}") for number, line in enumerate(lines[1:], 1)] == [True, True]

    assert run(root, "images") == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["IMAGE", "DIGEST", "PLATFORM", "LAYERS", "SIZE", "STORED"]
    assert line.split()[0] == image

    assert run(root, "rm", image) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["removed", image],
        ["removed", "layer"],
        ["removed", "layer"],
    ]
    assert run(root, "rm", image) == 125
    assert capsys.readouterr().err == f"cowfs: no image {image!r} in the store (cowfs images lists them)\n"
    assert run(root, "images") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("number", [0, 1, 4])
def test_rm_says_what_keeps_a_layer_and_what_to_do(
    root: Path, image: str, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(root) as store:
        base = resolve(image, store)
        runs = []
        for _ in range(number):
            made, lock = Runs(store.root).create(base, ["true"])
            lock.close()
            runs.append(made.id)
        with store.lease(base) if not number else contextlib.nullcontext():
            assert run(root, "rm", image) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    why = {
        0: "a run that goes on, a mount or an import uses it",
        1: f"it goes with the last run that uses it: cowdiff rm {''.join(runs)}",
        4: "4 runs that are kept use it (cowdiff prune --keep 0 removes all that are over)",
    }[number]
    assert first == f"removed {image}"
    assert len(lines) == 2
    assert all(line.startswith("kept layer ") and line.endswith(f": {why}") for line in lines)


def test_json_is_one_object_a_line(root: Path, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "layers", "--json", image) == 0
    layers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(layer["number"], layer["size"], layer["created_by"]) for layer in layers] == [
        (1, len(ONE), "step 1"),
        (2, len(TWO), "step 2"),
    ]
    assert run(root, "images", "--json") == 0
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found["image"] == image
    assert found["diff_ids"] == [layer["diff_id"] for layer in layers]
    assert found["size"] == len(ONE) + len(TWO)


def test_a_name_that_is_not_utf8_is_whole_in_json_and_escaped_on_the_screen(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / os.fsdecode(b"lay\xff\x1b[31mout")
    image = Layout(path).image(ONE)
    assert run(root, "layers", image) == 0
    capsys.readouterr()
    assert run(root, "images") == 0
    screen = capsys.readouterr().out
    assert "\x1b" not in screen
    assert "\\x1b" in screen
    assert run(root, "images", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert "image_b64" in found


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bogus"], "no such command 'bogus' (see cowfs --help)"),
        (["--bogus"], "no such option '--bogus' (see cowfs --help)"),
        (["layers"], "missing argument 'SOURCE' (see cowfs layers --help)"),
        (["layers", "a", "b"], "got unexpected extra argument (b) (see cowfs layers --help)"),
        (["layers", "dir:/nowhere"], "no directory /nowhere"),
        (["rm"], "missing argument 'IMAGE...' (see cowfs rm --help)"),
        (["rm", "never"], "no image 'never' in the store (cowfs images lists them)"),
    ],
)
def test_mistakes_get_one_line_and_125(
    root: Path, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, *arguments) == 125
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count("\n") == 1
    assert found.err.replace(": -", " '-").startswith("cowfs: ")
    assert sorted(_words(found.err)) == sorted(_words(f"cowfs: {line}"))


def _words(text: str) -> list[str]:
    """click's versions differ in quotes and colons."""
    return text.replace("'", "").replace(":", "").replace("(", "").replace(")", "").split()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_explains_itself(name: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"Usage: cowfs {name}")
    assert not root.exists()


def test_without_a_command_it_explains_itself(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_importing_the_group_costs_click_alone() -> None:
    heavy = ("trio", "pyfuse3", "requests", "cowfs.store")
    program = f"import sys, cowfs.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"


def test_the_environment_names_a_store_and_the_option_comes_first(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COWFS_ROOT", str(root / "a"))
    assert status_of(cowfs, "cowfs", ["images"]) == 0
    assert (root / "a/layers").is_dir()
    assert run(root / "b", "images") == 0
    assert (root / "b/layers").is_dir()


# --- what the group does for every program


def failing(error: BaseException) -> click.Command:
    def fail() -> None:
        raise error

    return click.Command("x", callback=fail)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (NotFound("no\x1b[31m such\nthing"), 125, "x: no\\x1b[31m such\\nthing\n"),
        (CommandNotFound("no sh"), 127, "x: no sh\n"),
        (FileNotFoundError(2, "No such file", "/a"), 125, "x: /a: No such file\n"),
        (PermissionError(1, "Not permitted", b"/\xff"), 125, "x: /\\udcff: Not permitted\n"),
        (OSError("words"), 125, "x: words\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_a_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(failing(error), "x", []) == status
    assert capsys.readouterr().err == line


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        status_of(failing(ZeroDivisionError()), "x", [])


def test_a_number_that_a_command_returns_is_the_status() -> None:
    assert status_of(click.Command("x", callback=lambda: 42), "x", []) == 42


def test_a_reader_that_goes_away_is_no_error(root: Path, image: str) -> None:
    program = "from cowfs.cli.main import main; main()"
    command = [sys.executable, "-c", program, "--root", str(root), "layers", image]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


# --- words and numbers


def test_sizes() -> None:
    assert [human_size(size) for size in (0, 999, 1000, 1 << 20, 10**10)] == [
        "0 B",
        "999 B",
        "1.0 KiB",
        "1.0 MiB",
        "9.3 GiB",
    ]


def test_columns_align_and_escape() -> None:
    assert columns([["a", "bb"], ["ccc", "\n"]], right=(0,)) == ["  a  bb", "ccc  \\n"]


def test_json_keeps_bytes() -> None:
    assert json.loads(json_line({"path": "a\udcff", "n": 1})) == {"path": "a\ufffd", "path_b64": "Yf8=", "n": 1}


def test_printable() -> None:
    assert printable("plain é 日") == "plain é 日"
    assert printable("a\tb\u202e") == "a\\tb\\u202e"
