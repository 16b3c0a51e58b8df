"""What the commands share: the caller's side of things, read here and nowhere else."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cowfs import ondisk, userns
from cowfs.cli.entry import complain
from cowfs.errors import CowfsError, UsageError

if TYPE_CHECKING:
    from cowrun.settings import Machine

SETTINGS: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": None}


def each(tokens: Iterable[str], do: Callable[[str], None]) -> int:
    """Do it for each run, and print what was typed where that went well, as docker does. The exit status."""
    status = 0
    for token in tokens:
        try:
            do(token)
        except CowfsError as error:
            complain("cowrun", str(error))
            status = error.status
        except ProcessLookupError:
            complain("cowrun", f"run {token!r} is over")
            status = 1
        else:
            click.echo(token)
    return status


def machine(root: Path) -> "Machine":
    """What settings need to know of us: the one place that reads the environment for them. ``root``: the store's."""
    from cowrun.settings import Machine

    input_terminal = os.isatty(0)
    return Machine(
        environ=os.environ,
        directory=_directory(),
        terminal=input_terminal and os.isatty(1),
        input_terminal=input_terminal,
        volumes=os.path.abspath(root / ondisk.VOLUMES),
        machine=os.uname().machine,
        ids=userns.mapped_ids(),
    )


def env_files(paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The files of --env-file: names and contents. Raises UsageError."""
    return tuple((path, _read(path)) for path in paths)


def profiles(security: Any) -> tuple[tuple[str, bytes], ...]:
    """The files that --security-opt names, with their contents. Raises UsageError."""
    from cowrun.security import profile_names

    found = []
    for name in profile_names(security):
        try:
            found.append((name, Path(name).read_bytes()))
        except OSError as error:
            raise UsageError(f"--security-opt seccomp={name}: {error.strerror}") from None
    return tuple(found)


def _directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed; only a relative volume needs it, and will say so
        return "/"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"--env-file {path}: {error.strerror}") from None
