"""The filter of system calls, seen from inside: what each of a table of calls gives, filtered and not."""

import ctypes
import errno
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROBE = """
import ctypes, errno, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
answers = {}
for name, number, arguments in json.loads(sys.argv[1]):
    ctypes.set_errno(0)
    result = libc.syscall(number, *(ctypes.c_long(argument) for argument in arguments))
    if name.startswith("clone:") and result == 0:
        os._exit(0)
    answers[name] = "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]
print(json.dumps(answers))
"""
CHILD = 17  # SIGCHLD
USER_NAMESPACE, MOUNT_NAMESPACE = 0x10000000, 0x20000
BAD = -1

# A name of libseccomp's (what comes after a colon tells calls apart), its arguments, what the default filter answers,
# and what Linux 6.18 does without it: where the two are equal, the capabilities alone would do.
TABLE = [
    ("acct", (0,), "EPERM", "EPERM"),
    ("add_key", (0, 0, 0, 0, 0), "EPERM", "EFAULT"),
    ("bpf", (999, 0, 0), "EPERM", "EINVAL"),
    ("chroot", (0,), "EFAULT", "EFAULT"),
    ("clock_adjtime", (99, 0), "EFAULT", "EFAULT"),
    ("clock_settime", (0, 0), "EPERM", "EFAULT"),
    ("clone:thread or process", (CHILD,), "ok", "ok"),
    ("clone:user namespace", (CHILD | USER_NAMESPACE,), "EPERM", "ok"),
    ("clone:mount namespace", (CHILD | MOUNT_NAMESPACE,), "EPERM", "EPERM"),
    ("clone3", (0, 0), "ENOSYS", "EINVAL"),
    ("close_range", (1 << 20, 1 << 20, 0), "ok", "ok"),
    ("delete_module", (0, 0), "EPERM", "EPERM"),
    ("fanotify_init", (0, 0), "EPERM", "EPERM"),
    ("finit_module", (BAD, 0, 0), "EPERM", "EPERM"),
    ("fsopen", (0, 0), "EPERM", "EPERM"),
    ("get_mempolicy", (0, 0, 0, 0, 0), "EPERM", "ok"),
    ("init_module", (0, 0, 0), "EPERM", "EPERM"),
    ("io_uring_setup", (0, 0), "ENOSYS", "EFAULT"),
    ("io_uring_register", (BAD, 0, 0, 0), "ENOSYS", "EBADF"),
    ("ioperm", (0, 1, 1), "EPERM", "EPERM"),
    ("kcmp", (1, 1, 99, 0, 0), "EPERM", "EINVAL"),
    ("kexec_load", (0, 0, 0, 0), "EPERM", "EPERM"),
    ("keyctl", (0, 0, 0, 0, 0), "EPERM", "ENOKEY"),
    ("landlock_create_ruleset", (0, 0, 1), "ok", "ok"),
    ("lookup_dcookie", (0, 0, 0), "EPERM", "ENOSYS"),
    ("mbind", (0, 0, 99, 0, 0, 0), "EPERM", "EINVAL"),
    ("mount", (0, 0, 0, 0, 0), "EPERM", "EPERM"),
    ("move_mount", (BAD, 0, BAD, 0, 0), "EPERM", "EPERM"),
    ("name_to_handle_at", (BAD, 0, 0, 0, 0), "EFAULT", "EFAULT"),
    ("open_by_handle_at", (BAD, 0, 0), "EPERM", "EPERM"),
    ("open_tree", (BAD, 0, 0), "EPERM", "EFAULT"),
    ("perf_event_open", (0, 0, 0, 0, 0), "EPERM", "EFAULT"),
    ("personality:query", (0xFFFFFFFF,), "ok", "ok"),
    ("personality:no randomization", (0x0040000,), "ENOSYS", "ok"),
    ("pidfd_getfd", (BAD, 0, 0), "EPERM", "EBADF"),
    ("pidfd_open", (1, 0), "ok", "ok"),
    ("pivot_root", (0, 0), "EPERM", "EPERM"),
    ("process_madvise", (BAD, 0, 0, 0, 0), "EPERM", "EBADF"),
    ("ptrace", (99, 0, 0, 0), "ESRCH", "ESRCH"),
    ("quotactl", (0, 0, 0, 0), "EPERM", "ENODEV"),
    ("reboot", (0, 0, 0, 0), "EPERM", "EPERM"),
    ("request_key", (0, 0, 0, 0), "EPERM", "EFAULT"),
    ("seccomp", (99, 0, 0), "EINVAL", "EINVAL"),
    ("sethostname", (0, 0), "EPERM", "EPERM"),
    ("setns", (BAD, 0), "EPERM", "EBADF"),
    ("settimeofday", (0, 0), "EPERM", "EPERM"),
    ("socket:unix", (1, 1, 0), "ok", "ok"),
    ("socket:inet", (2, 1, 0), "ok", "ok"),
    ("socket:inet6", (10, 1, 0), "ok", "ok"),
    ("socket:netlink", (16, 3, 0), "ok", "ok"),
    ("socket:alg", (38, 5, 0), "EAFNOSUPPORT", None),  # as the kernel was built
    ("socket:vsock", (40, 1, 0), "EAFNOSUPPORT", None),
    ("socket:alg with high bits", ((1 << 32) + 38, 5, 0), "EAFNOSUPPORT", None),
    ("swapon", (0, 0), "EPERM", "EPERM"),
    ("syslog", (2, 0, 0), "EPERM", "EPERM"),
    ("umount2", (0, 0), "EPERM", "EPERM"),
    ("unshare", (0,), "EPERM", "ok"),
    ("userfaultfd", (999,), "EPERM", "EINVAL"),
    ("vhangup", (), "EPERM", "EPERM"),
]


def numbers() -> list[tuple[str, int, tuple[int, ...]]]:
    library = ctypes.CDLL("libseccomp.so.2")
    return [
        (name, library.seccomp_syscall_resolve_name(name.split(":")[0].encode()), arguments)
        for name, arguments, *_ in TABLE
    ]


def probe(cowrun: Any, *options: str) -> dict[str, str]:
    result = cowrun.run(*options, "@host", "/usr/bin/python3", "-c", PROBE, json.dumps(numbers()))
    assert result.returncode == 0, result
    return json.loads(result.stdout)


def test_l11_what_each_system_call_gives(cowrun: Any) -> None:
    assert len({name.split(":")[0] for name, *_ in TABLE}) >= 40
    assert probe(cowrun) == {name: filtered for name, _, filtered, _ in TABLE}


def test_l11_the_filter_and_not_the_kernel_says_so(cowrun: Any) -> None:
    found = probe(cowrun, "--security-opt", "seccomp=unconfined")
    decided = {name: filtered for name, _, filtered, unfiltered in TABLE if unfiltered not in (None, filtered)}
    assert len(decided) > 20
    assert {name for name, answer in decided.items() if found[name] == answer} == set()


def test_l11_a_capability_brings_its_system_calls(cowrun: Any) -> None:
    found = probe(cowrun, "--cap-add", "sys_admin", "--cap-add", "sys_ptrace", "--cap-drop", "sys_chroot")
    assert {name: found[name] for name in ("unshare", "setns", "clone3", "kcmp", "pidfd_getfd", "chroot")} == {
        "unshare": "ok", "setns": "EBADF", "clone3": "EINVAL", "kcmp": "EINVAL", "pidfd_getfd": "EBADF",
        "chroot": "EPERM",
    }  # fmt: skip
    assert found["keyctl"] == "EPERM"


def test_l11_also_without_no_new_privileges(cowrun: Any) -> None:
    script = "grep -E 'Seccomp|NoNewPrivs' /proc/self/status"
    found = cowrun.inside(script, "--security-opt", "no-new-privileges=false").split()
    assert found[:4] == ["NoNewPrivs:", "0", "Seccomp:", "2"]


@pytest.mark.parametrize("options", [("--security-opt", "seccomp=unconfined"), ("--privileged",)])
def test_l11_the_way_out(cowrun: Any, options: tuple[str, ...]) -> None:
    assert cowrun.inside("grep Seccomp: /proc/self/status", *options).split() == ["Seccomp:", "0"]


def test_a_profile_of_ones_own(cowrun: Any, tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["mkdir", "mkdirat", "not_a_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EDOM},
            {
                "names": ["kill"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}],
                "excludes": {"caps": ["CAP_SYS_ADMIN"]},
            },
        ],
    }
    (tmp_path / "profile").write_text(json.dumps(profile))
    option = ("--security-opt", f"seccomp={tmp_path / 'profile'}")
    script = "mkdir /x 2>&1; kill -0 1 2>&1; kill -CONT 1; echo done"
    found = cowrun.inside(script, *option)
    assert os.strerror(errno.EDOM) in found
    assert os.strerror(errno.EPERM) in found
    assert found.endswith("done\n")
    assert os.strerror(errno.EPERM) not in cowrun.inside(script, *option, "--cap-add", "sys_admin")


def test_a_profile_that_is_none_is_refused(cowrun: Any, tmp_path: Path) -> None:
    for content, words in (("[]", "not an object"), ('{"defaultAction": "SCMP_ACT_NOTIFY"}', "is not taken")):
        (tmp_path / "profile").write_text(content)
        result = cowrun.run("--security-opt", f"seccomp={tmp_path / 'profile'}", cowrun.root, "true")
        assert result.returncode == 125
        assert words in result.stderr
    result = cowrun.run("--security-opt", f"seccomp={tmp_path / 'nothing'}", cowrun.root, "true")
    assert (result.returncode, "No such file" in result.stderr) == (125, True)


def test_programs_of_32_bits_are_filtered_too(cowrun: Any, small_root: Path, tmp_path: Path) -> None:
    """The same machine takes calls by other numbers: unshare is 310 there, and getpid 20."""
    source = """
_start: .globl _start
        movl $20, %eax
        int $0x80
        movl %eax, %esi
        movl $310, %eax
        movl $0, %ebx
        int $0x80
        movl %eax, %ebx
        negl %ebx
        addl %esi, %ebx
        movl $1, %eax
        int $0x80
"""
    if os.uname().machine == "x86_64":
        (tmp_path / "probe.s").write_text(source)
        subprocess.run(["as", "--32", "-o", tmp_path / "probe.o", tmp_path / "probe.s"], check=True)
        subprocess.run(["ld", "-m", "elf_i386", "-o", small_root / "bin" / "probe", tmp_path / "probe.o"], check=True)
        # EPERM, and the number of the process
        assert cowrun.run(cowrun.root, "probe").returncode == errno.EPERM + 1
