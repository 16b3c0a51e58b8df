"""``cowfs report``: what the page shows of an image, at each place of its slider; and that names stay names."""

import os
import re
import stat
from pathlib import Path

import pytest

from cowfs.images.inspected import inspected
from cowfs.store import Store
from cowfs.views import picture
from cowfs.views.spans import NEVER, spans
from cowfs.views.survey import Survey
from tests.diff.test_report import HOSTILE
from tests.images.layouts import Layout
from tests.images.tars import DIRECTORY, HARD_LINK, entry, tar, whiteout
from tests.support.browser import Browse, browser, cells, rows
from tests.support.browser import picture as picture_of
from tests.views.conftest import Cowfs
from tests.views.model import model, random_layers

SEED = int(os.environ.get("SEED", "1"))  # the first of a few; another one looks elsewhere


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    return browser(tmp_path)


def test_the_page_at_each_place_of_the_slider(cowfs_: Cowfs, image: str, browse: Browse, tmp_path: Path) -> None:
    file = tmp_path / "image.html"
    assert cowfs_("report", image, "-o", str(file)) == (0, "")
    dom = browse(file)
    assert rows(dom).count("/etc/secret") == 2
    assert "shadowed, since layer 2" in cells(dom, "note")
    assert [name for name in ("deleted", "shadowed", "duplicated") if f"<i>{name}</i>" in dom] == [
        "deleted", "shadowed", "duplicated",
    ]  # fmt: skip
    assert "cell leaf hatched" in dom
    assert "<dt>layers</dt><dd>4</dd>" in dom
    first = browse(file, "upto=1")
    assert "cell leaf hatched" not in first
    assert set(cells(first, "note")) == {""}
    assert "the image after layer 1: step 1" in first
    deleted = browse(file, "kinds=deleted")
    assert rows(deleted) == ["/cache/deep/file", "/opt/under", "/srv/old"]
    assert rows(browse(file, "layers=4")) == ["/etc/secret", "/etc/\\xff"]
    assert rows(browse(file, "q=etc+secret&layers=1")) == ["/etc/secret"]
    assert picture_of(file, "theme=light", tmp_path) != picture_of(file, "theme=dark", tmp_path)


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_from_which_layer_on_each_file_shows_no_more(tmp_path: Path, seed: int) -> None:
    layers = random_layers(seed, 6)
    image = Layout(tmp_path / "random").image(*layers)
    with Store.open(tmp_path / "store") as store:
        base = inspected(image, store)
    survey = Survey(base)
    try:
        found = [
            (os.fsdecode(item.path), claim.layer.number, since)
            for item, gone in spans(survey, base.layers)
            for claim, since in zip(item.claims, gone, strict=True)
            if claim.kind is not None and stat.S_ISREG(claim.kind)
        ]
    finally:
        survey.close()
    for up_to in range(1, len(layers) + 1):
        shown = {(path, layer) for path, layer, since in found if layer <= up_to and (since == NEVER or since > up_to)}
        visible = model(layers[:up_to]).visible.items()
        assert shown == {(path, item.layer) for path, item in visible if item.kind == "file"}, f"seed {seed}: {up_to}"


def test_a_file_with_two_names_counts_once_and_shows_as_long_as_one_does(tmp_path: Path) -> None:
    one = tar(entry(b"a", data=b"x" * 100), entry(b"b", HARD_LINK, link=b"a"))
    image = Layout(tmp_path / "links").image(one, tar(whiteout(b"a")), tar(whiteout(b"b")))
    with Store.open(tmp_path / "store") as store:
        base = inspected(image, store)
    survey = Survey(base)
    try:
        found = picture.picture(survey, base.layers)
    finally:
        survey.close()
    assert [(file.path, file.size, file.gone, file.why) for file in found.files] == [
        (b"/a", 100, 3, picture.Kind.DELETED),
        (b"/b", 0, 3, None),
    ]
    assert (found.waste.total, found.waste.wasted) == (100, 100)


def test_small_files_of_a_directory_become_one_row(
    cowfs_: Cowfs, browse: Browse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [entry(b"d%02d" % number, DIRECTORY) for number in range(10)]
    entries += [entry(b"d%02d/f%02d" % (n // 20, n % 20), data=b"x" * (n + 1)) for n in range(200)]
    image = Layout(tmp_path / "many").image(tar(*entries), tar(whiteout(b"d03")))
    monkeypatch.setattr(picture, "MOST", 40)
    file = tmp_path / "image.html"
    assert cowfs_("report", image, "-o", str(file)) == (0, "")
    dom = browse(file)
    assert "<dt>files</dt><dd>200</dd>" in dom
    assert "19.6 KiB" in dom  # 200 * 201 / 2
    assert "/d03/(20 files)" in rows(dom)
    assert "/d09/f19" in rows(dom)
    assert len(rows(dom)) == 20 + 9


def test_names_stay_text(cowfs_: Cowfs, browse: Browse, tmp_path: Path) -> None:
    names = [name.replace("/", "∕").encode() for name in HOSTILE]
    layer = tar(*(entry(name, data=b"x" * 500) for name in names))
    layout = Layout(tmp_path / "hostile")
    image = layout.image(layer, config={
        "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []},
        "history": [{"created_by": HOSTILE[0]}],
    } | _diff_ids(layer))  # fmt: skip
    file = tmp_path / "image.html"
    assert cowfs_("report", image, "-o", str(file)) == (0, "")
    text = file.read_text()
    assert text.count("<script") == text.count("</script") == 2
    assert not re.search(r"""(?:src|href|url|import)\s*[=(]\s*["']?(?:https?:)?//""", text)
    assert "default-src 'none'" in text
    dom = browse(file)
    assert not re.search(r"<(img|svg)[ >]", dom)
    assert "<title>oci:" in dom
    assert HOSTILE[1] in rows(dom)[0] or any("<img src=x" in row for row in rows(dom))


def _diff_ids(layer: bytes) -> dict[str, object]:
    from tests.images.layouts import digest

    return {"rootfs": {"type": "layers", "diff_ids": [digest(layer)]}}


def test_where_it_cannot_be_written_one_line_says_so(cowfs_: Cowfs, image: str, tmp_path: Path) -> None:
    status, said = cowfs_("report", image, "-o", str(tmp_path / "none/image.html"))
    assert (status, said) == (125, f"cowfs: {tmp_path}/none/image.html: cannot be written: No such file or directory\n")
