"""A page in a real browser, without network: what its script made of it, and how it looks."""

import html
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

Browse = Callable[..., str]
_BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"


def browser(directory: Path) -> Browse:
    """The page as the browser has it once its script is done, as markup; ``directory`` is for the browser's files."""

    def show(file: Path, fragment: str = "") -> str:
        said = _run(
            directory, "--window-size=1200,900", "--virtual-time-budget=5000", "--dump-dom", _address(file, fragment)
        )
        assert 'data-ready="yes"' in said.stdout, said.stderr[-2000:]
        return said.stdout

    return show


def picture(file: Path, fragment: str, directory: Path) -> bytes:
    """The page as a PNG."""
    made = directory / "picture.png"
    _run(directory, "--window-size=400,300", f"--screenshot={made}", _address(file, fragment))
    return made.read_bytes()


def cells(dom: str, name: str) -> list[str]:
    """The texts of the elements whose class is exactly that."""
    return [
        html.unescape(re.sub("<[^>]*>", "", text))
        for text in re.findall(rf'class="{name}"[^>]*>(.*?)</(?:span|b|i|div)>', dom)
    ]


def rows(dom: str) -> list[str]:
    """The paths of the list."""
    return [html.unescape(re.sub("<[^>]*>", "", text)) for text in re.findall(r'<span class="path">(.*?)</span>', dom)]


def _address(file: Path, fragment: str) -> str:
    return f"file://{file}#{fragment}"


def _run(directory: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    # The sandbox needs what a container mostly lacks; the page is ours, and its network is cut.
    line = [_BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    line += ["--host-resolver-rules=MAP * 127.0.0.1:1", f"--user-data-dir={directory / 'browser'}"]
    return subprocess.run([*line, *options], capture_output=True, text=True, errors="replace", timeout=120, check=True)
