"""``cowdiff text RUN [PATH...]``: the changes of text files, as a patch that ``git apply`` takes."""

from collections.abc import Callable, Iterable

import click

from cowdiff.context import Context, on_terminal, painter


@click.command("text")
@click.argument("token", metavar="RUN")
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=click.Path(path_type=bytes))
@click.pass_obj
def command(context: Context, token: str, paths: tuple[bytes, ...]) -> None:
    """Show what RUN changed in text files: at or below PATH, or everywhere.

    PATH may be a shell pattern as '*.conf'. The output is a patch that "git apply" takes; lines that start with "#"
    say what a patch cannot. The files of removed directories are left out unless a PATH (as "/") asks for them.
    On a terminal it goes through $PAGER, or less.
    """
    from cowdiff.select import selected, wanted
    from cowdiff.texts import Texts
    from cowfs.model import Kind
    from cowfs.runs.below import Below
    from cowfs.runs.scan import scan
    from cowfs.runs.trees import base_of, left_by

    wants = wanted(paths)
    run = context.find(token)
    with base_of(run) as before, left_by(run) as after:
        all_changes = scan(run, before)
        chosen = selected(all_changes, wants, Below(before, all_changes), everything=bool(paths))
        tops = {change.path for change in all_changes}
        changes = (change for change in chosen if change.kind is not Kind.DIRECTORY or change.path in tops)
        show_patches(Texts(before, after).patches(changes))


def show_patches(lines: Iterable[bytes]) -> None:
    """Print a patch: exactly, or on a terminal through a pager, in colours, and harmless."""
    from cowdiff.pager import paged

    show = _for_a_person(painter()) if on_terminal() else None
    with paged() as out:
        for line in lines:
            out.write(show(line) if show else line)


def _for_a_person(paint: Callable[[str, str | None], str]) -> Callable[[bytes], bytes]:
    """Colours, and nothing in a line that a terminal would obey."""
    from cowfs.runs.escape import harmless

    colours = {b"+": "green", b"-": "red", b"@": "cyan"}

    def show(line: bytes) -> bytes:
        return paint(harmless(line), colours.get(line[:1])).encode("utf-8", "backslashreplace")

    return show
