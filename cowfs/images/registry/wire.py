"""One HTTP request and its answer: TLS, redirects, caps and deadlines. Nothing of images or authentication.

Of requests we use the adapter alone, not its sessions: those read ~/.netrc and the environment, keep cookies, and read
the whole body of a redirect even if they shall not follow it. A secret goes to the scheme, host and port that it was
given for, and is dropped by the first redirect that leaves them. An answer must come at a minimum rate; one that stops
or drips is a failure that may pass.
"""

import contextlib
import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from cowfs import __version__
from cowfs.errors import RegistryError
from cowfs.images.registry.patience import Passing
from cowfs.images.registry.settings import Endpoint

HOPS = 5
ERROR_BODY = 64 << 10  # bytes that are read of the body of an error
_BUNDLES = (  # the machine's certificates; requests would bring its own
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_REDIRECTS = (301, 302, 303, 307, 308)
_URL = re.compile(r"[!-~]{1,16384}")
_ALL_DROPPED = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException, requests.RequestException)
Headers = Mapping[str, str]


class Limits:
    """How long an answer may take; tests have shorter ones."""

    connect = 15.0  # seconds
    silence = 30.0  # seconds between two pieces of an answer
    head = 60.0  # seconds for status and headers
    window = 30.0  # seconds over which the rate is taken ...
    rate = 1024  # ... and the bytes a second that it must be
    document = 120.0  # seconds for a whole document


class Answer:
    """An answer whose body may still be on its way. ``url`` is the one that gave it, after redirects."""

    def __init__(self, response: requests.Response, url: str, limits: Limits) -> None:
        self.status = response.status_code
        self.url = url
        self._response = response
        self._limits = limits
        self._seconds = 0.0
        self._bytes = 0

    def header(self, name: str) -> str:
        """A header's value, empty if there is none."""
        return self._response.headers.get(name, "")

    def read(self, size: int) -> bytes:
        """What came next, at most ``size`` bytes; b"" at the end. Raises Passing: cut, silent or too slow."""
        began = time.monotonic()
        try:
            data: bytes = self._response.raw.read1(size, decode_content=False)
        except _ALL_DROPPED as error:
            raise Passing(f"the connection was cut ({_reason(error)})") from error
        self._seconds += time.monotonic() - began  # not while nobody wanted to read
        self._bytes += len(data)
        if self._seconds >= self._limits.window:
            if self._bytes < self._limits.rate * self._limits.window:
                raise Passing(f"less than {self._limits.rate} bytes a second arrive")
            self._seconds, self._bytes = 0.0, 0
        return data

    def body(self, limit: int, what: str) -> bytes:
        """All of it. Raises RegistryError beyond ``limit`` bytes, and where it takes too long."""
        parts: list[bytes] = []
        room = limit + 1
        deadline = time.monotonic() + self._limits.document
        while room > 0 and (part := self.read(min(room, 64 << 10))):
            parts.append(part)
            room -= len(part)
            if time.monotonic() > deadline:
                raise RegistryError(f"{what} takes longer than {self._limits.document:.0f} seconds")
        if room <= 0:
            raise RegistryError(f"{what} is larger than {limit} bytes")
        return b"".join(parts)

    def close(self) -> None:
        """Drop it; a body that was not read takes its connection along."""
        self._response.close()

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Wire:
    """Connections, kept for the next request to the same host. One for each process: a fork begins with none."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._adapter: HTTPAdapter | None = None
        self._owner = 0
        self._reached: set[str] = set()  # who answered before, and may be back in a moment

    def send(
        self,
        endpoint: Endpoint,
        method: str,
        url: str,
        *,
        headers: Headers | None = None,
        secret: str = "",
        body: bytes | BinaryIO | None = None,
    ) -> Answer:
        """The answer to one request. ``secret`` is the Authorization for the URL's host; GET and HEAD are redirected.

        Raises RegistryError, and Passing for what may pass.
        """
        current = check_url(url, None, endpoint)
        for _ in range(HOPS + 1):
            sent = dict(headers or {})
            if secret:
                sent["Authorization"] = secret
            answer = self._send_once(endpoint, method, current, sent, body)
            if answer.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                return answer
            answer.close()
            target = follow(current.geturl(), answer.header("Location"), endpoint)
            if origin(target) != origin(current):
                secret = ""
            current = target
        raise RegistryError(f"{origin(check_url(url, None, endpoint))[1]} redirects more than {HOPS} times")

    def _send_once(
        self, endpoint: Endpoint, method: str, url: SplitResult, headers: Headers, body: bytes | BinaryIO | None
    ) -> Answer:
        proxy = endpoint.host.proxy
        try:
            sent = {"User-Agent": f"cowfs/{__version__}", "Accept-Encoding": "identity", **headers}
            response = self._connections().send(
                requests.Request(method, url.geturl(), headers=sent, data=body).prepare(),
                stream=True,
                timeout=(self._limits.connect, self._limits.silence),
                verify=endpoint.host.ca or _bundle(),
                proxies={"http": proxy, "https": proxy} if proxy else {},
            )
        except _ALL_DROPPED as error:
            raise _failure(error, url, endpoint, url.netloc in self._reached) from error
        except (ValueError, UnicodeError) as error:  # a URL that requests does not take
            raise RegistryError(f"{url.hostname} cannot be asked: {error}") from error
        self._reached.add(url.netloc)
        return Answer(response, url.geturl(), self._limits)

    def _connections(self) -> HTTPAdapter:
        if self._adapter is None or self._owner != os.getpid():
            self._adapter = _adapter(self._limits.head)
            self._owner = os.getpid()
        return self._adapter


def check_url(url: str, before: SplitResult | None, endpoint: Endpoint) -> SplitResult:
    """``url`` in parts, if it may be asked, as a redirect from ``before`` or by us. Raises RegistryError."""
    shown = repr(url[:200])
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise RegistryError(f"{endpoint.name} sends us to {shown}, which is no URL") from None
    if (
        not _URL.fullmatch(url)
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or "@" in parts.netloc
        or "\\" in url
    ):
        raise RegistryError(f"{endpoint.name} sends us to {shown}, which is no http or https URL")
    if parts.scheme == "http" and not endpoint.plain:
        raise RegistryError(f"{endpoint.name} sends us from https to {shown}")
    if before is not None and _is_inside(parts.hostname) and not _is_inside(before.hostname or ""):
        raise RegistryError(f"{endpoint.name} sends us to {shown}, an address of this machine or its network")
    return parts


def follow(base: str, location: str, endpoint: Endpoint) -> SplitResult:
    """Where an answer from ``base`` sends us, if it may be asked. Raises RegistryError."""
    try:
        url = urljoin(base, location)
    except ValueError:
        url = location
    return check_url(url, urlsplit(base), endpoint)


def origin(parts: SplitResult) -> tuple[str, str, int]:
    """What a secret belongs to."""
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _is_inside(host: str) -> bool:
    """An address that only this machine or its link knows: nobody else has a reason to name it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local or address.is_unspecified


# --- failures


def _failure(error: BaseException, url: SplitResult, endpoint: Endpoint, reached: bool) -> Exception:
    """What a person is told, or Passing where another try may help; ``reached``: there was an answer before."""
    where = url.netloc
    if isinstance(error, requests.exceptions.ProxyError):
        return RegistryError(f"{where} cannot be reached through the proxy {endpoint.host.proxy}: {_reason(error)}")
    if isinstance(error, requests.exceptions.SSLError):
        return RegistryError(f"{where} cannot be trusted: {_reason(error)}{_tls_hint(error, endpoint)}")
    if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.InvalidURL):
        return RegistryError(f"{where} cannot be asked: {error}")
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return RegistryError(f"{where} cannot be asked: {error.strerror or error}")  # a bundle that is missing, ...
    never = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)  # its base, and DNS's
    if not reached and any(isinstance(cause, never) for cause in _causes(error)):
        return RegistryError(f"{where} cannot be reached: {_reason(error)}")
    return Passing(f"{where} gave no answer ({_reason(error)})")


def _tls_hint(error: BaseException, endpoint: Endpoint) -> str:
    if "WRONG_VERSION_NUMBER" in repr(error) or "RECORD_LAYER" in repr(error):
        return f" (does it speak plain http? insecure = true for {endpoint.name} in registries.toml allows that)"
    return f" (ca = FILE for {endpoint.name} in registries.toml names other certificates)"


def _reason(error: BaseException) -> str:
    """The innermost cause in its own words: the outer ones are about Python objects."""
    causes = list(_causes(error))
    for cause in reversed(causes):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return str(cause.verify_message)
        if isinstance(cause, TimeoutError):
            return "it took too long"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return re.sub(r"<[^>]*>:? ?", "", str(causes[-1]))[:200] or type(causes[-1]).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what is inside: as a cause, or as an argument, as urllib3 has it."""
    seen: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting and len(seen) < 20:
        found = waiting.pop(0)
        seen.append(found)
        inner = [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]
        waiting += [item for item in inner if isinstance(item, BaseException) and item not in seen]
    return iter(seen)


# --- connections


def _bundle() -> str | bool:
    return next((path for path in _BUNDLES if os.path.exists(path)), True)


def _adapter(seconds: float) -> HTTPAdapter:
    """An adapter whose connections give up where status and headers take longer than ``seconds``."""

    class Plain(HTTPConnection):
        def getresponse(self) -> Any:
            with _watched(self.sock, seconds):
                return super().getresponse()

    class Tls(HTTPSConnection):
        def getresponse(self) -> Any:
            with _watched(self.sock, seconds):
                return super().getresponse()

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options)
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}

        def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
            manager = super().proxy_manager_for(*arguments, **options)
            manager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
            return manager

    return Adapter(max_retries=0)


@contextlib.contextmanager
def _watched(sock: socket.socket | None, seconds: float) -> Iterator[None]:
    """Cut the connection after ``seconds``: a timeout of the socket begins anew with every byte."""

    def cut() -> None:
        with contextlib.suppress(OSError):
            if sock is not None:
                sock.shutdown(socket.SHUT_RDWR)

    timer = _timer(seconds, cut)
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _timer(seconds: float, call: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer
