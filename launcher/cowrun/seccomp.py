"""A filter of system calls becomes a program for the kernel, by libseccomp; used by the launcher.

libseccomp knows the numbers of every architecture and how to order them; it is called directly, as its Python bindings
look for the library with a compiler's help or are tied to one interpreter, and either costs a start more than the
compilation itself. The program is made here and not in the container's first process, which then needs no library.
"""

import ctypes
import os
import struct
from typing import Any, Final

from cowfs.errors import PrivilegeError, UsageError
from cowrun.syscall_rules import MASKED_EQUAL, Condition, Filter, Rule

_LIBRARY: Final = "libseccomp.so.2"
_UNKNOWN: Final = -1  # __NR_SCMP_ERROR
_BAD_ARCHITECTURE: Final = 2  # SCMP_FLTATR_ACT_BADARCH
_OPTIMIZE: Final = 8  # SCMP_FLTATR_CTL_OPTIMIZE
_BINARY_TREE: Final = 2
_NATIVE: Final = 0  # SCMP_ARCH_NATIVE

_INSTRUCTION: Final = struct.Struct("HBBI")  # struct sock_filter
_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP: Final = 0x05  # BPF_JMP | BPF_JA
_OFFSET_OF_ARCHITECTURE: Final = 4  # in struct seccomp_data


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp (seccomp.h)."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def program_for(wanted: Filter | None) -> bytes:
    """The compiled filter; empty where there is to be none."""
    return b"" if wanted is None else compile_filter(wanted)


def compile_filter(wanted: Filter) -> bytes:
    """The struct sock_filter of each instruction. Raises PrivilegeError without libseccomp, UsageError for a filter
    that it does not take."""
    library = _load()
    program = _compile(library, wanted, None)
    for name in wanted.architectures:
        token = _token(library, name)
        if token != library.seccomp_arch_native():
            program = _for_one_else(token, _compile(library, wanted, token), program)
    return program


def _compile(library: Any, wanted: Filter, token: int | None) -> bytes:
    """For one architecture, as programs for several at once take libseccomp ten times as long. Others get the default.
    ``token``: None for the machine's own."""
    context = library.seccomp_init(wanted.default)
    if not context:
        raise UsageError(f"seccomp: no such default action: {wanted.default:#x}")
    context = ctypes.c_void_p(context)
    try:
        _check(library.seccomp_attr_set(context, _BAD_ARCHITECTURE, wanted.default), "the default action")
        library.seccomp_attr_set(context, _OPTIMIZE, _BINARY_TREE)  # libseccomp 2.5; slower without
        if token is not None:
            _check(library.seccomp_arch_add(context, ctypes.c_uint32(token)), "an architecture")
            _check(library.seccomp_arch_remove(context, ctypes.c_uint32(_NATIVE)), "an architecture")
        for rule in wanted.rules:
            _add(library, context, rule, wanted.default)
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def _for_one_else(token: int, program: bytes, otherwise: bytes) -> bytes:
    """Two programs as one (Documentation/networking/filter.rst): which one counts is the architecture's to say."""
    return b"".join(
        (
            _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _OFFSET_OF_ARCHITECTURE),
            _INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, 1, token),
            _INSTRUCTION.pack(_JUMP, 0, 0, len(otherwise) // _INSTRUCTION.size),
            otherwise,
            program,
        )
    )


def _load() -> Any:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise PrivilegeError(
            f"{_LIBRARY} is missing, so system calls cannot be filtered: install libseccomp2, or say"
            " --security-opt seccomp=unconfined"
        ) from None
    library.seccomp_init.restype = ctypes.c_void_p
    for function in (library.seccomp_arch_resolve_name, library.seccomp_arch_native):
        function.restype = ctypes.c_uint32
    return library


def _token(library: Any, name: str) -> int:
    token = library.seccomp_arch_resolve_name(name.encode())
    if not token:
        raise UsageError(f"seccomp: no such architecture: {name}")
    return int(token)


def _add(library: Any, context: Any, rule: Rule, default: int) -> None:
    if rule.action == default:
        return  # libseccomp refuses what changes nothing
    comparisons = (_Comparison * len(rule.conditions))(*(_comparison(condition) for condition in rule.conditions))
    for name in rule.names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN:  # younger than this libseccomp: gets the default
            continue
        _check(
            library.seccomp_rule_add_array(
                context, ctypes.c_uint32(rule.action), number, len(comparisons), comparisons
            ),
            f"a rule for {name}",
        )


def _comparison(condition: Condition) -> _Comparison:
    """For SCMP_CMP_MASKED_EQ the mask comes first."""
    if condition.comparison == MASKED_EQUAL:
        return _Comparison(condition.argument, condition.comparison, condition.mask, condition.value)
    return _Comparison(condition.argument, condition.comparison, condition.value, 0)


def _exported(library: Any, context: Any) -> bytes:
    memory = os.memfd_create("seccomp")
    try:
        _check(library.seccomp_export_bpf(context, memory), "the program")
        return os.pread(memory, os.fstat(memory).st_size, 0)
    finally:
        os.close(memory)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise UsageError(f"seccomp: {what} is not taken: {os.strerror(-result)}")
