"""A blob on its way from a registry: read like a file, kept while it comes, gone on with where it was cut.

    what the store has of it ---.
                                 >--> read() --> whoever hashes and unpacks it
    Range: bytes=N- ... --------'       \\--> kept in the store

A registry that cannot do ranges, or does them wrong, is asked for all of it, and what we have is left out.
Content-Length means nothing here: who reads knows the size, and the digest decides.
"""

import re

from cowfs.errors import RegistryError
from cowfs.images.manifest import Descriptor
from cowfs.images.registry.patience import Passing
from cowfs.images.registry.repository import Repository
from cowfs.images.registry.wire import Answer
from cowfs.store.parts import Part

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_ENOUGH = 32 << 10  # bytes that make an attempt a success, though it was cut


class Download:
    """A stream (cowfs.images.plan.Stream); ``part`` is locked and becomes ours."""

    def __init__(self, repository: Repository, descriptor: Descriptor, part: Part) -> None:
        self._repository = repository
        self._descriptor = descriptor
        self._part = part
        if part.size > descriptor.size:
            part.clear()
        self._kept = part.size  # from an earlier download
        self._at = 0
        self._answer: Answer | None = None
        self._ranges = True
        self._patience = repository.patience()
        self._since = 0  # bytes that came since the last failure

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, b"" at the end. Raises RegistryError."""
        if self._at < self._part.size:
            data = self._part.read(self._at, size)
        elif self._at >= self._descriptor.size:
            return b""
        else:
            data = self._receive(min(size, self._descriptor.size - self._at))
            self._part.append(data)
        self._at += len(data)
        return data

    def discard(self) -> bool:
        """Forget all that was kept; True if some of it was from an earlier download."""
        self._part.clear()
        return self._kept > 0

    def __enter__(self) -> "Download":
        return self

    def __exit__(self, *error: object) -> None:
        self._drop()
        self._part.close()

    # --- inside

    def _receive(self, size: int) -> bytes:
        while True:
            try:
                if self._answer is None:
                    self._answer = self._ask()
                if data := self._answer.read(size):
                    self._since += len(data)
                    return data
                raise Passing(f"it ends after {self._at} of {self._descriptor.size} bytes")
            except Passing as failure:
                self._drop()
                if self._since >= _ENOUGH:
                    self._patience.arrived()
                self._since = 0
                self._patience.bear(failure, f"{self._repository.endpoint.name}: blob {self._descriptor.digest}")

    def _ask(self) -> Answer:
        """An answer whose next byte is the one at ``_at``."""
        headers = {"Range": f"bytes={self._at}-"} if self._at and self._ranges else {}
        digest = self._descriptor.digest
        what = f"blob {digest} of {self._repository.endpoint.path}"
        answer = self._repository.request("GET", f"blobs/{digest}", headers=headers, what=what)
        try:
            if answer.status == 200:
                self._skip(answer, self._at)
            elif answer.status == 206 and self._ranges and headers:
                self._check_range(answer)
            elif answer.status == 416 and headers:
                self._ranges = False
                raise Passing("it has no such range")
            else:
                raise RegistryError(
                    f"{self._repository.endpoint.name}: {what}: the status {answer.status} makes no sense"
                )
        except BaseException:
            answer.close()
            raise
        return answer

    def _skip(self, answer: Answer, size: int) -> None:
        while size:
            data = answer.read(min(size, 64 << 10))
            if not data:
                raise Passing("it ends before where it was cut")
            size -= len(data)

    def _check_range(self, answer: Answer) -> None:
        found = _CONTENT_RANGE.fullmatch(answer.header("Content-Range"))
        if not found or int(found[1]) != self._at or found[3] not in ("*", str(self._descriptor.size)):
            self._ranges = False
            raise Passing("it sends another range than was asked for")

    def _drop(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
