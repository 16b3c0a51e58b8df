"""Shell completion: click's own, with images, runs and paths inside an image. Used by the entry of all three programs.

``eval "$(_COWRUN_COMPLETE=bash_source cowrun)"`` sets it up (zsh_source, fish_source; _COWFS_, _COWDIFF_). An argument
that is shown as RUN or IMAGE is completed by what the store has, PATH by what the SOURCE before it has; whatever goes
wrong there completes nothing. Nothing is brought or unpacked for it.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

from cowfs.cli.context import default_root


class _Bash(BashComplete):
    """bash takes "debian:12" for three words, and a name as it would be typed; no space comes after a directory."""

    source_template: ClassVar[str] = """\
%(complete_func)s() {
    local IFS=$'\\n' value
    for value in $(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
            %(complete_var)s=bash_complete $1); do
        COMPREPLY+=("${value#*,}")
        [[ $value == */ ]] && compopt -o nospace
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """What takes the place of bash's last word: of the whole one what comes after its last colon."""
        value, (_, incomplete) = str(item.value), self.get_completion_args()
        if ":" in os.environ.get("COMP_WORDBREAKS", ""):
            value = value.removeprefix(incomplete[: incomplete.rfind(":") + 1])
        return item.type + "," + re.sub(r"([^-\w@%+=:,./])", r"\\\1", value)


add_completion_class(_Bash)


def variable(prog: str) -> str:
    """The variable in which a shell asks."""
    return f"_{prog.upper()}_COMPLETE"


def split_line() -> None:
    """Split what bash passed as it is typed into the words that click looks for; every ``complete`` begins so."""
    line = os.environ.pop("COMP_LINE", "")
    if line:
        words = split_arg_string(line)
        os.environ["COMP_WORDS"] = shlex.join(words)
        os.environ["COMP_CWORD"] = str(len(words) - (not line[-1].isspace()))


def complete(command: click.Command, prog: str) -> int:
    """Answer the shell; the exit status."""
    split_line()
    return shell_complete(command, {}, prog, variable(prog), os.environ[variable(prog)])


def prepare(command: click.Command, more: Iterable[str] = ()) -> None:
    """Let the arguments of ``command`` complete names; ``more`` go for an image, too."""
    for parameter in command.params:
        if not isinstance(parameter, click.Argument):
            continue
        shown = parameter.metavar or (parameter.name or "").upper()
        if "RUN" in shown:
            parameter.type = _Names(lambda root, ctx, incomplete: _runs(root))
        elif "IMAGE" in shown or "SOURCE" in shown:
            parameter.type = _Names(lambda root, ctx, incomplete: (*more, *_images(root)))
        elif ("PATH" in shown or "PATTERN" in shown) and any(other.name == "source" for other in command.params):
            parameter.type = _Names(lambda root, ctx, incomplete: _paths(root, ctx.params["source"], incomplete))


class _Names(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    name = "name"

    def __init__(self, names: Callable[[Path, click.Context, str], Iterable[str]]) -> None:
        self._names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Those that begin so."""
        root = ctx.params.get("root") or ctx.find_root().params.get("root") or default_root()
        try:
            names = list(self._names(Path(root), ctx, incomplete))
        except Exception:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


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


def _paths(root: Path, source: str, incomplete: str) -> Iterable[str]:
    from cowfs.cli.inside import paths
    from cowfs.store import Store

    if not root.is_dir():
        return []
    with Store.open(root) as store:
        return list(paths(source, store, incomplete))
