"""``--security-opt seccomp=FILE``: a profile in docker's JSON format becomes a filter. Pure. Raises UsageError.

{"defaultAction": ..., "defaultErrnoRet": N, "architectures": [...] or "archMap": [...],
 "syscalls": [{"names": [...], "action": ..., "errnoRet": N, "args": [{"index", "value", "valueTwo", "op"}],
               "includes": {"caps", "arches", "minKernel"}, "excludes": {"caps", "arches"}}]}
"""

import errno
import os
from collections.abc import Iterable
from typing import Any, Final

from cowfs.errors import BrokenImage, UsageError
from cowfs.images.jsondoc import Fields
from cowfs.images.jsondoc import parse as parse_json
from cowrun.syscall_rules import ALLOW, Condition, Filter, Rule, refuse

_ACTIONS: Final = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_LOG": 0x7FFC0000,
}
_OPERATORS: Final = (
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ",
)  # fmt: skip
_MACHINES: Final = {  # docker's name of an architecture, libseccomp's, by uname -m
    "x86_64": ("amd64", "x86_64"), "aarch64": ("arm64", "aarch64"), "riscv64": ("riscv64", "riscv64"),
    "s390x": ("s390x", "s390x"), "ppc64le": ("ppc64le", "ppc64le"), "armv7l": ("arm", "arm"), "i686": ("386", "x86"),
}  # fmt: skip
_ARCHITECTURES: Final = {"SCMP_ARCH_PPC64LE": "ppc64le"}
_KEYS: Final = {"names", "name", "action", "errnoRet", "args", "includes", "excludes", "comment"}


def parse(data: bytes, name: str, capabilities: Iterable[str], machine: str) -> Filter:
    """The filter for a command with these ``capabilities`` on a ``machine`` (uname -m)."""
    try:
        return _filter(parse_json(data, f"profile {name}"), set(capabilities), machine)
    except BrokenImage as error:
        raise UsageError(f"--security-opt seccomp={name}: {error}") from None


def _filter(profile: Fields, capabilities: set[str], machine: str) -> Filter:
    default = _action(profile, "defaultAction", "defaultErrnoRet")
    rules = [
        _rule(entry)
        for entry in profile.objects("syscalls")
        if _applies(entry.fields("includes"), capabilities, machine, wanted=True)
        and not _applies(entry.fields("excludes"), capabilities, machine, wanted=False)
    ]
    return Filter(default, tuple(rules), tuple(_architectures(profile, machine)))


def _rule(entry: Fields) -> Rule:
    unknown = set(entry.names()) - _KEYS
    if unknown:
        raise BrokenImage(f"{sorted(unknown)[0]!r} of the {entry.what} is not known")
    names = entry.texts("names") or ((entry.text("name"),) if "name" in entry else ())
    return Rule(names, _action(entry, "action", "errnoRet"), tuple(_condition(arg) for arg in entry.objects("args")))


def _action(fields: Fields, key: str, code_key: str) -> int:
    text = fields.text(key)
    if text == "SCMP_ACT_ERRNO":
        code = fields.integer(code_key) if code_key in fields else errno.EPERM
        return refuse(code & 0xFFFF)
    if text not in _ACTIONS:
        raise BrokenImage(f"{key} {text!r} of the {fields.what} is not taken")
    return _ACTIONS[text]


def _condition(arg: Fields) -> Condition:
    operator = arg.text("op")
    if operator not in _OPERATORS:
        raise BrokenImage(f"operator {operator!r} of the {arg.what} is not known")
    value = arg.integer("value")
    index, comparison = arg.integer("index"), _OPERATORS.index(operator) + 1
    if operator == "SCMP_CMP_MASKED_EQ":  # docker: value is the mask, valueTwo what must be left
        return Condition(index, comparison, arg.integer("valueTwo") if "valueTwo" in arg else 0, value)
    return Condition(index, comparison, value)


def _applies(fields: Fields, capabilities: set[str], machine: str, *, wanted: bool) -> bool:
    """Whether all that is named (for excludes: any of it) holds; what names nothing excludes nothing."""
    facts = []
    if names := fields.texts("caps"):
        held = [name.lower().removeprefix("cap_") in capabilities for name in names]
        facts.append(all(held) if wanted else any(held))
    if arches := fields.texts("arches"):
        facts.append(bool(set(_MACHINES.get(machine, (machine,))) & set(arches)))
    if "minKernel" in fields:
        facts.append(_version(os.uname().release) >= _version(fields.text("minKernel")))
    return all(facts) if wanted else any(facts)


def _version(text: str) -> tuple[int, ...]:
    parts = (part for part in text.split("-")[0].split("."))
    return tuple(int(part) for part in parts if part.isdigit())[:2]


def _architectures(profile: Fields, machine: str) -> Iterable[str]:
    """Beside the machine's own. docker's: those that archMap has below it, or all that are listed."""
    own = _MACHINES.get(machine, ("", machine))[1]
    names: list[Any] = list(profile.texts("architectures"))
    for entry in profile.objects("archMap"):
        if _architecture(entry.text("architecture")) == own:
            names += entry.texts("subArchitectures")
    return [name for name in dict.fromkeys(map(_architecture, names)) if name != own]


def _architecture(name: str) -> str:
    return _ARCHITECTURES.get(name, name.removeprefix("SCMP_ARCH_").lower())
