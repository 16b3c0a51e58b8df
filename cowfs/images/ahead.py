"""Reading ahead: an iterator's work done in a thread of its own, a bounded number of chunks before they are used.

Decompression and digests leave Python's lock alone, so a second core does them while the first one makes files.
"""

import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType

_CHUNKS = 8
_POLL = 0.1  # seconds; how soon the thread notices that nobody wants more


class Ahead:
    """Iterate over it inside its ``with``; an exception of the iterator is raised where its chunk would have come."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_CHUNKS)
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._work, name="read ahead", daemon=True)

    def __enter__(self) -> Iterator[bytes]:
        self._thread.start()
        return self._iterate()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._unwanted.set()
        self._thread.join()

    def _iterate(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _work(self) -> None:
        try:
            for chunk in self._chunks:
                if not self._put(chunk):
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: bytes | BaseException | None) -> bool:
        while not self._unwanted.is_set():
            try:
                self._queue.put(item, timeout=_POLL)
                return True
            except queue.Full:
                continue
        return False
