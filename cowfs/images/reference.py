"""References as docker's users type them: ``debian``, ``debian:12``, ``ghcr.io/a/b@sha256:...``. Values only.

The grammar is that of the distribution project (reference.go): a first component with a dot, a colon or the name
localhost is a registry; without one it is Docker Hub's, whose official images live under library/.
"""

import re
from typing import NamedTuple

from cowfs.errors import UsageError

HUB = "docker.io"
_LATEST = "latest"
_MAX_NAME = 255

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Reference(NamedTuple):
    """A reference with everything filled in. ``str()`` is its full form."""

    domain: str
    path: str
    tag: str = ""  # may be empty only beside a digest
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.domain}/{self.path}{tag}{digest}"

    @property
    def familiar(self) -> str:
        """As people write it: without Docker Hub's name."""
        return str(self).removeprefix(f"{HUB}/library/").removeprefix(f"{HUB}/")


def parse_reference(text: str) -> Reference:
    """Raises UsageError."""
    rest, at, digest = text.partition("@")
    slash = rest.rfind("/")
    colon = rest.find(":", slash + 1)
    name, tag = (rest[:colon], rest[colon + 1 :]) if colon >= 0 else (rest, "")
    domain, path = _split_domain(name)
    if (
        (at and not _DIGEST.fullmatch(digest))
        or (colon >= 0 and not _TAG.fullmatch(tag))
        or not _PATH.fullmatch(path)
        or not _DOMAIN.fullmatch(domain)
        or len(domain) + 1 + len(path) > _MAX_NAME
    ):
        raise UsageError(f"{text!r} is not an image reference, like debian:12 or ghcr.io/owner/name{_hint(text)}")
    return Reference(domain, path, tag or ("" if digest else _LATEST), digest)


def familiar(text: str) -> str:
    """The familiar form of ``text``, or ``text`` itself if it is no reference."""
    try:
        return parse_reference(text).familiar
    except UsageError:
        return text


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        domain = HUB if first == "index.docker.io" else first
        path = rest
    else:
        domain, path = HUB, name
    if domain == HUB and "/" not in path:
        path = f"library/{path}"
    return domain, path


def _hint(text: str) -> str:
    if text.startswith(("/", ".", "~")):
        return f"; for a directory write dir:{text}"
    if text != text.lower():
        return "; names are lower case"
    return ""
