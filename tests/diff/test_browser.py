"""``cowdiff tui``, driven as by a person: what the tree has, what is said beside it, and that names stay names."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pexpect
import pytest
from cowdiff.browser import Browser
from cowdiff.browsing import opened
from textual.pilot import Pilot
from textual.widgets import Static, TabbedContent, Tree
from textual.widgets.tree import TreeNode

from cowfs.model import Run

Session = Callable[[Browser, Pilot[None]], Coroutine[Any, Any, None]]


def browse(run: Run, session: Session) -> None:
    """Let ``session`` use the browser of a run."""

    async def use() -> None:
        with opened(run) as left:
            app = Browser(left)
            async with app.run_test(size=(120, 40)) as pilot:
                await pilot.pause()
                await session(app, pilot)

    asyncio.run(use())


def labels(app: Browser) -> list[str]:
    """The tree as it is open, indented."""
    found: list[str] = []

    def visit(node: TreeNode[Any], depth: int) -> None:
        found.append("  " * depth + str(node.label))
        for child in node.children if node.is_expanded else ():
            visit(child, depth + 1)

    visit(app.query_one("#tree", Tree).root, 0)
    return found


def text_of(app: Browser, name: str) -> str:
    return str(app.query_one(f"#{name}-text", Static).render())


@pytest.fixture
def run(make_run: Any) -> Run:
    return make_run("echo x >>etc/passwd; echo hi >proof; mkdir -p srv/a; echo n >srv/a/new; rm -r doc")


def test_the_tree_and_the_diff_of_what_is_chosen(run: Run) -> None:
    async def session(app: Browser, pilot: Pilot[None]) -> None:
        assert labels(app) == [
            "/  6  11 B",
            "  D doc/  (it held 3, 4 B)",
            "  etc/  1  2 B",
            "    M passwd  (11 B -> 13 B, 2 B differ)",
            "  A proof  (3 B)",
            "  A srv/  ",
            "    A a/  ",
            "      A new  (2 B)",
        ]
        await pilot.press("down", "down", "down")
        await pilot.pause()
        assert "+x" in text_of(app, "diff")
        await pilot.press("b")
        await pilot.pause()
        assert app.query_one("#about", TabbedContent).active == "blame"
        assert "no journal" in text_of(app, "blame")

    browse(run, session)


def test_search_and_back(run: Run) -> None:
    async def session(app: Browser, pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"new", "enter")
        await pilot.pause()
        assert labels(app) == ["/  1  2 B", "  srv/  1  2 B", "    a/  1  2 B", "      A new  (2 B)"]
        await pilot.press("escape")
        await pilot.pause()
        assert len(labels(app)) == 8

    browse(run, session)


def test_a_big_directory_is_opened_when_asked(make_run: Any) -> None:
    run = make_run("mkdir srv; cd srv; i=0; while [ $i -lt 1000 ]; do : >n$i; i=$((i+1)); done")

    async def session(app: Browser, pilot: Pilot[None]) -> None:
        assert len(labels(app)) == 2
        await pilot.press("down", "enter")
        await pilot.pause()
        assert len(labels(app)) == 1002

    browse(run, session)


def test_names_stay_names(make_run: Any) -> None:
    run = make_run(r"""touch '[bold red]x' "$(printf 'a\033]0;b')" """)

    async def session(app: Browser, pilot: Pilot[None]) -> None:
        assert [label.strip() for label in labels(app)][1:] == ["A [bold red]x  (0 B)", r"A a\x1b]0;b  (0 B)"]

    browse(run, session)


def test_on_a_terminal(run: Run, cowdiff: Any) -> None:
    program, *arguments = [*cowdiff.command, "tui", "last"]
    environment = os.environ | cowdiff.environment | {"TERM": "xterm-256color"}
    child = pexpect.spawn(program, arguments, env=environment, dimensions=(30, 100), timeout=60)
    child.expect_exact(b"passwd")
    child.send("q")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_without_textual_it_says_what_to_install(run: Run, cowdiff: Any, tmp_path: Any) -> None:
    (tmp_path / "textual.py").write_text("raise ModuleNotFoundError('No module named textual', name='textual')")
    path = os.pathsep.join([str(tmp_path), *sys.path[1:], os.environ.get("PYTHONPATH", "")])
    done = cowdiff("tui", "last", PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (125, "cowdiff: cowdiff tui needs textual: pip install 'cowfs[tui]'\n")
