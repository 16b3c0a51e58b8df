"""``--security-opt`` and ``--privileged`` as values. Pure.

    no-new-privileges[=true|false]     true if not given: setuid programs give nothing
    seccomp=builtin|unconfined|FILE    the filter of ``syscall_rules``, none, or a profile in docker's format
    systempaths=unconfined             nothing of /proc and /sys is hidden or read-only
    apparmor=unconfined                accepted, as there is no such confinement
    label=disable

``--privileged`` is all of it, with every capability and every device of the machine.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from cowfs.errors import UsageError
from cowrun import syscall_rules

_BOOLEANS: Final = {"": True, "true": True, "false": False}
_NOTHING: Final = frozenset(("apparmor=unconfined", "label=disable"))
_PREFIX: Final = "seccomp="


class Security(NamedTuple):
    """What a command may not do, besides what its capabilities say."""

    no_new_privileges: bool = True
    filter: syscall_rules.Filter | None = None
    hide: bool = True  # parts of /proc and /sys
    privileged: bool = False


def profile_names(texts: Iterable[str]) -> list[str]:
    """The files that ``seccomp=`` names."""
    names = (text.replace(":", "=", 1).removeprefix(_PREFIX) for text in texts if text.startswith("seccomp"))
    return [name for name in names if name not in ("builtin", "unconfined")]


def parse(
    texts: Iterable[str],
    *,
    privileged: bool,
    capabilities: frozenset[str],
    machine: str,
    profiles: Mapping[str, bytes],
) -> Security:
    """``profiles``: the contents of the files. Raises UsageError."""
    no_new_privileges, hide, profile = not privileged, not privileged, "unconfined" if privileged else "builtin"
    for text in texts:
        key, _, value = text.replace(":", "=", 1).partition("=")
        if key == "no-new-privileges" and value in _BOOLEANS:
            no_new_privileges = _BOOLEANS[value]
        elif key == "seccomp" and value:
            profile = value
        elif f"{key}={value}" == "systempaths=unconfined":
            hide = False
        elif f"{key}={value}" not in _NOTHING:
            raise UsageError(
                f"--security-opt {text}: not taken; no-new-privileges[=true|false], seccomp=builtin|unconfined|FILE,"
                " systempaths=unconfined are"
            )
    return Security(no_new_privileges, _filter(profile, capabilities, machine, profiles), hide, privileged)


def _filter(
    profile: str, capabilities: frozenset[str], machine: str, profiles: Mapping[str, bytes]
) -> syscall_rules.Filter | None:
    if profile == "unconfined":
        return None
    if profile == "builtin":
        return syscall_rules.default(capabilities, machine)
    from cowrun import seccomp_profile

    return seccomp_profile.parse(profiles[profile], profile, capabilities, machine)
