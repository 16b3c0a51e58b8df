"""What looking costs, in directories read and files asked for: linear in what is there; ``explain``, in the layers."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cowfs.images.inspected import inspected
from cowfs.layers.directory import Directory
from cowfs.model import Base
from cowfs.store import Store
from cowfs.views.explain import Explainer
from cowfs.views.picture import picture
from cowfs.views.survey import Survey
from cowfs.views.waste import Waste
from tests.images.layouts import Layout
from tests.images.tars import DIRECTORY, entry, tar, whiteout

DIRECTORIES, FILES = 4, 10


def _layer(number: int) -> bytes:
    """Files of its own, files in a directory that all share, and one that the layer below brought goes."""
    entries = [entry(b"share", DIRECTORY), entry(b"share/n%d" % number, data=b"x"), entry(b"own%d" % number, DIRECTORY)]
    for directory in range(DIRECTORIES):
        entries.append(entry(b"own%d/d%d" % (number, directory), DIRECTORY))
        entries += [entry(b"own%d/d%d/f%d" % (number, directory, file), data=b"y" * file) for file in range(FILES)]
    return tar(*entries, whiteout(b"share/n%d" % (number - 1)))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often directories are listed, and entries asked for."""
    counted: Counter[str] = Counter()
    listed, asked = Directory.list, Directory.stat

    def count_list(directory: Directory) -> Iterator[tuple[bytes, int | None]]:
        counted["list"] += 1
        return listed(directory)

    def count_stat(directory: Directory, name: bytes) -> object:
        counted["stat"] += 1
        return asked(directory, name)

    monkeypatch.setattr(Directory, "list", count_list)
    monkeypatch.setattr(Directory, "stat", count_stat)
    return counted


def _base(tmp_path: Path, count: int) -> Base:
    image = Layout(tmp_path / f"layout{count}").image(*map(_layer, range(count)))
    with Store.open(tmp_path / "store") as store:
        return inspected(image, store)


@pytest.mark.parametrize("count", [5, 10, 20])
def test_explain_costs_the_depth_of_the_path_in_each_layer(tmp_path: Path, calls: Counter[str], count: int) -> None:
    base = _base(tmp_path, count)
    explainer = Explainer(base.layers)
    try:
        calls.clear()
        assert explainer.explain(b"/own3/d1/f1").supplier is not None
    finally:
        explainer.close()
    assert calls == {"stat": 3 + (count - 1)}


@pytest.mark.parametrize("count", [5, 10, 20])
def test_waste_and_the_page_list_each_directory_once_and_ask_for_each_file_once(
    tmp_path: Path, calls: Counter[str], count: int
) -> None:
    base = _base(tmp_path, count)
    directories = count * (1 + 1 + 1 + DIRECTORIES)  # its root, share, own, and those in it
    files = count * (1 + DIRECTORIES * FILES)
    survey = Survey(base)
    try:
        calls.clear()
        assert len(list(Waste().of(survey))) == count - 1
    finally:
        survey.close()
    assert calls == {"list": directories, "stat": files}
    survey = Survey(base)
    try:
        calls.clear()
        assert len(picture(survey, base.layers).files) == files
    finally:
        survey.close()
    assert calls == {"list": directories, "stat": 2 * files}
