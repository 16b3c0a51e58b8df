"""What stands in the injected files: /etc/hostname, /etc/hosts and /etc/resolv.conf of a run."""

import os
import re
from pathlib import Path
from typing import Final

from cowrun.ports import ADDRESS, NAME_SERVER
from cowrun.settings import Settings

_HOSTS: Final = "/etc/hosts"
_RESOLV_CONF: Final = "/etc/resolv.conf"
_LIMIT: Final = 1 << 20  # bytes of a resolv.conf
_SERVER: Final = re.compile(r"\s*nameserver\s")
_LOOPBACK: Final = re.compile(r"\s*nameserver\s+(127\.|::1)")

STANDARD: Final = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def write(directory: Path, run_id: str, settings: Settings) -> None:
    """Write the three files, 0644, into the run's own directory."""
    hostname = settings.hostname or run_id
    contents = {
        "hostname": hostname + "\n",
        "hosts": hosts(settings, hostname, _read(_HOSTS) if settings.host or settings.network == "host" else ""),
        "resolv.conf": resolv_conf(settings, _read(_RESOLV_CONF)),
    }
    for name, content in contents.items():
        with open(directory / name, "w", encoding="utf-8", errors="surrogateescape") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)


def hosts(settings: Settings, hostname: str, of_host: str) -> str:
    """With the host's network its own names, too; in a private one the name has the address that others see."""
    own = ADDRESS if settings.network not in ("host", "none") else "127.0.1.1"
    added = "".join(f"{address}\t{name}\n" for name, address in settings.hosts)
    return (of_host if of_host.strip() else STANDARD) + f"{own}\t{hostname}\n" + added


def resolv_conf(settings: Settings, of_host: str) -> str:
    """The host's, but for servers of --dns, and those on its loopback, which only it can reach.

    Where it has no others, a private network asks them through pasta or slirp4netns.
    """
    lines = of_host.splitlines(keepends=True)
    if settings.dns:
        kept = [line for line in lines if not _SERVER.match(line)]
        return "".join(kept) + "".join(f"nameserver {address}\n" for address in settings.dns)
    if settings.network == "host":
        return of_host
    lines = [line for line in lines if not _LOOPBACK.match(line)]
    if settings.network != "none" and not any(_SERVER.match(line) for line in lines):
        lines.append(f"nameserver {NAME_SERVER}\n")
    return "".join(lines)


def below_run() -> str:
    """Where the host's /etc/resolv.conf really lies, if that is below /run, which @host does not see; else empty."""
    found = os.path.realpath(_RESOLV_CONF)
    return found if found.startswith("/run/") else ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(_LIMIT)
    except OSError:
        return ""
