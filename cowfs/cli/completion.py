"""Shell completion: click's own, with the names of images and runs. Used by the entry of all three programs.

``eval "$(_COWRUN_COMPLETE=bash_source cowrun)"`` sets it up (zsh_source, fish_source; _COWFS_, _COWDIFF_). An argument
that is shown as RUN or IMAGE is completed by what the store has; whatever goes wrong there completes nothing.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem, shell_complete

from cowfs.cli.context import default_root


def variable(prog: str) -> str:
    """The variable in which a shell asks."""
    return f"_{prog.upper()}_COMPLETE"


def complete(command: click.Command, prog: str) -> int:
    """Answer the shell; the exit status."""
    return shell_complete(command, {}, prog, variable(prog), os.environ[variable(prog)])


def prepare(command: click.Command, more: Iterable[str] = ()) -> None:
    """Let the arguments of ``command`` complete names; ``more`` go for an image, too."""
    for parameter in command.params:
        if not isinstance(parameter, click.Argument):
            continue
        shown = parameter.metavar or (parameter.name or "").upper()
        if "RUN" in shown:
            parameter.type = _Names(_runs)
        elif "IMAGE" in shown or "SOURCE" in shown:
            parameter.type = _Names(lambda root: (*more, *_images(root)))


class _Names(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    name = "name"

    def __init__(self, names: Callable[[Path], Iterable[str]]) -> None:
        self._names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Those that begin so."""
        root = ctx.params.get("root") or ctx.find_root().params.get("root") or default_root()
        try:
            return [CompletionItem(name) for name in self._names(Path(root)) if name.startswith(incomplete)]
        except Exception:
            return []


def _runs(root: Path) -> list[str]:
    from cowfs.store.runs import LAST, Runs

    runs = Runs(root).list()
    return [*dict.fromkeys((LAST, *(run.name for run in runs if run.name), *(run.id for run in runs)))] if runs else []


def _images(root: Path) -> list[str]:
    from cowfs.store import Store

    if not root.is_dir():
        return []
    with Store.open(root) as store:
        return ["@host", *(image.familiar for image in store.images())]
