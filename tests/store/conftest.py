"""A store of its own for each test, and images to put into it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from cowfs.store import Store
from tests.images.layouts import Layout


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store."""
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A new, empty OCI layout."""
    return Layout(tmp_path / "layout")
