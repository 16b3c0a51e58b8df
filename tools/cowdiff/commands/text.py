"""``cowdiff text RUN [PATH...]``: the changes of text files, as a patch that ``git apply`` takes."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from cowdiff.context import Context, on_terminal, painter

if TYPE_CHECKING:
    from cowfs.runs.changes import Change, Version
    from cowfs.runs.trees import Tree


@click.command("text")
@click.argument("token", metavar="RUN")
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=click.Path(path_type=bytes))
@click.pass_obj
def command(context: Context, token: str, paths: tuple[bytes, ...]) -> None:
    """Show what RUN changed in text files: at or below PATH, or everywhere.

    The output is a patch that "git apply" takes; lines that start with "#" say what a patch cannot. The files of
    removed directories are left out unless a PATH (as "/") asks for them.
    """
    run = context.find(token)
    from cowfs.runs.scan import scan
    from cowfs.runs.trees import base_of, left_by

    with base_of(run) as before, left_by(run) as after:
        changes = scan(run, before)
        if paths:
            changes = list(_selected(changes, [b"/" + path.strip(b"/") for path in paths], before))
        show = _for_a_person(painter()) if on_terminal() else None
        for line in _patches(changes, before, after):
            sys.stdout.buffer.write(show(line) if show else line)


def _patches(changes: "Iterable[Change]", before: "Tree", after: "Tree") -> Iterator[bytes]:
    from cowdiff.patch import has_same_content, patch
    from cowfs.runs.changes import ChangeClass

    for change in changes:
        if change.change in (ChangeClass.TOUCHED, ChangeClass.IDENTICAL):
            continue
        if has_same_content(change):
            yield from patch(change, b"", b"")
            continue
        old = _content(before, change.before_path or change.path, change.before)
        new = _content(after, change.path, change.after)
        yield from patch(change, old, new)


def _content(tree: "Tree", path: bytes, version: "Version | None") -> bytes | None:
    """What a patch would show of a file; None if nothing."""
    from cowdiff.patch import LIMIT, is_text
    from cowfs.model import Kind

    if version is None:
        return b""
    if version.kind is Kind.SYMLINK:
        return version.target
    node = tree.walk(path) if version.kind is Kind.FILE and version.size <= LIMIT else None
    if node is None:
        return None
    with tree.opened(node) as opened:
        content = opened.read(0, LIMIT + 1)
    return content if is_text(content) and len(content) <= LIMIT else None


def _selected(changes: "Iterable[Change]", wanted: list[bytes], before: "Tree") -> "Iterator[Change]":
    """The changes at or below the wanted paths, and of a removed directory each file that is."""
    for change in changes:
        if any(_covers(path, change.path) for path in wanted):
            yield change
        gone = change.before_path or change.path
        if change.before is not None and _is_gone_directory(change):
            for path in {path if _covers(gone, path) else gone for path in wanted if _overlap(gone, path)}:
                yield from _files_below(change, path, before)


def _covers(directory: bytes, path: bytes) -> bool:
    return directory in (b"/", path) or path.startswith(directory + b"/")


def _overlap(one: bytes, other: bytes) -> bool:
    return _covers(one, other) or _covers(other, one)


def _is_gone_directory(change: "Change") -> bool:
    from cowfs.model import Kind
    from cowfs.runs.changes import ChangeClass

    gone = change.change in (ChangeClass.REMOVED, ChangeClass.REPLACED)
    return gone and change.before is not None and change.before.kind is Kind.DIRECTORY


def _files_below(change: "Change", top: bytes, before: "Tree") -> "Iterator[Change]":
    from cowfs.runs.changes import Change, ChangeClass, order

    waiting = [top]
    while waiting:
        path = waiting.pop()
        node = before.walk(path)
        if node is None:
            continue
        waiting += sorted((path + b"/" + name for name in before.names(node)), key=order, reverse=True)
        if not node.is_dir and path != change.path:
            yield Change(path, ChangeClass.REMOVED, before.version(node), None)


def _for_a_person(paint: Callable[[str, str | None], str]) -> Callable[[bytes], bytes]:
    """Colours, and nothing in a line that a terminal would obey."""
    from cowfs.runs.escape import harmless

    colours = {b"+": "green", b"-": "red", b"@": "cyan"}

    def show(line: bytes) -> bytes:
        return paint(harmless(line), colours.get(line[:1])).encode("utf-8", "backslashreplace")

    return show
