"""From a registry's challenge and our credentials to an Authorization header (distribution's "Token Authentication").

A secret is sent to the registry itself, or to the host of the realm once that was checked: by TLS where the registry
has it, of the registry's own domain or named in registries.toml, and no address of this machine or its network unless
the registry is one. Tokens are kept until shortly before they expire.
"""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlencode

from cowfs.errors import RegistryError
from cowfs.images.registry import challenge as challenges
from cowfs.images.registry.challenge import Challenge
from cowfs.images.registry.credentials import Credentials
from cowfs.images.registry.patience import PASSING, Passing, Patience, retry_after
from cowfs.images.registry.settings import Endpoint
from cowfs.images.registry.wire import ERROR_BODY, Answer, Wire, check_url, origin

TOKEN_LIMIT = 1 << 20
_LIFE = 60  # seconds that a token lives if nothing else is said
_EARLY = 10  # seconds before its end that a new one is fetched
_LONGEST = 3600.0

Find = Callable[[str, str], Credentials | None]  # a registry and a path in it


@dataclass(slots=True)
class _Token:
    value: str
    until: float


class Authorizer:
    """Answers challenges for all repositories of one command."""

    def __init__(self, wire: Wire, find: Find, patience: Callable[[], Patience] = Patience) -> None:
        self._wire = wire
        self._find = find
        self._patience = patience
        self._challenges: dict[str, Challenge] = {}  # by registry
        self._tokens: dict[tuple[str, str, str], _Token] = {}  # by realm, service and scope
        self._found: dict[tuple[str, str], Credentials | None] = {}

    def header(self, endpoint: Endpoint, scope: str) -> str:
        """The Authorization for a request, as far as we know that one is wanted."""
        challenge = self._challenges.get(endpoint.name)
        return self._answer(endpoint, challenge, scope) if challenge else ""

    def refused(self, endpoint: Endpoint, scope: str, answer: Answer, sent: str, times: int) -> None:
        """A 401, the ``times``-th, to a request with the Authorization ``sent``: the next header may be better.

        Raises RegistryError if it will not be.
        """
        if times > 2 or (sent and (times > 1 or sent.startswith("Basic "))):
            raise self.denied(endpoint)
        challenge = challenges.choose(challenges.parse(answer.header("WWW-Authenticate")))
        if challenge is None:
            raise RegistryError(f"{endpoint.name} refuses {endpoint.path} without saying what it wants")
        self._challenges[endpoint.name] = challenge
        self._tokens.pop(self._key(challenge, scope), None)

    def denied(self, endpoint: Endpoint) -> RegistryError:
        """What to tell a person whom the registry refuses."""
        credentials = self._credentials(endpoint)
        if credentials is None:
            return RegistryError(
                f"{endpoint.name} gives {endpoint.path} to nobody without a login, or has no such image"
                f" (docker login {endpoint.name}, or podman login)"
            )
        who = f"of {credentials.user!r} " if credentials.user else ""
        return RegistryError(
            f"{endpoint.name} refuses {endpoint.path} with the credentials {who}from {credentials.source}"
        )

    def _key(self, challenge: Challenge, scope: str) -> tuple[str, str, str]:
        return challenge.realm, challenge.service, scope

    def _answer(self, endpoint: Endpoint, challenge: Challenge, scope: str) -> str:
        if challenge.scheme == "basic":
            credentials = self._credentials(endpoint)
            if credentials is None or not credentials.user:
                raise self.denied(endpoint)
            return _basic(credentials)
        credentials = self._credentials(endpoint)
        if credentials and credentials.registry_token:
            return f"Bearer {credentials.registry_token}"
        known = self._tokens.get(self._key(challenge, scope))
        if known is None or time.monotonic() > known.until:
            known = self._fetch(endpoint, challenge, scope, credentials)
            self._tokens[self._key(challenge, scope)] = known
        return f"Bearer {known.value}"

    def _credentials(self, endpoint: Endpoint) -> Credentials | None:
        key = endpoint.name, endpoint.path
        if key not in self._found:
            self._found[key] = self._find(*key)
        return self._found[key]

    # --- tokens

    def _fetch(self, endpoint: Endpoint, challenge: Challenge, scope: str, credentials: Credentials | None) -> _Token:
        realm = self._checked_realm(endpoint, challenge.realm, credentials is not None)
        patience = self._patience()
        while True:
            try:
                with self._ask(endpoint, challenge, scope, credentials, realm) as answer:
                    if answer.status in PASSING:
                        raise Passing(f"status {answer.status}", retry_after(answer.header("Retry-After")))
                    if answer.status in (400, 401, 403):
                        answer.body(ERROR_BODY, "an error of the token server")
                        raise self.denied(endpoint)
                    if answer.status != 200:
                        raise RegistryError(
                            f"{realm.netloc} gives no token for {endpoint.name}: status {answer.status}"
                        )
                    return _token(answer.body(TOKEN_LIMIT, f"the token of {realm.netloc}"), realm.netloc)
            except Passing as failure:
                patience.bear(failure, f"{realm.netloc} gives no token for {endpoint.name}")

    def _ask(
        self, endpoint: Endpoint, challenge: Challenge, scope: str, credentials: Credentials | None, realm: SplitResult
    ) -> Answer:
        wanted = {"service": challenge.service, "scope": scope}
        if credentials and credentials.identity_token:
            form = {"grant_type": "refresh_token", "client_id": "cowfs", "refresh_token": credentials.identity_token}
            return self._wire.send(
                endpoint,
                "POST",
                realm.geturl(),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode({**wanted, **form}).encode(),
            )
        query = urlencode({key: value for key, value in wanted.items() if value})
        url = realm._replace(query=f"{realm.query}&{query}" if realm.query else query).geturl()
        return self._wire.send(endpoint, "GET", url, secret=_basic(credentials) if credentials else "")

    def _checked_realm(self, endpoint: Endpoint, text: str, secret: bool) -> SplitResult:
        """The realm, if it may be asked, and be told a secret. Nothing was sent to it yet."""
        registry = check_url(endpoint.base, None, endpoint)
        realm = check_url(text, registry, endpoint)
        host = realm.hostname or ""
        own = host == registry.hostname or _same_domain(host, registry.hostname or "")
        both_here = origin(realm)[1] == origin(registry)[1]
        if realm.scheme == "http" and not both_here:
            raise RegistryError(f"{endpoint.name} gets its tokens from {text!r}, another host and without TLS")
        if secret and not own and host != endpoint.host.realm:
            raise RegistryError(
                f"{endpoint.name} wants the credentials to be sent to {host}"
                f" (realm = {host!r} for {endpoint.name!r} in registries.toml allows that)"
            )
        return realm


def _same_domain(one: str, other: str) -> bool:
    """auth.docker.io and registry-1.docker.io: the same last two labels, and names, not addresses."""
    first, second = one.rsplit(".", 2)[-2:], other.rsplit(".", 2)[-2:]
    return len(first) == 2 and first == second and not first[-1].isdigit()


def _basic(credentials: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()


def _token(data: bytes, where: str) -> _Token:
    try:
        found = json.loads(data)
        value = found.get("token") or found.get("access_token")
        life = found.get("expires_in") or _LIFE
    except (ValueError, AttributeError, RecursionError):
        raise RegistryError(f"what {where} sent as a token is not JSON") from None
    if (
        not isinstance(value, str)
        or not value.isascii()
        or not value.isprintable()
        or not isinstance(life, int | float)
    ):
        raise RegistryError(f"what {where} sent is no token")
    return _Token(value, time.monotonic() + min(max(life - _EARLY, 1), _LONGEST))
