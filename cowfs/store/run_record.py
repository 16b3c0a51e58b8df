"""run.json: the record of a run as a value. JSON in, JSON out; no I/O. Used by cowfs.store.runs alone.

Keys: format (1), id, name, source, digest, host, lowers (top first), command, env_names (no values: they hold secrets),
hidden, volumes, mounts (objects of target, kind, source, read_only), read_only, started, ended, exit_status and size
(null while it runs). A string that is not UTF-8 holds Python's surrogate escapes, and its bytes stand in base64 under
the same key with ``_b64`` appended (for a list: those of all its strings; not for mounts).
"""

import base64
import json
import os
from pathlib import Path
from typing import Any

from cowfs.model import Mounted, Run

FORMAT = 1  # a reader refuses what it does not know
LIMIT = 4 << 20  # bytes of a record: a command line may be long


def encode(run: Run) -> bytes:
    """One line of JSON."""
    return json.dumps(_record(run)).encode() + b"\n"


def _record(run: Run) -> dict[str, Any]:
    texts: dict[str, str | list[str]] = {
        "id": run.id,
        "name": run.name,
        "source": run.source,
        "digest": run.digest,
        "lowers": [os.fspath(path) for path in run.lowers],
        "command": list(run.command),
        "env_names": list(run.env_names),
        "hidden": [os.fspath(path) for path in run.hidden],
        "volumes": list(run.volumes),
    }
    record: dict[str, Any] = {"format": FORMAT, **texts}
    for key, value in texts.items():
        if not _is_utf8(value):
            record[f"{key}_b64"] = _coded(value) if isinstance(value, str) else [_coded(text) for text in value]
    record["mounts"] = [_mounted(mounted) for mounted in run.mounts]
    record |= {
        "read_only": run.read_only,
        "host": run.host,
        "started": run.started,
        "ended": run.ended,
        "exit_status": run.exit_status,
        "size": run.size,
    }
    return record


def _mounted(mounted: Mounted) -> dict[str, Any]:
    return {
        "target": mounted.target,
        "kind": mounted.kind,
        "source": mounted.source,
        "read_only": mounted.read_only,
    }


def _coded(text: str) -> str:
    return base64.b64encode(os.fsencode(text)).decode()


def _is_utf8(value: str | list[str]) -> bool:
    try:
        (value if isinstance(value, str) else "".join(value)).encode()
    except UnicodeEncodeError:
        return False
    return True


def decode(data: bytes, directory: Path) -> Run:
    """The run in ``directory``, as if it were going: only the lock tells more.

    Raises ValueError, KeyError, TypeError or RecursionError where the record is not what was written.
    """
    record = json.loads(data)
    if record["format"] != FORMAT or record["id"] != directory.name:
        raise ValueError("not the record of this run")
    return Run(
        id=record["id"],
        directory=directory,
        source=record["source"],
        lowers=tuple(Path(path) for path in record["lowers"]),
        command=tuple(record["command"]),
        name=record["name"],
        digest=record["digest"],
        host=bool(record["host"]),
        env_names=tuple(record["env_names"]),
        hidden=tuple(Path(path) for path in record["hidden"]),
        volumes=tuple(record["volumes"]),
        mounts=tuple(Mounted(**mounted) for mounted in record.get("mounts", ())),
        read_only=bool(record.get("read_only")),
        started=float(record["started"]),
        ended=record["ended"],
        exit_status=record["exit_status"],
        size=record.get("size"),
    )
