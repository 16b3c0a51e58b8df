"""Shell completion, as a shell asks for it: commands, options, images of the store, runs."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cowrun.main import COMMANDS

from cowfs.model import Base, LayerInfo
from cowfs.store import Store
from cowfs.store.records import StoredImage
from cowfs.store.runs import Runs

MAIN = "import sys; sys.argv[0] = '{0}'; from {1}.main import main; main()"
PACKAGES = {"cowrun": "cowrun", "cowfs": "cowfs.cli", "cowdiff": "cowdiff"}
HEX = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root, lower = tmp_path / "store", tmp_path / "lower"
    lower.mkdir()
    with Store.open(root) as store:
        digest = f"sha256:{HEX}"
        for reference in ("docker.io/library/debian:12", "registry.test/team/app:1"):
            store.publish_image(StoredImage(reference, digest, digest, (), "linux/amd64", 0.0), ())
        runs = Runs(root)
        run, lock = runs.create(Base("dir:x", (LayerInfo(1, lower),)), ("true",), name="web")
        with lock:
            runs.seal(run, 0)
    return root


def completed(store: Path, shell: str, *words: str) -> list[str]:
    """What the shell is told when the last of ``words`` is to be completed."""
    program = words[0]
    asked = {"COMP_WORDS": shlex.join(words) if words[-1] else shlex.join(words[:-1]) + " "}
    asked["COMP_CWORD"] = str(len(words) - 1) if shell != "fish" else words[-1]
    environment = os.environ | {f"_{program.upper()}_COMPLETE": f"{shell}_complete", "COWFS_ROOT": str(store)} | asked
    line = [sys.executable, "-c", MAIN.format(program, PACKAGES[program])]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.stderr == ""
    return [row.removeprefix("plain,").split("\t")[0] for row in done.stdout.split("\n") if row]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("cowrun", ""), {*COMMANDS, "run", "@host", "debian:12", "registry.test/team/app:1"}),
        (("cowrun", "deb"), {"debian:12"}),
        (("cowrun", "run", "deb"), {"debian:12"}),
        (("cowrun", "run", "p"), set()),
        (("cowrun", "-i", "deb"), {"debian:12"}),
        (("cowrun", "--read"), {"--read-only"}),
        (("cowrun", "exec", "--wo"), {"--workdir"}),
        (("cowrun", "exec", "w"), {"web"}),
        (("cowrun", "stop", "-t", "3", "l"), {"last"}),
        (("cowfs", "lay"), {"layers"}),
        (("cowfs", "layers", "deb"), {"debian:12"}),
        (("cowfs", "diff", "debian:12", "reg"), {"registry.test/team/app:1"}),
        (("cowfs", "report", "deb"), {"debian:12"}),
        (("cowfs", "find", "--deleted", "deb"), {"debian:12"}),
        (("cowdiff", "show", "w"), {"web"}),
        (("cowdiff", "sho"), {"show"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_what_is_completed(store: Path, shell: str, words: tuple[str, ...], wanted: set[str]) -> None:
    assert set(completed(store, shell, *words)) == wanted


def test_a_store_that_is_not_there_completes_nothing_and_is_not_made(tmp_path: Path) -> None:
    assert completed(tmp_path / "none", "bash", "cowfs", "layers", "d") == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("program", PACKAGES)
def test_the_script_for_a_shell(program: str) -> None:
    environment = os.environ | {f"_{program.upper()}_COMPLETE": "bash_source"}
    line = [sys.executable, "-c", MAIN.format(program, PACKAGES[program])]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert f"complete -o nosort -F _{program}_completion {program}" in done.stdout, done
