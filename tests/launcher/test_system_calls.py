"""The table of system calls: what docs/security.md says is what the filter does, and the table makes sense."""

import errno
import os
from pathlib import Path

import pytest
from cowrun import capabilities
from cowrun.seccomp import compile_filter
from cowrun.syscall_rules import ALLOW, ALLOWED, FAMILIES, REFUSED, UNLOCKED, Filter, Rule, default, refuse

from cowfs.linux import CAPABILITIES

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"


def rows() -> list[str]:
    """The table as it must stand in the document."""
    lines = [f"| {purpose} | allowed | {' '.join(names)} |" for purpose, names in ALLOWED.items()]
    lines += [f"| with {name} | else EPERM | {' '.join(names)} |" for name, names in UNLOCKED.items()]
    return [*lines, f"| of nobody | EPERM | {' '.join(REFUSED)} |"]


def test_the_document_has_the_table_of_the_code() -> None:
    found = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ") and " EPERM |" in line]
    found += [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ") and "| allowed |" in line]
    assert sorted(found) == sorted(rows())
    assert f"families {', '.join(FAMILIES)}" in DOCUMENT.read_text()


def test_no_call_is_in_two_places() -> None:
    free = [name for names in ALLOWED.values() for name in dict.fromkeys(names)]
    locked = {name for names in UNLOCKED.values() for name in names} | set(REFUSED)
    assert not set(free) & locked
    assert set(UNLOCKED) <= set(CAPABILITIES)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64", "s390x"])
def test_what_a_capability_unlocks(machine: str) -> None:
    def action(name: str, *held: str) -> int:
        found = default(held, machine)
        return next((rule.action for rule in found.rules if name in rule.names and not rule.conditions), found.default)

    assert action("mount") == refuse(errno.EPERM)
    assert action("mount", "sys_admin") == ALLOW
    assert action("bpf", "bpf") == action("bpf", "sys_admin") == ALLOW
    assert action("clone3") == refuse(errno.ENOSYS)
    assert action("clone3", "sys_admin") == ALLOW
    assert action("io_uring_setup", *CAPABILITIES) == refuse(errno.ENOSYS)
    assert action("openat") == ALLOW


def test_the_program_is_one_that_the_kernel_takes() -> None:
    for held in ((), capabilities.DEFAULT, CAPABILITIES):
        program = compile_filter(default(held, os.uname().machine))
        assert len(program) % 8 == 0
        assert 100 < len(program) // 8 < 4096  # BPF_MAXINSNS


def test_a_call_that_libseccomp_does_not_know_gets_the_default() -> None:
    known = Filter(refuse(errno.ENOSYS), (Rule(("read",), ALLOW),))
    both = Filter(refuse(errno.ENOSYS), (Rule(("read", "no_such_call"), ALLOW),))
    assert compile_filter(known) == compile_filter(both)
