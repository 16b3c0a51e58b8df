"""Runs for programs: a command in a throw-away copy of a root, and what it changed as values. See cowfs.runs.inspected.

The launcher makes namespaces and becomes their parent, so it is a process of its own, never a thread of the caller.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cowfs.errors import CowfsError, NotFound
from cowfs.runs.inspected import Inspected
from cowfs.store.runs import Runs


def run(
    image: str,
    command: Sequence[str] = (),
    *,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    name: str = "",
    capture_output: bool = False,
    input: bytes | None = None,
    timeout: float | None = None,
    store: Path | None = None,
) -> Inspected:
    """Run ``command`` in a throw-away copy of ``image`` (as typed for cowrun: a reference, "dir:PATH", "@host" ...).

    ``options`` are cowrun's own, as ("--network", "none"); ``env`` is set inside. After ``timeout`` seconds the
    command is killed, and subprocess.TimeoutExpired raised. A command that fails is no error: see ``exit_status``.
    Raises CowfsError where it could not be started. Needs root.
    """
    root = Path(store) if store is not None else _default_root()
    token = name or f"api-{secrets.token_hex(6)}"
    variables = [f"--env={key}={value}" for key, value in (env or {}).items()]
    line = [sys.executable, "-m", "cowrun", "--root", os.fspath(root), "--name", token, "--quiet"]
    pipe = subprocess.PIPE if capture_output else None
    launcher = subprocess.Popen(
        [*line, *variables, *options, image, *command],
        stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
    )
    try:
        stdout, stderr = launcher.communicate(input, timeout)
    except BaseException:
        launcher.kill()  # the kernel takes the command along
        launcher.wait()
        raise
    runs = Runs(root)
    try:
        record = runs.find(token)
    except NotFound:
        said = (stderr or b"").decode(errors="replace").strip().removeprefix("cowrun: ")
        raise CowfsError(said or f"cowrun could not start the command: status {launcher.returncode}") from None
    return Inspected(record, runs, stdout or b"", stderr or b"")


def _default_root() -> Path:
    from cowfs.cli.context import default_root
    from cowfs.ondisk import STORE_ENV

    return Path(os.environ.get(STORE_ENV) or default_root())
