"""A small image in which every way to hide something occurs, and a store for it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cowfs.cli.entry import status_of
from cowfs.cli.main import cowfs

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.images.layouts import Layout
from tests.images.tars import DIRECTORY, SYMLINK, entry, opaque, tar, whiteout

SECRET = b"s3cret" * 100
LAYERS = (
    tar(
        entry(b"etc", DIRECTORY),
        entry(b"etc/passwd", data=b"root\n"),
        entry(b"etc/secret", data=SECRET),
        entry(b"usr", DIRECTORY),
        entry(b"usr/lib", DIRECTORY),
        entry(b"usr/lib/a.so", data=b"a" * 1000),
        entry(b"lib", SYMLINK, link=b"usr/lib"),
        entry(b"loop", SYMLINK, link=b"loop"),
        entry(b"out", SYMLINK, link=b"../../etc/passwd"),
        entry(b"cache", DIRECTORY),
        entry(b"cache/deep", DIRECTORY),
        entry(b"cache/deep/file", data=b"c" * 300),
        entry(b"srv", DIRECTORY),
        entry(b"srv/old", data=b"o" * 70),
        entry(b"opt", DIRECTORY),
        entry(b"opt/under", data=b"u" * 11),
    ),
    tar(
        entry(b"etc", DIRECTORY, mode=0o700),
        entry(b"etc/passwd", data=b"root\napp\n"),
        entry(b"usr/lib/a.so", data=b"a" * 1000, mode=0o755),
        whiteout(b"etc/secret"),
        whiteout(b"cache"),
        entry(b"srv", DIRECTORY),
        opaque(b"srv"),
        entry(b"srv/new", data=b"n"),
        entry(b"opt", data=b"a file"),
    ),
    tar(),
    tar(entry(b"etc/secret", data=b"harmless"), entry(b"etc/\xff", data=b"")),
)


@pytest.fixture
def image(tmp_path: Path) -> str:
    """The image, in a layout."""
    return Layout(tmp_path / "layout").image(*LAYERS)


Cowfs = Callable[..., tuple[int, str]]


@pytest.fixture
def cowfs_(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cowfs:
    """Runs ``cowfs ARGUMENTS``: its status, and what it printed to either stream."""

    def call(*arguments: str) -> tuple[int, str]:
        status = status_of(cowfs, "cowfs", ["--root", str(tmp_path / "store"), *arguments])
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


def records(printed: str) -> list[dict[str, Any]]:
    """The JSON objects, one a line."""
    return [json.loads(line) for line in printed.splitlines()]
