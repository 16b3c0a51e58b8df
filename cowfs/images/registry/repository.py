"""One repository of one registry: manifests, blobs, uploads. Authorized and retried.

What comes is for others to verify. Raises NotFound for a 404, RegistryError for everything else that is final.
"""

import json
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from cowfs.errors import NotFound, RegistryError
from cowfs.images import limits
from cowfs.images.manifest import INDEXES, MANIFESTS
from cowfs.images.registry.patience import PASSING, Passing, Patience, retry_after
from cowfs.images.registry.settings import Endpoint
from cowfs.images.registry.tokens import Authorizer
from cowfs.images.registry.wire import ERROR_BODY, Answer, Headers, Wire, follow

# Without all of them a registry makes another document of what it has, or a 404 (docker-registry 2.8).
_ACCEPT = ", ".join((*INDEXES, *MANIFESTS))
_SHOWN = 200  # characters of what a registry says
Result = TypeVar("Result")


class Repository:
    """``scope`` is what is wanted of it: pull, or pull,push."""

    def __init__(
        self,
        wire: Wire,
        authorizer: Authorizer,
        endpoint: Endpoint,
        *,
        actions: str = "pull",
        patience: Callable[[], Patience] = Patience,
    ) -> None:
        self.endpoint = endpoint
        self.patience = patience
        self._wire = wire
        self._authorizer = authorizer
        self._scope = f"repository:{endpoint.path}:{actions}"

    def manifest(self, name: str) -> tuple[bytes, str]:
        """The manifest or index with the tag or digest ``name``, and its media type. Not verified."""
        what = f"manifest {name} of {self.endpoint.path}"

        def get() -> tuple[bytes, str]:
            with self.request("GET", f"manifests/{name}", headers={"Accept": _ACCEPT}, what=what) as answer:
                self._expect(answer, (200,), what)
                media_type = answer.header("Content-Type").partition(";")[0].strip()
                return answer.body(limits.DOCUMENT, f"the {what}"), media_type

        return self.patiently(get, what)

    def document(self, digest: str) -> bytes:
        """A small blob. Not verified."""
        what = f"blob {digest} of {self.endpoint.path}"

        def get() -> bytes:
            with self.request("GET", f"blobs/{digest}", what=what) as answer:
                self._expect(answer, (200,), what)
                return answer.body(limits.DOCUMENT, f"the {what}")

        return self.patiently(get, what)

    def has_blob(self, digest: str) -> bool:
        """Whether it needs no upload."""
        what = f"blob {digest} of {self.endpoint.path}"

        def head() -> bool:
            with self.request("HEAD", f"blobs/{digest}", what=what) as answer:
                return answer.status == 200

        try:
            return self.patiently(head, what)
        except NotFound:
            return False

    def upload(self, digest: str, file: BinaryIO) -> None:
        """A blob, all of ``file``, in one piece (distribution-spec, "POST then PUT")."""
        what = f"upload of {digest} to {self.endpoint.path}"

        def put() -> None:
            with self.request("POST", "blobs/uploads/", body=b"", what=what) as begun:
                self._expect(begun, (202,), what)
                url = self._next(begun)
            file.seek(0)
            headers = {"Content-Type": "application/octet-stream"}
            target = f"{url}{'&' if '?' in url else '?'}digest={digest}"
            with self.request("PUT", target, headers=headers, body=file, what=what) as answer:
                self._expect(answer, (201, 204), what)

        self.patiently(put, what)

    def put_manifest(self, tag: str, data: bytes, media_type: str) -> None:
        """Give ``tag`` a manifest, whose blobs are there."""
        what = f"manifest {tag} of {self.endpoint.path}"

        def put() -> None:
            headers = {"Content-Type": media_type}
            with self.request("PUT", f"manifests/{tag}", headers=headers, body=data, what=what) as answer:
                self._expect(answer, (201,), what)

        self.patiently(put, what)

    def patiently(self, get: Callable[[], Result], what: str) -> Result:
        """``get()``, tried again while it raises what may pass."""
        patience = self.patience()
        while True:
            try:
                return get()
            except Passing as failure:
                patience.bear(failure, f"{self.endpoint.name}: {what}")

    def request(
        self,
        method: str,
        path: str,
        *,
        what: str,
        headers: Headers | None = None,
        body: bytes | BinaryIO | None = None,
    ) -> Answer:
        """One authorized request; ``path`` is below the repository, or a URL that the registry gave us.

        Raises Passing for what may pass. A body in a file is read from where it is.
        """
        url = path if "://" in path else f"{self.endpoint.base}{self.endpoint.path}/{path}"
        at = body.tell() if body is not None and not isinstance(body, bytes) else 0
        refusals = 0
        while True:
            secret = self._authorizer.header(self.endpoint, self._scope) if self._is_ours(url) else ""
            answer = self._wire.send(self.endpoint, method, url, headers=headers, secret=secret, body=body)
            if answer.status != 401:
                break
            refusals += 1
            with answer:
                self._authorizer.refused(self.endpoint, self._scope, answer, secret, refusals)
            if body is not None and not isinstance(body, bytes):
                body.seek(at)
        if answer.status < 400 or answer.status == 416:
            return answer
        with answer:
            raise self._error(answer, what)

    def _is_ours(self, url: str) -> bool:
        return url.startswith(self.endpoint.base)

    def _next(self, answer: Answer) -> str:
        """Where an upload goes on, as far as we may follow."""
        return follow(answer.url, answer.header("Location"), self.endpoint).geturl()

    def _expect(self, answer: Answer, statuses: tuple[int, ...], what: str) -> None:
        if answer.status not in statuses:
            raise RegistryError(f"{self.endpoint.name}: {what}: the status {answer.status} makes no sense")

    def _error(self, answer: Answer, what: str) -> Exception:
        if answer.status in PASSING:
            return Passing(f"status {answer.status}", retry_after(answer.header("Retry-After")))
        said = _said(answer)
        if answer.status == 404:
            return NotFound(f"{self.endpoint.name} has no {what}{said}")
        if answer.status == 403:
            return self._authorizer.denied(self.endpoint)
        return RegistryError(f"{self.endpoint.name}: {what}: status {answer.status}{said}")


def _said(answer: Answer) -> str:
    """The registry's own words: ``{"errors": [{"code": ..., "message": ...}]}``."""
    try:
        first = json.loads(answer.body(ERROR_BODY, "an error"))["errors"][0]
        text = str(first.get("message") or first["code"])
    except (Passing, RegistryError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return f" ({text[:_SHOWN]})"
