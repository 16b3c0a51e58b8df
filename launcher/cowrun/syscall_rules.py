"""Which system calls a command may make: the table behind the seccomp filter, as values. Pure.

Used by ``settings``; ``seccomp`` turns the result into a program for the kernel. docs/security.md has the same table
in words, and a test compares the two.

    allowed      what programs use every day, by purpose
    unlocked     refused with EPERM, unless the capability that the kernel wants for it was given
    refused      EPERM: nobody needs it in a run, and it has been a way out, or tells of the machine
    conditional  by its arguments: clone, socket, personality
    all others   ENOSYS, as if the kernel were older: whoever asks for something new has another way
"""

import errno
from collections.abc import Iterable
from typing import Final, NamedTuple

ALLOW: Final = 0x7FFF0000  # SCMP_ACT_ALLOW (seccomp.h)


def refuse(code: int) -> int:
    """SCMP_ACT_ERRNO."""
    return 0x00050000 | code


# enum scmp_compare (seccomp.h)
NOT_EQUAL, LESS, LESS_OR_EQUAL, EQUAL, GREATER_OR_EQUAL, GREATER, MASKED_EQUAL = range(1, 8)


class Condition(NamedTuple):
    """On one argument; ``mask`` counts for MASKED_EQUAL only."""

    argument: int
    comparison: int
    value: int
    mask: int = 0


class Rule(NamedTuple):
    """What each of ``names`` gets where all ``conditions`` hold."""

    names: tuple[str, ...]
    action: int
    conditions: tuple[Condition, ...] = ()


class Filter(NamedTuple):
    """A whole filter. ``architectures``: names of libseccomp's beside the machine's own."""

    default: int
    rules: tuple[Rule, ...]
    architectures: tuple[str, ...] = ()

    @property
    def allowed(self) -> int:
        """How many names are allowed whatever the arguments are."""
        return sum(len(rule.names) for rule in self.rules if rule.action == ALLOW and not rule.conditions)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ALLOWED: Final = {
    "open files": _words(
        "open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 flock ioctl read readv pread64 preadv"
        " preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek sendfile sendfile64 splice tee vmsplice"
        " copy_file_range fadvise64 fadvise64_64 arm_fadvise64_64 readahead fallocate truncate truncate64 ftruncate"
        " ftruncate64 fsync fdatasync sync syncfs sync_file_range sync_file_range2 arm_sync_file_range memfd_create"
        " memfd_secret cachestat"
    ),
    "names": _words(
        "access faccessat faccessat2 chdir fchdir getcwd chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32"
        " fchownat lchown lchown32 link linkat symlink symlinkat unlink unlinkat mkdir mkdirat mknod mknodat rmdir"
        " rename renameat renameat2 readlink readlinkat getdents getdents64 stat stat64 lstat lstat64 fstat fstat64"
        " fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64 umask utime utimes futimesat utimensat"
        " utimensat_time64 name_to_handle_at oldstat oldlstat oldfstat"
    ),
    "attributes": _words(
        "setxattr lsetxattr fsetxattr setxattrat getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr"
        " flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat file_getattr file_setattr"
    ),
    "memory": _words(
        "brk mmap mmap2 munmap mremap mprotect madvise mincore mlock mlock2 mlockall munlock munlockall msync"
        " remap_file_pages membarrier pkey_alloc pkey_free pkey_mprotect map_shadow_stack mseal"
    ),
    "processes": _words(
        "fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid getpgrp getsid"
        " setpgid setsid kill tkill tgkill prctl arch_prctl pidfd_open pidfd_send_signal ptrace process_vm_readv"
        " process_vm_writev process_mrelease set_tid_address set_robust_list get_robust_list rseq"
        " set_thread_area get_thread_area modify_ldt seccomp landlock_create_ruleset landlock_add_rule"
        " landlock_restrict_self"
    ),
    "scheduling": _words(
        "sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam"
        " sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval"
        " sched_rr_get_interval_time64 getpriority setpriority nice ioprio_get ioprio_set getcpu"
    ),
    "signals and waiting": _words(
        "signal sigaction sigprocmask sigpending sigsuspend sigreturn sigaltstack rt_sigaction rt_sigprocmask"
        " rt_sigpending rt_sigsuspend rt_sigreturn rt_sigqueueinfo rt_tgsigqueueinfo rt_sigtimedwait"
        " rt_sigtimedwait_time64 signalfd signalfd4 pause restart_syscall poll ppoll ppoll_time64 select _newselect"
        " pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old"
        " epoll_pwait epoll_pwait2 eventfd eventfd2 inotify_init inotify_init1 inotify_add_watch inotify_rm_watch"
        " fanotify_mark futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue pipe pipe2"
        " io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64"
    ),
    "time": _words(
        "time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep"
        " clock_nanosleep_time64 nanosleep alarm getitimer setitimer timer_create timer_delete timer_getoverrun"
        " timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime"
        " timerfd_gettime64 timerfd_settime timerfd_settime64 times adjtimex clock_adjtime clock_adjtime64"
    ),
    "identity and limits": _words(
        "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid"
        " getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32"
        " setresuid setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32"
        " capget capset getrlimit ugetrlimit setrlimit prlimit64 getrusage sysinfo uname oldolduname olduname"
        " getrandom"
    ),
    "sockets": _words(
        "socketcall socketpair bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt send"
        " sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64 shutdown"
    ),
    "System V and POSIX queues": _words(
        "ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget"
        " mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive mq_timedreceive_time64 mq_timedsend"
        " mq_timedsend_time64"
    ),
    "of one architecture": _words(
        "arm_sync_file_range breakpoint cacheflush set_tls get_tls sync_file_range2 s390_pci_mmio_read"
        " s390_pci_mmio_write s390_runtime_instr riscv_flush_icache riscv_hwprobe swapcontext"
    ),
}

UNLOCKED: Final = {
    "sys_admin": _words(
        "mount umount umount2 move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr"
        " statmount listmount pivot_root unshare setns clone3 sethostname setdomainname fanotify_init bpf"
        " perf_event_open quotactl quotactl_fd lookup_dcookie syslog lsm_get_self_attr lsm_list_modules"
    ),
    "sys_chroot": ("chroot",),
    "sys_ptrace": _words("kcmp pidfd_getfd process_madvise"),
    "sys_nice": _words("get_mempolicy set_mempolicy set_mempolicy_home_node mbind migrate_pages move_pages"),
    "sys_time": _words("settimeofday stime clock_settime clock_settime64"),
    "sys_module": _words("init_module finit_module delete_module"),
    "sys_boot": _words("reboot kexec_load kexec_file_load"),
    "sys_rawio": _words("iopl ioperm"),
    "sys_pacct": ("acct",),
    "sys_tty_config": ("vhangup",),
    "syslog": ("syslog",),
    "bpf": ("bpf",),
    "perfmon": ("perf_event_open",),
    "dac_read_search": ("open_by_handle_at",),
}

REFUSED: Final = _words("keyctl add_key request_key userfaultfd swapon swapoff ustat sysfs")

_NEW_NAMESPACES: Final = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
FAMILIES: Final = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16, "packet": 17}
PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux, 32 bit, a version that begins with 2.6, ask

COMPATIBLE: Final = {"x86_64": ("x86",), "aarch64": ("arm",), "s390x": ("s390",)}


def default(capabilities: Iterable[str], machine: str) -> Filter:
    """What a command with these capabilities gets on a ``machine`` (uname -m)."""
    held = set(capabilities)
    free = {name for capability in held for name in UNLOCKED.get(capability, ())}
    locked = {name for names in UNLOCKED.values() for name in names} - free
    rules = [
        Rule(tuple(dict.fromkeys(name for names in ALLOWED.values() for name in names)), ALLOW),
        Rule(tuple(sorted(free)), ALLOW),
        Rule(tuple(sorted(locked - {"clone3"})) + REFUSED, refuse(errno.EPERM)),
        *_clone("sys_admin" in held, 1 if machine.startswith("s390") else 0),
        *_socket(),
        *(Rule(("personality",), ALLOW, (Condition(0, EQUAL, value),)) for value in PERSONALITIES),
    ]
    return Filter(refuse(errno.ENOSYS), tuple(rules), COMPATIBLE.get(machine, ()))


def _clone(may_make_namespaces: bool, flags: int) -> list[Rule]:
    """Of clone3 a filter cannot see the flags: it is as if it were not there, and libraries then use clone."""
    if may_make_namespaces:
        return [Rule(("clone",), ALLOW)]
    allowed = Rule(("clone",), ALLOW, (Condition(flags, MASKED_EQUAL, 0, sum(_NEW_NAMESPACES)),))
    denied = (Condition(flags, MASKED_EQUAL, flag, flag) for flag in _NEW_NAMESPACES)
    return [allowed, *(Rule(("clone",), refuse(errno.EPERM), (condition,)) for condition in denied)]


def _socket() -> list[Rule]:
    """Families that programs use; the others (vsock, alg, ...) are seldom needed, seldom tested, and load modules."""
    last = max(FAMILIES.values())
    known = set(FAMILIES.values())
    absent = refuse(errno.EAFNOSUPPORT)
    return [
        *(Rule(("socket",), ALLOW, (Condition(0, EQUAL, family),)) for family in sorted(known)),
        *(Rule(("socket",), absent, (Condition(0, EQUAL, family),)) for family in range(last) if family not in known),
        Rule(("socket",), absent, (Condition(0, GREATER, last),)),
    ]
