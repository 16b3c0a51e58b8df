"""The container's first process before it is one: what it may do in the new root, without making one."""

import subprocess
import sys
from pathlib import Path

import cowrun
import pytest
from cowrun.inside import _candidates, _failure, _import_no_more

import cowfs
from cowfs.errors import CommandNotExecutable, CommandNotFound

NAME = _import_no_more.__name__
PATHS = [str(Path(package.__path__[0]).parent) for package in (cowfs, cowrun)]


@pytest.mark.parametrize("module", ["tarfile", "array", "_decimal", "cowfs.overlay", "encodings.latin_1", "traceback"])
def test_nothing_can_be_imported_any_more(module: str, tmp_path: Path) -> None:
    (tmp_path / "tarfile.py").touch()
    script = f"import sys; sys.path += sys.argv[1:]; from cowrun import inside; inside.{NAME}(); import {module}"
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, *PATHS, str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    loaded = module == "array"  # imported before, on purpose
    assert (result.returncode == 0) is loaded, result
    assert loaded or "ModuleNotFoundError" in result.stderr


@pytest.mark.parametrize(
    ("name", "env", "found"),
    [
        ("ls", {"PATH": "/a:/b"}, ["/a/ls", "/b/ls"]),
        ("ls", {"PATH": "/a::/b"}, ["/a/ls", "./ls", "/b/ls"]),
        ("/x/ls", {"PATH": "/a"}, ["/x/ls"]),
        ("./ls", {"PATH": "/a"}, ["./ls"]),
        ("", {"PATH": "/a"}, []),
    ],
)
def test_where_a_command_is_looked_for(name: str, env: dict[str, str], found: list[str]) -> None:
    assert _candidates(name, env) == found


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (None, CommandNotFound, "not found"),
        (FileNotFoundError(2, "No such file or directory"), CommandNotFound, "interpreter"),
        (PermissionError(13, "Permission denied"), CommandNotExecutable, "permission denied"),
        (OSError(8, "Exec format error"), CommandNotExecutable, "exec format error"),
    ],
)
def test_why_a_command_was_not_executed(error: OSError | None, kind: type[Exception], words: str) -> None:
    failure = _failure("command", error)
    assert type(failure) is kind
    assert words in str(failure)
