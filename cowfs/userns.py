"""Work without root: a user namespace in which an ordinary user is (user_namespaces(7)), and what cannot be done there.

Used by the command lines (``enter``), and by whoever has to know that root may be root of such a namespace only. There
``trusted.*`` attributes do not exist, so marks are ``user.overlay.*``; no devices can be made; and only some numbers of
users exist: those of /etc/subuid and /etc/subgid, given by newuidmap(1) and newgidmap(1), or nobody but root.
"""

import os
from functools import cache
from typing import Final

from cowfs.errors import PrivilegeError

_CLONE_NEWUSER: Final = 0x10000000
_TOOLS: Final = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")
_ALL: Final = 1 << 32
_entered: list[str] = []  # the home of who was root nowhere before


def enter() -> None:
    """Be root of a new user namespace; nothing for who is root already. Before anything else: one thread, no mounts.

    Raises PrivilegeError.
    """
    if os.geteuid() == 0:
        return
    import ctypes  # every start of every command would wait for it

    uid, gid = os.geteuid(), os.getegid()
    ranges = _delegated(uid)
    told, go = os.pipe()
    helper = os.fork() if ranges else 0
    if ranges and not helper:
        os.close(go)
        _map_from_outside(told, (uid, gid), ranges)
    try:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER):
            reason = os.strerror(ctypes.get_errno())
            raise PrivilegeError(f"no user namespace can be made here ({reason}): run it as root")
        if helper:
            os.write(go, b"\0")
    finally:
        os.close(told)
        os.close(go)
        mapped = bool(helper) and os.waitpid(helper, 0)[1] == 0
    if not mapped:
        _map_one(uid, gid)
    _entered.append(_home(uid))
    is_root_of_machine.cache_clear()


def entered() -> bool:
    """True in a process that is root by ``enter``: what is a user's own is meant, not the machine's."""
    return bool(_entered)


def home() -> str:
    """The home directory of whoever called us."""
    return _entered[0] if _entered else _home(os.geteuid())


@cache
def is_root_of_machine() -> bool:
    """True for root in the initial user namespace."""
    return os.geteuid() == 0 and mapped_ids() == _ALL - 1


def mapped_ids() -> int:
    """How many users and groups there are, counted from root: 1 where there is nobody else."""
    return min(_contiguous(f"/proc/self/{kind}_map") for kind in ("uid", "gid"))


def _contiguous(path: str) -> int:
    count = 0
    with open(path, encoding="ascii") as lines:
        for inside, _, length in sorted(tuple(map(int, line.split())) for line in lines):
            if inside != count:
                break
            count += length
    return count


def _home(uid: int) -> str:
    if found := os.environ.get("HOME"):
        return found
    import pwd

    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/"


# --- the maps


def _delegated(uid: int) -> list[list[tuple[int, int]]]:
    """The ranges of users and of groups that /etc/subuid and /etc/subgid give; empty unless both do."""
    if not all(os.access(tool, os.X_OK) for tool in _TOOLS):
        return []
    import pwd

    names = {str(uid)}
    try:
        names.add(pwd.getpwuid(uid).pw_name)
    except KeyError:
        pass
    found = [_ranges(path, names) for path in ("/etc/subuid", "/etc/subgid")]
    return found if all(found) else []


def _ranges(path: str, names: set[str]) -> list[tuple[int, int]]:
    """subuid(5): name or number, first, how many."""
    found = []
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                owner, _, numbers = line.strip().partition(":")
                first, _, count = numbers.partition(":")
                if owner in names and first.isdigit() and count.isdigit():
                    found.append((int(first), int(count)))
    except OSError:
        pass
    return found


def _map_from_outside(told: int, own: tuple[int, int], ranges: list[list[tuple[int, int]]]) -> None:
    """In a child that stays outside: once the parent is in, give it its numbers. Never returns."""
    status = 1
    try:
        parent = str(os.getppid())
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)  # without them there is nobody but root: no error yet
        if os.read(told, 1):
            for tool, number, parts in zip(_TOOLS, own, ranges, strict=True):
                arguments, inside = ["0", str(number), "1"], 1
                for first, count in parts:
                    arguments += [str(inside), str(first), str(count)]
                    inside += count
                if os.spawnv(os.P_WAIT, tool, [tool, parent, *arguments]):
                    break
            else:
                status = 0
    finally:
        os._exit(status)


def _map_one(uid: int, gid: int) -> None:
    maps = (("uid_map", f"0 {uid} 1"), ("setgroups", "deny"), ("gid_map", f"0 {gid} 1"))
    for name, content in maps:
        try:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(content)
        except OSError as error:
            if name == "uid_map" and _contiguous("/proc/self/uid_map"):
                continue  # newuidmap did, and newgidmap failed
            raise PrivilegeError(
                f"no numbers can be given in a user namespace: {error.strerror} (run as root)"
            ) from None
