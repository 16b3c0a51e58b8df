"""``-p [ADDRESS:][HOST:]CONTAINER[/tcp|udp]``, docker's syntax as values; what may serve a private network. Pure."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from cowfs.errors import UsageError

PROGRAMS: Final = ("pasta", "slirp4netns")  # that serve a private network, in the order of preference
ADDRESS: Final = "10.0.2.100"  # of the container, with both of them
NAME_SERVER: Final = "10.0.2.3"  # asks the servers that the host asks, those on its loopback, too
_SYNTAX: Final = (
    r"(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):(?=.*:|:))?"
    r"(?:(?P<host>[0-9-]*):)?(?P<inside>[0-9-]+)(?:/(?P<protocol>[a-z]+))?"
)
_MOST: Final = 65535


class Port(NamedTuple):
    """A port of this machine that leads to one of the container."""

    host: int  # 0: any that is free
    inside: int
    protocol: str = "tcp"
    address: str = ""  # of this machine; empty: all

    def __str__(self) -> str:
        """As docker ps has it."""
        address = f"[{self.address}]" if ":" in self.address else self.address or "0.0.0.0"
        return f"{address}:{self.host}->{self.inside}/{self.protocol}"


def parse_ports(texts: Iterable[str]) -> tuple[Port, ...]:
    """Raises UsageError."""
    return tuple(port for text in texts for port in _parse(text))


def _parse(text: str) -> list[Port]:
    match = re.fullmatch(_SYNTAX, text)
    if not match:
        raise UsageError(f"-p {text!r}: [ADDRESS:][HOST:]CONTAINER[/tcp|udp] is how a port is published")
    protocol = match["protocol"] or "tcp"
    if protocol not in ("tcp", "udp"):
        raise UsageError(f"-p {text!r}: {protocol} cannot be published, only tcp and udp")
    inside = _range(match["inside"], text)
    host = _range(match["host"], text) if match["host"] else [0] * len(inside)
    if len(host) != len(inside):
        raise UsageError(f"-p {text!r}: ranges of different length")
    address = _address((match["address"] or "").strip("[]"), text)
    return [Port(outer, inner, protocol, address) for outer, inner in zip(host, inside, strict=True)]


def _address(address: str, text: str) -> str:
    from ipaddress import ip_address  # takes long to import

    if not address:
        return ""
    try:
        return str(ip_address(address))
    except ValueError:
        raise UsageError(f"-p {text!r}: {address} is no address") from None


def _range(numbers: str, text: str) -> list[int]:
    first, dash, last = numbers.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise UsageError(f"-p {text!r}: {numbers!r} is no port")
    found = list(range(int(first), min(int(last or first), _MOST + 1) + 1))
    if not found or found[0] == 0 or found[-1] > _MOST:
        raise UsageError(f"-p {text!r}: {numbers!r} is no port")
    return found
