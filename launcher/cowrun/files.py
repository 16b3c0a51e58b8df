"""What stands in the injected files: /etc/hostname, /etc/hosts and /etc/resolv.conf of an image's run."""

import os
import re
from pathlib import Path
from typing import Final

_RESOLV_CONF: Final = "/etc/resolv.conf"
_LIMIT: Final = 1 << 20  # bytes of a resolv.conf
_LOOPBACK: Final = re.compile(r"\s*nameserver\s+(127\.|::1)")

HOSTS: Final = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
127.0.1.1\t{hostname}
"""


def write(directory: Path, hostname: str, network: str) -> None:
    """Write the three files, 0644, into the run's own directory."""
    own_network = network != "host"
    contents = {
        "hostname": hostname + "\n",
        "hosts": HOSTS.format(hostname=hostname),
        "resolv.conf": resolv_conf(_read(_RESOLV_CONF), own_network=own_network),
    }
    for name, content in contents.items():
        with open(directory / name, "w", encoding="utf-8", errors="surrogateescape") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)


def resolv_conf(content: str, *, own_network: bool) -> str:
    """The host's, without the servers that cannot be reached from another network namespace."""
    lines = content.splitlines(keepends=True)
    return "".join(line for line in lines if not (own_network and _LOOPBACK.match(line)))


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
