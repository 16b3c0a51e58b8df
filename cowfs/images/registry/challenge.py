"""The header WWW-Authenticate as values (RFC 9110, 11.6.1). No I/O."""

import re
from dataclasses import dataclass

_SCHEME = re.compile(r"[\s,]*([A-Za-z0-9-]+)(?:\s+|(?=,)|$)")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_LIMIT = 8192


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry wants: ``scheme`` is basic, bearer or something else, in lower case."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""
    error: str = ""


def parse(header: str) -> list[Challenge]:
    """All challenges of a header; what cannot be understood ends it."""
    found: list[Challenge] = []
    at = 0
    header = header[:_LIMIT]
    while match := _SCHEME.match(header, at):
        scheme, at = match[1].lower(), match.end()
        values: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, at):
            quoted = parameter[2]
            values.setdefault(parameter[1].lower(), parameter[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            at = parameter.end()
        names = ("realm", "service", "scope", "error")
        found.append(Challenge(scheme, **{name: values.get(name, "") for name in names}))
    return found


def choose(challenges: list[Challenge]) -> Challenge | None:
    """The one to answer: Bearer before Basic."""
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme:
                return challenge
    return None
