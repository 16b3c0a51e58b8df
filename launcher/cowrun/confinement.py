"""The steps that hold a command: limits of each process, and the filter of system calls. The last that are done."""

import resource
from typing import NamedTuple

from cowfs.errors import PrivilegeError
from cowrun import syscalls
from cowrun.limits import ULIMITS, UNLIMITED, Ulimit
from cowrun.step import Inside


class SetUlimits(NamedTuple):
    """``--ulimit``. Before the user is changed: to raise one needs a capability."""

    ulimits: tuple[Ulimit, ...]

    def describe(self) -> str:
        """See Step."""
        return f"set limits: {', '.join(f'{u.name}={_shown(u.soft)}:{_shown(u.hard)}' for u in self.ulimits)}"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        for ulimit in self.ulimits:
            number = getattr(resource, f"RLIMIT_{ulimit.name.upper()}", ULIMITS.index(ulimit.name))
            try:
                resource.setrlimit(number, (ulimit.soft, ulimit.hard))
            except (OSError, ValueError):
                hard = _shown(resource.getrlimit(number)[1])
                raise PrivilegeError(
                    f"--ulimit {ulimit.name}: the limit cannot be set: {hard} is the most that this machine lets us"
                ) from None


class FilterSystemCalls(NamedTuple):
    """Seccomp, mode 2. With no_new_privs it is the last step of all; without, it needs what ``Become`` takes away."""

    calls: int  # that are allowed without a condition
    program: bytes = b""

    def describe(self) -> str:
        """See Step."""
        return f"filter system calls: {self.calls} names are allowed, others refused"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        syscalls.set_filter(self.program)


def _shown(limit: int) -> str:
    return "unlimited" if limit == UNLIMITED else str(limit)
