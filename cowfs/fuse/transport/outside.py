"""Mounts for an ordinary user: fusermount3(1), called by a process that stays outside of the user namespace.

    command                     forks a process that stays outside, then enters its namespace, for the store's files
    file system process    ---> a mount point and options, by a socket
    outside                     calls fusermount3, which is setuid root: inside it would be nobody's
                           ---> the device, or why there is none
    ... both ends of the socket close: the file system process ended, however it did
    outside                     ends the mount where nobody else has, and itself

The mount is read-only and the user's alone: nobody else may look into it, and permissions are not asked for, as its
files belong to users of the namespace. Used by ``cowfs mount`` and ``umount``.
"""

import array
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final, NoReturn

from cowfs.errors import MountError, PrivilegeError
from cowfs.fuse import mountpoints
from cowfs.options import MountOptions

_PROGRAM: Final = "fusermount3"
_MAX: Final = 1 << 16  # bytes of a message


def stay_outside() -> int:
    """Fork the process that will mount; the socket to it, for ``MountOptions.mounter``. Before entering a namespace."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        ours.close()
        _outside(theirs)
    theirs.close()
    return ours.detach()


def mounted(options: MountOptions, mountpoint: Path) -> int:
    """Have ``mountpoint`` mounted; the device to serve. Raises MountError with fusermount3's reason."""
    words = ["ro", "nosuid", "nodev", "subtype=cowfs", f"fsname={_escaped(options.source)}"]
    connection = socket.socket(fileno=os.dup(options.mounter))
    with connection:
        connection.send(json.dumps([os.fspath(mountpoint), ",".join(words)]).encode())
        answer, device = _received(connection)
    if device < 0:
        raise MountError(answer.decode(errors="replace") or f"{mountpoint}: nobody is left to mount it")
    return device


def unmount(mountpoint: Path, *, lazy: bool) -> None:
    """End a mount of the caller's. Raises MountError."""
    done = _run(["-u", *(["-z"] if lazy else []), "--", os.fspath(mountpoint)])
    if done.returncode:
        raise MountError(f"{mountpoint}: cannot be unmounted: {_reason(done.stderr)}")


def _escaped(source: str) -> str:
    return source.replace("\\", "\\\\").replace(",", "\\,")


# --- outside


def _outside(inside: socket.socket) -> NoReturn:
    try:
        os.setsid()
        os.chdir("/")
        for ending in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(ending, signal.SIG_IGN)  # it ends with the file system process, and after it
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        mountpoint = _mount_as_asked(inside)
        if mountpoint is not None:
            device = mountpoints.device_at(mountpoint)
            while inside.recv(1):
                pass
            if device is not None and mountpoints.device_at(mountpoint) == device:
                _run(["-u", "-z", "-q", "--", os.fspath(mountpoint)])
    finally:
        os._exit(0)


def _mount_as_asked(inside: socket.socket) -> Path | None:
    request = inside.recv(_MAX)
    if not request:
        return None
    mountpoint, options = json.loads(request)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.set_inheritable(theirs.fileno(), True)
        done = _run(["-o", options, "--", mountpoint], commfd=theirs.fileno())
        theirs.close()
        device = -1 if done.returncode else _received(ours)[1]
    if device < 0:
        inside.send(f"{mountpoint}: {_reason(done.stderr)}".encode())
        return None
    inside.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [device]))])
    os.close(device)
    return Path(mountpoint)


def _received(connection: socket.socket) -> tuple[bytes, int]:
    """A message, and the descriptor that came with it; -1 where none did."""
    data, passed, *_ = connection.recvmsg(_MAX, socket.CMSG_SPACE(array.array("i").itemsize), socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in passed:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS) and content:
            return data, array.array("i", content)[0]
    return data, -1


def _run(arguments: list[str], commfd: int = -1) -> "subprocess.CompletedProcess[bytes]":
    environment = os.environ | ({"_FUSE_COMMFD": str(commfd)} if commfd >= 0 else {})
    try:
        return subprocess.run(
            [_PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            pass_fds=[commfd] if commfd >= 0 else [],
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess([], 1, b"", b"needs fusermount3 (Debian's fuse3), or root")
    except OSError as failure:
        raise PrivilegeError(f"{_PROGRAM}: {failure.strerror}") from None


def _reason(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix(f"{_PROGRAM}: ") if lines else "fusermount3 refused, and did not say why"
