"""Exceptions into replies: the one place that knows what a failed request answers.

OSError answers its errno. Anything else is a mistake of ours: it is logged whole, answers EIO, and costs this one
request.
"""

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import pyfuse3

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


def reply_of(failure: Exception) -> pyfuse3.FUSEError:
    """The error that the kernel gets for an exception."""
    if isinstance(failure, pyfuse3.FUSEError):
        return failure
    if isinstance(failure, OSError) and failure.errno:
        return pyfuse3.FUSEError(failure.errno)
    log.error("a request failed", exc_info=failure)
    return pyfuse3.FUSEError(errno.EIO)


def immediate(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make a plain method a pyfuse3 handler: it raises nothing but FUSEError, for anything else would end the mount."""

    @functools.wraps(function)
    async def handler(*arguments: P.args, **keywords: P.kwargs) -> T:
        try:
            return function(*arguments, **keywords)
        except Exception as failure:
            raise reply_of(failure) from None

    return handler


def waiting(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same for a method that awaits."""

    @functools.wraps(function)
    async def handler(*arguments: P.args, **keywords: P.kwargs) -> T:
        try:
            return await function(*arguments, **keywords)
        except Exception as failure:
            raise reply_of(failure) from None

    return handler
