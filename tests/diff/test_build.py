"""``cowdiff build`` on images of the store: each step, what it changed and shadows, which of them changed a path."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from cowdiff.steps import instruction

from .conftest import Cowdiff

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.images.layouts import Layout
from tests.images.tars import entry, tar

LAYERS = [
    tar(
        entry(b"etc/", kind=b"5"),
        entry(b"etc/passwd", data=b"root\n"),
        entry(b"doc/", kind=b"5"),
        entry(b"doc/one", data=b"1" * 100),
        entry(b"doc/two", data=b"2" * 10),
    ),
    tar(entry(b"etc/passwd", data=b"root\napp\n"), entry(b"big", data=b"x" * 5000)),
    tar(entry(b".wh.doc"), entry(b".wh.big")),
    tar(entry(b"doc/", kind=b"5"), entry(b"doc/one", data=b"again")),
    tar(entry(b".wh..wh..opq"), entry(b"last", data=b"last")),
]


@pytest.fixture
def image(tmp_path: Path) -> str:
    return Layout(tmp_path / "layout").image(*LAYERS)


def steps(cowdiff: Cowdiff, *words: str) -> list[dict[str, Any]]:
    done = cowdiff("build", "--json", *words)
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_step_says_what_it_changed_and_shadows(cowdiff: Cowdiff, image: str) -> None:
    told = steps(cowdiff, image)
    assert [step["layer"] for step in told if step["layer"]] == [1, 2, 3, 4, 5]
    first, second, third, fourth, last = (step for step in told if step["layer"])
    assert first["changes"]["added"] == 5
    assert first["bytes_in"] == 115
    assert [change["path"] for change in first["largest"]] == ["/doc/one", "/doc/two", "/etc/passwd"]
    assert (second["changes"]["added"], second["changes"]["modified"], second["bytes_in"]) == (1, 1, 5004)
    assert second["shadows"] == [{"layer": 1, "bytes": 5}]
    assert (third["changes"]["removed"], third["below"], third["bytes_out"]) == (2, 2, 5110)
    assert third["shadows"] == [{"layer": 1, "bytes": 110}, {"layer": 2, "bytes": 5000}]
    assert fourth["changes"]["added"] == 2
    assert last["changes"]["removed"] == 2  # its root hides all that was there
    assert last["shadows"] == [{"layer": 2, "bytes": 9}, {"layer": 4, "bytes": 5}]
    assert last["changes"]["added"] == 1
    assert {step["processes"] is None for step in told} == {True}
    shadowed = sum(one["bytes"] for step in told for one in step["shadows"])
    assert shadowed == 5 + 5110 + 14  # what ``cowfs waste`` finds in all layers


@pytest.mark.parametrize(
    ("path", "layers", "letters"),
    [
        ("/etc/passwd", [1, 2, 5], "AMD"),
        ("/doc/one", [1, 3, 4, 5], "ADAD"),
        ("/doc/two", [1, 3], "AD"),
        ("/last", [5], "A"),
        ("*.nothing", [], ""),
    ],
)
def test_the_steps_that_changed_a_path(
    cowdiff: Cowdiff, image: str, path: str, layers: list[int], letters: str
) -> None:
    done = cowdiff("build", image, path)
    assert done.returncode == (0 if layers else 1)
    assert [int(number) for number in re.findall(r"^step \d+, layer (\d+) ", done.stdout, re.M)] == layers
    assert "".join(re.findall(r"^  ([A-Z]) ", done.stdout, re.M)) == letters
    assert done.stderr == ("" if layers else f"cowdiff: no step of {image} changed {path}\n")


@pytest.mark.parametrize("source", ["dir:/etc", "@host", "nowhere", "podman:[/nowhere]x", "docker:[/nowhere]x"])
def test_what_has_no_history_is_said_in_a_line(cowdiff: Cowdiff, source: str) -> None:
    done = cowdiff("build", source)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (125, "", 1)


LINES = {
    "/bin/sh -c apt-get update": "RUN apt-get update",
    "/bin/sh -c #(nop) COPY file:1 in /": "COPY file:1 in /",
    "|1 A=b /bin/sh -c make": "RUN make",
    "COPY . /src # buildkit": "COPY . /src # buildkit",
    "mmdebstrap --variant=minbase": "mmdebstrap --variant=minbase",
}


@pytest.mark.parametrize("line", LINES)
def test_lines_of_histories(line: str) -> None:
    assert instruction(line) == LINES[line]
