"""The process that serves a mount: how it is forked, and how it says that the mount is live, or why it is not.

    caller  --fork-->  child: looks at what is asked for, imports, mounts
            <--pipe--  one zero byte when the mount is live; else the reason, in words

Used by ``serve`` and by ``cowfs-overlay``, where whoever waits has nothing imported but this.
"""

import os
import sys
from collections.abc import Callable

from cowfs.errors import CowfsError, MountError

_LIVE = b"\0"


class Answer:
    """The child's end of the pipe; what is said first is the answer."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def live(self) -> None:
        """The mount is there. Raises OSError where nobody waits for it any more."""
        self._say(_LIVE)

    def failed(self, reason: str) -> None:
        """There is none; who waits is told, if anybody does."""
        try:
            self._say(reason.encode(errors="surrogateescape"))
        except OSError:
            pass

    def _say(self, word: bytes) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            try:
                os.write(descriptor, word)
            finally:
                os.close(descriptor)


def start(serve: Callable[[Answer], int], about: str) -> int:
    """Call ``serve`` in a new process, which ends with its status; return its pid once it says that the mount is live.

    ``about`` names the mount. Raises MountError with the reason.
    """
    ready, said = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(ready)
        _be_child(serve, Answer(said), about)
    os.close(said)
    with os.fdopen(ready, "rb") as answers:
        answer = answers.read()
    if answer == _LIVE:
        return pid
    os.waitpid(pid, 0)
    raise MountError(answer.decode(errors="replace") or f"{about}: the file system process ended before it was mounted")


def _be_child(serve: Callable[[Answer], int], answer: Answer, about: str) -> None:
    status = 1
    try:
        status = serve(answer)
    except BaseException as failure:
        answer.failed(reason(failure, about))
        if not isinstance(failure, (CowfsError, OSError)):
            sys.excepthook(type(failure), failure, failure.__traceback__)
    finally:
        # Without the interpreter's own end: the caller's exit handlers are not ours, and it is faster.
        os._exit(status)


def reason(failure: BaseException, about: str) -> str:
    """Why there is no mount ``about``."""
    if isinstance(failure, CowfsError):
        return str(failure)
    if isinstance(failure, OSError):
        where = os.fsdecode(failure.filename) if isinstance(failure.filename, (str, bytes)) else about
        return f"{where}: {failure.strerror or failure}"
    return f"{about}: cannot be mounted: {failure}"
