"""The configuration of registries: ``/etc/cowfs/registries.toml``, and a user's own over it. Read for each pull.

    proxy = "http://proxy.example:3128"

    ["docker.io"]
    mirrors = ["mirror.example:5000"]     # asked first, in this order

    ["registry.example:5000"]
    insecure = true                       # plain http; for this machine's own (localhost, 127.0.0.0/8) the default
    ca = "/etc/ssl/registry.pem"          # certificates to trust instead of the machine's
    realm = "login.example"               # another host that may be sent the credentials, for a token
    proxy = ""                            # none for this one

Nothing else decides: no proxy, certificate or password of the environment or of ~/.netrc is used.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from cowfs.errors import UsageError
from cowfs.images.reference import HUB, parse_reference

SYSTEM = Path("/etc/cowfs/registries.toml")
ENV = "COWFS_REGISTRIES"  # names a file that is read instead of both
_HUB_API = "registry-1.docker.io"
_LOOPBACK = re.compile(r"(?:localhost|127\.[0-9]+\.[0-9]+\.[0-9]+|\[::1\])(?::[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Host:
    """What is configured for one registry, by the name that references have. None: what is usual."""

    mirrors: tuple[str, ...] = ()
    insecure: bool | None = None
    ca: str = ""
    realm: str = ""
    proxy: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a repository is asked for: a registry or its mirror. ``name`` is what credentials are filed under."""

    name: str
    path: str  # of the repository there
    host: Host = Host()

    @property
    def plain(self) -> bool:
        """Spoken to without TLS."""
        return self.host.insecure if self.host.insecure is not None else is_loopback(self.name)

    @property
    def base(self) -> str:
        """The URL of its API."""
        address = _HUB_API if self.name == HUB else self.name
        return f"{'http' if self.plain else 'https'}://{address}/v2/"


@dataclass(frozen=True, slots=True)
class Settings:
    """All that is configured."""

    proxy: str = ""
    hosts: Mapping[str, Host] = field(default_factory=dict)

    def endpoint(self, name: str, path: str) -> Endpoint:
        """A repository of the registry ``name``."""
        host = self.hosts.get(name, Host())
        return Endpoint(name, path, host if host.proxy is not None else replace(host, proxy=self.proxy))

    def endpoints(self, name: str, path: str) -> list[Endpoint]:
        """Where ``path`` of ``name`` may be had, in the order in which to ask: mirrors first."""
        found = []
        for mirror in self.hosts.get(name, Host()).mirrors:
            domain, _, prefix = mirror.partition("/")
            found.append(self.endpoint(domain, f"{prefix}/{path}" if prefix else path))
        return [*found, self.endpoint(name, path)]


def load(environ: Mapping[str, str]) -> Settings:
    """The settings of the files that exist. Raises UsageError."""
    if named := environ.get(ENV):
        return _read(Path(named), Settings())
    settings = _read(SYSTEM, Settings()) if SYSTEM.exists() else Settings()
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    own = Path(home, "cowfs", SYSTEM.name)
    return _read(own, settings) if own.exists() else settings


def is_loopback(name: str) -> bool:
    """True for a registry of this machine."""
    return _LOOPBACK.fullmatch(name) is not None


def _read(path: Path, below: Settings) -> Settings:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    proxy = found.pop("proxy", below.proxy)
    if not isinstance(proxy, str):
        raise UsageError(f"{path}: 'proxy' is not a string")
    return Settings(proxy, {**below.hosts, **{name: _host(path, name, table) for name, table in found.items()}})


def _host(path: Path, name: str, table: Any) -> Host:
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {name!r} is not known; a registry is written [{name!r}]")
    kinds = {"mirrors": list, "insecure": bool, "ca": str, "realm": str, "proxy": str}
    for key, value in table.items():
        if key not in kinds or not isinstance(value, kinds[key]):
            known = ", ".join(part.name for part in fields(Host))
            raise UsageError(
                f"{path}: {key!r} of {name!r} is not {'a ' + kinds[key].__name__ if key in kinds else known}"
            )
    _check_name(path, name)
    mirrors = tuple(table.get("mirrors", ()))
    for mirror in mirrors:
        _check_name(path, mirror)
    return Host(**{**table, "mirrors": mirrors})


def _check_name(path: Path, name: Any) -> None:
    """A registry, and maybe a path in it: what a reference may begin with."""
    domain, _, rest = str(name).partition("/")
    try:
        found = parse_reference(f"{name}/x")
    except UsageError:
        found = None
    fitting = found is not None and (found.domain, found.path) == (domain, f"{rest}/x" if rest else "x")
    if not fitting and name != HUB:
        raise UsageError(f"{path}: {name!r} is not the name of a registry, like docker.io or registry.example:5000")
