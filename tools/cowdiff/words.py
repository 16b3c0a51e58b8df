"""Changes of a journal in words and as JSON. Pure: from values to strings."""

import time
from typing import Any, Final

from cowdiff.journals import bytes_of
from cowfs.journal import records
from cowfs.journal.reader import Change, Process
from cowfs.journal.records import Op
from cowfs.runs.escape import json_name, json_names, printable

_WORDS: Final = {
    Op.CREATE: "created",
    Op.MKDIR: "directory made",
    Op.MKNOD: "node made",
    Op.SYMLINK: "link made",
    Op.LINK: "hard link made",
    Op.UNLINK: "removed",
    Op.RMDIR: "directory removed",
    Op.RENAME: "renamed",
    Op.SETXATTR: "attribute set",
    Op.REMOVEXATTR: "attribute removed",
    Op.OPEN: "open for writing",
    Op.WRITE: "write",
    Op.CLOSE: "written",
}


def words(change: Change) -> str:
    """What happened, without the path it happened to."""
    text = _WORDS.get(change.op, "")
    if change.op is Op.ATTRIBUTES:
        return _attributes(change)
    if change.op is Op.SYMLINK and change.target is not None:
        return f"{text} to {printable(change.target)}"
    if change.op is Op.LINK and change.other is not None:
        return f"{text} of /{printable(change.other)}"
    if change.op is Op.RENAME and change.other is not None:
        over = f", over {_owner(change.replaced)}" if change.replaced and not change.flags else ""
        return (
            f"{'exchanged with' if change.flags == records.EXCHANGE else 'renamed to'} /{printable(change.other)}{over}"
        )
    if change.op in (Op.SETXATTR, Op.REMOVEXATTR) and change.name is not None:
        return f"{text}: {printable(change.name)}"
    if change.op is Op.CLOSE:
        return f"{text}: {_sizes(change)}"
    if change.op is Op.WRITE:
        return f"{text} of {change.written} bytes at {change.offset}"
    return text


def _owner(number: int) -> str:
    return "the run's own" if number == records.UPPER else f"that of layer {number}"


def _attributes(change: Change) -> str:
    mask, parts = change.mask or 0, []
    if mask & records.SET_SIZE:
        parts.append(f"cut to {change.size} bytes" if not change.size else f"size set to {change.size} bytes")
    if mask & records.SET_MODE and change.mode is not None:
        parts.append(f"mode {change.mode & 0o7777:04o}")
    if mask & (records.SET_OWNER | records.SET_GROUP):
        parts.append(f"owner {change.uid}:{change.gid}")
    if mask & records.SET_TIMES:
        parts.append("times set")
    return ", ".join(parts) or "attributes set"


def _sizes(change: Change) -> str:
    if change.before in (0, None):
        return f"{change.size} bytes"
    if change.before == change.size:
        return f"{change.size} bytes as before"
    return f"{change.before} -> {change.size} bytes"


def layer(number: int) -> str:
    """Which layer had the content before."""
    if number == records.NO_LAYER:
        return ""
    return "upper" if number == records.UPPER else f"layer {number}"


def clock(time_ns: int) -> str:
    """The local time of day, to the millisecond."""
    return f"{time.strftime('%H:%M:%S', time.localtime(time_ns // 10**9))}.{time_ns // 10**6 % 1000:03d}"


def change_json(change: Change) -> dict[str, Any]:
    """A change as a JSON object, without its process. Keys that would say nothing are left out."""
    answer: dict[str, Any] = {"time": change.time_ns / 1e9, "op": change.op.name.lower()}
    answer |= json_name("path", b"/" + change.path)
    answer["layer"] = _LAYERS.get(change.layer, change.layer)
    if change.other is not None:
        answer |= json_name("to" if change.op is Op.RENAME else "of", b"/" + change.other)
    if change.replaced:
        answer["replaced_layer"] = _LAYERS.get(change.replaced, change.replaced)
    if change.target is not None:
        answer |= json_name("target", change.target)
    if change.name is not None:
        answer |= json_name("name", change.name)
    answer |= _numbers(change)
    return answer


_LAYERS: Final = {records.NO_LAYER: None, records.UPPER: "upper"}


def _numbers(change: Change) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    mask = change.mask
    if change.mode is not None and (mask is None or mask & records.SET_MODE):
        answer["mode"] = f"{change.mode & 0o7777:04o}"
    if mask is not None and mask & (records.SET_OWNER | records.SET_GROUP):
        answer |= {"uid": change.uid, "gid": change.gid}
    if change.size is not None and (mask is None or mask & records.SET_SIZE):
        answer["size"] = change.size
    if mask is not None and mask & records.SET_TIMES:
        answer["times"] = True
    if change.before is not None:
        answer["size_before"] = change.before
    if change.op in (Op.CLOSE, Op.WRITE):
        answer["bytes"] = bytes_of(change)
        answer["bytes_exact"] = change.written is not None
    if change.offset is not None:
        answer["offset"] = change.offset
    if change.flags == records.EXCHANGE:
        answer["exchange"] = True
    return answer


def process_json(process: Process | None) -> dict[str, Any] | None:
    """A process as a JSON object; ``parent`` is the ``number`` of another."""
    if process is None:
        return None
    answer: dict[str, Any] = {
        "number": process.number,
        "parent": process.parent.number if process.parent else None,
        "pid": process.pid,
        "inner_pid": process.inner_pid,
        "uid": process.uid,
        "gid": process.gid,
    }
    answer |= json_name("exe", process.exe) | json_name("cwd", process.cwd) | json_names("argv", list(process.argv))
    if process.cut:
        answer["argv_cut"] = True
    return answer
