"""A network of the run's own, with a way out: a network namespace that pasta or slirp4netns serves from the host's.

    launcher -- keeper -- holder (first in a pid namespace of its own, in the new network namespace, without rights)
                            `-- pasta or slirp4netns (same pid namespace, the host's network)

The programs run away into the background and change their identity, so that the kernel would forget to kill them when
we die. The pid namespace does not: it ends with the holder, that with the keeper, that with the launcher, however it
ends. Used by session. What this machine's loopback serves cannot be reached from inside.
"""

import json
import os
import signal
import socket
from collections.abc import Iterable
from typing import Final, NoReturn

from cowfs import userns
from cowfs.errors import NetworkError
from cowrun import syscalls
from cowrun.identity import default_signals
from cowrun.ports import ADDRESS, NAME_SERVER, PROGRAMS, Port

_GATEWAY: Final = "10.0.2.2"
_INTERFACE: Final = "eth0"
_MTU: Final = "65520"
_PLACES: Final = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
_CHANNEL: Final = 3  # to the launcher, in the processes beside it
_API: Final = "slirp4netns.sock"
_LIVE: Final = b"\0"
_MESSAGE: Final = 4096
_NOISE: Final = ("Failed to send", "Don't run as root", "Couldn't get any nameserver", "WARNING")


class PrivateNetwork:
    """One network. ``holder`` is the process whose network namespace it is; usable once ``wait`` has returned."""

    def __init__(self, wanted: str, ports: Iterable[Port], directory: str) -> None:
        """``wanted``: the program, or "private" for any. ``directory``: for a socket. Raises NetworkError."""
        self.program = _find(wanted)
        self.ports = tuple(_free(port) for port in ports)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        launcher = os.getpid()
        self._keeper = os.fork()
        if self._keeper == 0:
            self._channel.close()
            _keep(theirs, launcher, self.program, self.ports, directory)
        theirs.close()
        self.holder = int(self._channel.recv(_MESSAGE) or b"0")

    def fileno(self) -> int:
        """Readable once ``check`` can be called."""
        return self._channel.fileno()

    def check(self) -> None:
        """Raises NetworkError where it does not work."""
        answer = self._channel.recv(_MESSAGE)
        name = os.path.basename(self.program)
        if answer != _LIVE:
            raise NetworkError(
                f"no private network, {name} fails: {answer.decode(errors='replace') or 'it was killed'}"
            )
        for port in self.ports:
            if _can_bind(port):  # pasta says nothing then
                raise NetworkError(f"-p {port.host}: {name} could not take the port")

    def stop(self) -> None:
        """End it, and wait until nobody has its ports any more."""
        self._channel.close()
        os.waitpid(self._keeper, 0)


def _find(wanted: str) -> str:
    names = PROGRAMS if wanted == "private" else (wanted,)
    for path in (f"{place}/{name}" for name in names for place in _PLACES):
        if os.access(path, os.X_OK):
            return path
    package = {"pasta": "passt"}.get(names[0], names[0])
    raise NetworkError(f"--network {wanted} needs {' or '.join(names)}: apt-get install {package}")


def _free(port: Port) -> Port:
    """With a number that is free. Raises NetworkError."""
    with _socket_for(port) as probe:
        try:
            probe.bind((port.address, port.host))
        except OSError as error:
            raise NetworkError(f"-p {port.host}: the port cannot be published: {error.strerror}") from None
        return port._replace(host=probe.getsockname()[1])


def _can_bind(port: Port) -> bool:
    with _socket_for(port) as probe:
        try:
            probe.bind((port.address, port.host))
        except OSError:
            return False
    return True


def _socket_for(port: Port) -> socket.socket:
    family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    made = socket.socket(family, kind)
    if kind == socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


# --- the keeper and the holder


def _keep(channel: socket.socket, launcher: int, program: str, ports: tuple[Port, ...], directory: str) -> NoReturn:
    try:
        _stand_alone(channel.fileno(), launcher)
        syscalls.unshare(syscalls.CLONE_NEWPID)
        keeper = os.getpid()
        holder = os.fork()
        if holder == 0:
            _hold(keeper, program, ports, directory)
        os.write(_CHANNEL, str(holder).encode())
        os.read(_CHANNEL, 1)  # the launcher closes its end, or is gone
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)  # with it all others of its namespace are gone
    finally:
        os._exit(0)


def _stand_alone(channel: int, launcher: int) -> None:
    """Nothing of the launcher's stays open for our sake, and none of its signals is ours."""
    signal.set_wakeup_fd(-1)
    default_signals()
    os.setsid()
    _end_with(launcher)
    syscalls.set_process_name("cowrun-network")
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for standard in range(_CHANNEL):
        os.dup2(null, standard)
    os.dup2(channel, _CHANNEL, inheritable=False)
    syscalls.close_from(_CHANNEL + 1)


def _end_with(parent: int) -> None:
    """By the numbers of the host, which /proc shows: in a pid namespace of our own the parent has none."""
    syscalls.die_with_parent(signal.SIGKILL)
    with open("/proc/self/stat", "rb") as file:
        if int(file.read().rpartition(b") ")[2].split()[1]) != parent:
            os._exit(0)


def _hold(keeper: int, program: str, ports: tuple[Port, ...], directory: str) -> NoReturn:
    try:
        _end_with(keeper)
        os.chdir(directory)
        log = os.memfd_create("cowrun-network")
        begin, go = os.pipe()
        ready, said = os.pipe()
        path = f"/proc/{os.readlink('/proc/self')}/ns/net"
        helper = os.fork()
        if helper == 0:
            os.read(begin, 1)
            _execute(program, ports, path, log, said)
        os.close(said)
        syscalls.unshare(syscalls.CLONE_NEWNET)
        syscalls.set_capabilities(0)  # the program gives up most of its own, and could not look at us
        os.write(go, b"\0")
        os.write(_CHANNEL, _wait(helper, program, ready, log, ports))
        syscalls.close_from(_CHANNEL)
        while True:
            os.wait()
    except ChildProcessError:  # it ended, and with it the network
        pass
    except OSError as error:
        os.write(_CHANNEL, str(error).encode())
    finally:
        os._exit(0)


def _execute(program: str, ports: tuple[Port, ...], namespace: str, log: int, said: int) -> NoReturn:
    try:
        for number in (1, 2):
            os.dup2(log, number)
        os.set_inheritable(said, True)
        arguments = _pasta(ports, namespace) if program.endswith("pasta") else _slirp4netns(namespace, said)
        os.execve(program, arguments, {})
    finally:
        os._exit(127)


def _pasta(ports: tuple[Port, ...], namespace: str) -> list[str]:
    """It goes into the background once it works."""
    arguments = ["pasta", "--quiet", "--config-net", "--ns-ifname", _INTERFACE, "--dns-forward", NAME_SERVER]
    arguments += ["--address", ADDRESS, "--netmask", "255.255.255.0", "--gateway", _GATEWAY]
    # This machine's loopback is not reached by the gateway's address, nor by ports of the container's own.
    arguments += ["--no-map-gw", "--tcp-ns", "none", "--udp-ns", "none"]
    for option, protocol in (("--tcp-ports", "tcp"), ("--udp-ports", "udp")):
        specs = [_spec(port) for port in ports if port.protocol == protocol] or ["none"]
        arguments += [part for spec in specs for part in (option, spec)]
    if userns.is_root_of_machine():
        arguments += ["--runas", "0"]  # anybody else may not enter the namespace; it keeps one capability
    return [*arguments, "--netns", namespace]


def _spec(port: Port) -> str:
    return f"{port.address}/{port.host}:{port.inside}" if port.address else f"{port.host}:{port.inside}"


def _slirp4netns(namespace: str, ready: int) -> list[str]:
    return [
        *("slirp4netns", "--configure", f"--mtu={_MTU}", "--disable-host-loopback", "--enable-sandbox"),
        *("--enable-seccomp", f"--ready-fd={ready}", f"--api-socket={_API}"),
        *("--netns-type=path", namespace, _INTERFACE),
    ]


def _wait(helper: int, program: str, ready: int, log: int, ports: tuple[Port, ...]) -> bytes:
    """_LIVE once the program serves the network, else what it said last."""
    if program.endswith("pasta"):
        live = os.waitpid(helper, 0)[1] == 0
    else:
        live = bool(os.read(ready, 1))
        for port in ports if live else ():
            if failure := _forward(port):
                return failure
    os.close(ready)
    if live:
        return _LIVE
    lines = os.pread(log, _MESSAGE, 0).decode(errors="replace").splitlines()
    said = [line for line in lines if line.strip() and not line.startswith(_NOISE)]
    return (said[-1] if said else "without a word").encode()[:_MESSAGE]


def _forward(port: Port) -> bytes:
    """slirp4netns(1), "API socket"."""
    arguments = {
        "proto": port.protocol,
        "host_addr": port.address or "0.0.0.0",
        "host_port": port.host,
        "guest_port": port.inside,
    }
    with socket.socket(socket.AF_UNIX) as api:
        api.connect(_API)
        api.sendall(json.dumps({"execute": "add_hostfwd", "arguments": arguments}).encode())
        api.shutdown(socket.SHUT_WR)
        answer = json.loads(api.recv(_MESSAGE))
    return f"-p {port.host}: {answer['error'].get('desc', answer['error'])}".encode() if "error" in answer else b""
