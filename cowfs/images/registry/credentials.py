"""Who we are to a registry: what ``docker login``, ``podman login`` and ``skopeo login`` left behind.

    $REGISTRY_AUTH_FILE                                    if it is set, this one alone
    $XDG_RUNTIME_DIR/containers/auth.json                  podman's; if it is not set, /run/containers/UID/auth.json
    $XDG_CONFIG_HOME/containers/auth.json                  podman's, kept
    $DOCKER_CONFIG/config.json, or ~/.docker/config.json   docker's

In a file, in this order: credHelpers for the registry, credsStore, auths. The first credentials that are found count
(containers-auth.json(5); docker's cli, "Credential helpers"). Secrets never appear in a message.
"""

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cowfs.errors import RegistryError
from cowfs.images.reference import HUB

_HUB_KEY = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_HELPER_SECONDS = 60.0  # somebody may have to touch a key
_LIMIT = 1 << 20  # bytes of a file or of a helper's answer
_TOKEN_USER = "<token>"  # a helper's user name when the secret is an identity token


@dataclass(frozen=True, slots=True)
class Credentials:
    """``source`` says where they are from, for messages."""

    user: str = ""
    password: str = ""
    identity_token: str = ""  # for OAuth2's refresh_token
    registry_token: str = ""  # a Bearer token as it is
    source: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.user!r}, from {self.source!r})"


def find(environ: Mapping[str, str], registry: str, path: str) -> Credentials | None:
    """The credentials for ``path`` of ``registry``, None if there are none. Raises RegistryError for a broken file."""
    for file in _files(environ):
        found = _in_file(file, registry, path, environ)
        if found is not None:
            return found
    return None


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
        return
    home = environ.get("HOME", "/")
    runtime = environ.get("XDG_RUNTIME_DIR")
    yield Path(runtime, "containers/auth.json") if runtime else Path(f"/run/containers/{os.getuid()}/auth.json")
    yield Path(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers/auth.json")
    yield Path(environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json")


def _in_file(file: Path, registry: str, path: str, environ: Mapping[str, str]) -> Credentials | None:
    try:
        with open(file, "rb") as opened:
            data = opened.read(_LIMIT + 1)
        found = json.loads(data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RegistryError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RegistryError(f"{file} is not valid JSON") from None
    if not isinstance(found, dict):
        raise RegistryError(f"{file} is not an object")
    keys = _keys(registry, path)
    helpers = _table(found, "credHelpers")
    helper = next((helpers[key] for key in keys if key in helpers), None) or found.get("credsStore")
    if helper and (asked := _ask_helper(str(helper), registry, environ, file)):
        return asked
    entries = {_normal(key): value for key, value in _table(found, "auths").items()}
    entry = next((entries[key] for key in keys if key in entries), None)
    return _of_entry(entry, file) if isinstance(entry, dict) else None


def _table(found: dict[str, Any], key: str) -> dict[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _keys(registry: str, path: str) -> list[str]:
    """What an entry may be filed under, the narrowest first: podman's have paths."""
    parts = path.split("/")
    narrow = [f"{registry}/{'/'.join(parts[:count])}" for count in range(len(parts), 0, -1)]
    wide = [HUB, "index.docker.io", "registry-1.docker.io"] if registry == HUB else [registry]
    return [*narrow, *wide]


def _normal(key: str) -> str:
    """docker's old keys are URLs."""
    without = re.sub(r"^https?://", "", key)
    return without.split("/")[0] if without != key else key.rstrip("/")


def _of_entry(entry: dict[str, Any], file: Path) -> Credentials | None:
    texts = {key: value for key, value in entry.items() if isinstance(value, str)}
    user, password = texts.get("username", ""), texts.get("password", "")
    if packed := texts.get("auth"):
        try:
            user, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise RegistryError(f"{file}: an 'auth' is not base64 of USER:PASSWORD") from None
        password = password.rstrip("\0")  # docker on Windows
    found = Credentials(user, password, texts.get("identitytoken", ""), texts.get("registrytoken", ""), str(file))
    return found if user or found.identity_token or found.registry_token else None


def _ask_helper(name: str, registry: str, environ: Mapping[str, str], file: Path) -> Credentials | None:
    """docker-credential-helpers' protocol: ``get``, the server's name on stdin, JSON on stdout."""
    program = f"docker-credential-{name}"
    found = shutil.which(program, path=environ.get("PATH")) if _HELPER.fullmatch(name) else None
    if found is None:
        raise RegistryError(f"{file} names the credential helper {name!r}: there is no program {program}")
    server = _HUB_KEY if registry == HUB else registry
    try:
        done = subprocess.run(
            [found, "get"],
            input=server.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RegistryError(f"{program} gave no answer in {_HELPER_SECONDS:.0f} seconds") from None
    except OSError as error:
        raise RegistryError(f"{program} cannot be executed: {error.strerror}") from None
    if done.returncode != 0:
        if b"not found" in done.stdout.lower():
            return None
        raise RegistryError(f"{program} failed with status {done.returncode}")
    try:
        answer = json.loads(done.stdout[:_LIMIT])
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RegistryError(f"the answer of {program} is not what a credential helper says") from None
    if user == _TOKEN_USER:
        return Credentials(identity_token=secret, source=program)
    return Credentials(user, secret, source=program) if user or secret else None
