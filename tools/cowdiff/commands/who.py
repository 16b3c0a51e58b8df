"""``cowdiff who RUN``: the processes of a run as a tree, and what each of them changed."""

import json
import sys
from collections.abc import Iterator

import click

from cowdiff.context import Context
from cowdiff.journals import command_of, journal_of, missing, totals
from cowfs.cli.entry import complain
from cowfs.journal.history import MADE, History, by_process
from cowfs.journal.reader import Change, Process
from cowfs.journal.records import Op

_DETAILS = frozenset({Op.ATTRIBUTES, Op.SETXATTR, Op.REMOVEXATTR})  # of what the process made itself
_FEW = 12  # paths of one process that are listed where not all are asked for


@click.command("who")
@click.argument("token", metavar="RUN")
@click.option("--all", "everything", is_flag=True, help="List every path, those that came and went, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and process, with all its changes.")
@click.pass_obj
def command(context: Context, token: str, everything: bool, as_json: bool) -> None:
    """Say which process changed what: the tree of commands, and below each the paths that it touched."""
    run = context.find(token)
    reader = journal_of(run)
    changes = list(reader.more()) + reader.still_open()
    made = by_process(changes)
    sys.stdout.writelines(_json(made) if as_json else _tree(made, None if everything else _FEW))
    for line in missing(reader, run):
        complain("cowdiff", line)


def _below(made: dict[Process | None, list[Change]]) -> dict[Process | None, list[Process]]:
    """The children of each process that changed something, or has a descendant that did."""
    below: dict[Process | None, list[Process]] = {}
    seen: set[Process] = set()
    for process in made:
        for member in process.chain if process is not None else ():
            if member not in seen:
                seen.add(member)
                below.setdefault(member.parent, []).append(member)
    for children in below.values():
        children.sort(key=lambda child: child.number)
    return below


def _tree(made: dict[Process | None, list[Change]], few: int | None) -> Iterator[str]:
    below = _below(made)
    waiting = [(process, 0) for process in reversed(below.get(None, []))]
    while waiting:
        process, depth = waiting.pop()
        yield from _one(process, made.get(process, []), "  " * depth, few)
        waiting.extend((child, depth + 1) for child in reversed(below.get(process, [])))
    if None in made:
        yield from _one(None, made[None], "", few)


def _one(process: Process | None, changes: list[Change], indent: str, few: int | None) -> Iterator[str]:
    from cowfs.runs.escape import printable

    number = f"[{process.inner_pid}] " if process else ""
    user = f"  uid {process.uid}" if process and process.uid else ""
    yield f"{indent}{number}{command_of(process)}{user}{_sum(changes)}\n"
    listed = [(path, did) for path, did in sorted(_paths(changes)) if few is None or not _came_and_went(did)]
    for path, did in listed[:few]:
        yield f"{indent}    /{printable(path)}  {did}\n"
    if few is not None and len(listed) > few:
        yield f"{indent}    ... and {len(listed) - few} more (--all)\n"


def _sum(changes: list[Change]) -> str:
    if not changes:
        return ""
    paths, written = totals(changes)
    return f"  -- {paths} path{'s' if paths != 1 else ''}" + (f", {written} bytes written" if written else "")


def _paths(changes: list[Change]) -> Iterator[tuple[bytes, str]]:
    """The paths that a process touched, by the names at its end, with all that it did in one line."""
    from cowdiff.words import words
    from cowfs.runs.escape import printable

    for path, history in History(changes).paths():
        last = history[-1]
        if last.op is Op.RENAME and last.path == path and last.other != path:
            continue  # it is listed where it went
        parts: list[str] = []
        for change in history:
            if change.op is Op.RENAME:
                parts += [f"renamed from /{printable(change.path)}"] if change.other == path else []
            elif change.op not in _DETAILS or history[0].op not in MADE:
                parts.append(words(change))
        if parts:  # else it only moved with its directory
            yield path, ", ".join(dict.fromkeys(parts))


def _came_and_went(did: str) -> bool:
    return did.startswith(("created", "directory made", "link made")) and did.endswith("removed")


def _json(made: dict[Process | None, list[Change]]) -> Iterator[str]:
    from cowdiff.words import change_json, process_json

    members = {member for process in made if process is not None for member in process.chain}
    named: list[Process | None] = [*sorted(members, key=lambda member: member.number)]
    for process in named + ([None] if None in made else []):
        changes = made.get(process, [])
        paths, written = totals(changes)
        answer = {"process": process_json(process), "paths": paths, "bytes": written}
        yield json.dumps(answer | {"changes": [change_json(change) for change in changes]}) + "\n"
