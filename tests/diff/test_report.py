"""The page of ``cowdiff report``, in a real browser: what it shows, how much of it exists, that names stay names."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cowdiff.report import data, page

from cowfs.model import Run
from tests.support.browser import Browse, browser, cells, picture, rows


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    return browser(tmp_path)


@pytest.fixture
def report(cowdiff: Any, tmp_path: Path) -> Callable[[], Path]:
    def write() -> Path:
        done = cowdiff("report", "last", "-o", str(tmp_path / "page.html"))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return tmp_path / "page.html"

    return write


def test_the_page_shows_changes_bytes_and_diffs(make_run: Any, report: Callable[[], Path], browse: Browse) -> None:
    make_run("echo hi >proof; echo x >>etc/passwd; rm -r doc; mkdir srv; head -c 5000 /dev/zero >srv/zeros")
    file = report()
    dom = browse(file)
    assert rows(dom) == ["/doc/", "/etc/passwd", "/proof", "/srv/", "/srv/zeros"]
    assert "zeros" in cells(dom, "cell leaf c0")
    assert "(11 B -&gt; 13 B, 2 B differ)" in dom
    opened = browse(file, "q=etc+passwd&open=1")
    assert rows(opened) == ["/etc/passwd"]
    assert cells(opened, "plus") == ["+x"]
    assert rows(browse(file, "class=D")) == ["/doc/"]
    inside = browse(file, "dir=/srv")
    assert cells(inside, "cell leaf c0") == ["zeros"]


def test_light_and_dark(make_run: Any, report: Callable[[], Path], browse: Browse, tmp_path: Path) -> None:
    make_run("echo hi >proof")
    file = report()
    seen = {theme: picture(file, f"theme={theme}", tmp_path) for theme in ("light", "dark")}
    for theme in seen:
        assert f'data-theme="{theme}"' in browse(file, f"theme={theme}")
    assert seen["light"] != seen["dark"]


HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=document.title='owned'>",
    "--><svg onload=document.title='owned'>",
    '"\'`${document.title="owned"}',
    "@DATA@@SCRIPT@",
    "&lt;b&gt;",
    "\u2028\u202egnp",
    "\x1b]0;x\x07",
]


def test_names_and_contents_stay_text(make_run: Any, report: Callable[[], Path], browse: Browse) -> None:
    run: Run = make_run("true", name="hostile")
    for number, name in enumerate(HOSTILE):
        place = run.upper / f"d{number}"
        place.mkdir()
        (place / name.replace("/", "∕")).write_text("".join(f"{line}\n" for line in HOSTILE))
        (place / "plain").write_text(HOSTILE[number])
        os.setxattr(place, "user.x", HOSTILE[number].encode())
    file = report()
    text = file.read_text()
    assert text.count("<script") == text.count("</script") == 2
    opened = browse(file, "open=1")
    assert not re.search(r"<(img|svg)[ >]", opened)
    dom = browse(file)
    assert "<title>sh -c true" in dom
    assert not re.search(r"<(img|svg)[ >]", dom)
    shown = rows(dom)
    assert "/d1/<img src=x onerror=document.title='owned'>" in shown
    assert "/d4/@DATA@@SCRIPT@" in shown
    assert "/d5/&lt;b&gt;" in shown
    assert all(name.isprintable() for name in shown)


def test_the_page_asks_nobody_for_anything(make_run: Any, report: Callable[[], Path]) -> None:
    make_run("echo hi >proof")
    text = report().read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"""(?:src|href|url|import)\s*[=(]\s*["']?(?:https?:)?//""", text)


def test_ten_thousand_changes_are_a_screenful_of_elements(
    make_run: Any, report: Callable[[], Path], browse: Browse
) -> None:
    run: Run = make_run("true")
    for directory in range(100):
        place = run.upper / f"d{directory:02}"
        place.mkdir()
        for number in range(100):
            (place / f"file{number:02}").write_bytes(b"x" * (number + 1))
    file = report()
    dom = browse(file)
    assert "<dd>10,100</dd>" in dom
    assert 20 < len(rows(dom)) < 80
    assert dom.count("<div") < 2000
    assert rows(browse(file, "end=1"))[-1] == "/d99/file99"
    assert rows(browse(file, "q=d42+file07")) == ["/d42/file07"]


def test_much_text_is_left_out_and_said(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run: Run = make_run("seq 9999 >long; echo a >a; echo b >b; echo z >z")
    found = data(run)["diffs"]
    assert len(found) == 4
    monkeypatch.setattr("cowdiff.report._TEXT", 100)
    monkeypatch.setattr("cowdiff.report._TEXTS", 300)
    cut = data(run)
    assert cut["leftOut"] == 1
    assert "the rest is left out" in cut["diffs"][2]
    embedded = re.search(r'id="data">(.*?)</script>', page(run))
    assert embedded is not None
    assert json.loads(embedded[1])["leftOut"] == 1
