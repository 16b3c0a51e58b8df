"""A network of the run's own: the way out, what is not reached, published ports, and that nobody serves it afterwards.

All in a network namespace of the test's own, with an interface that leads nowhere: nothing leaves the machine.
"""

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.run.conftest import PROGRAM, wait_until

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x2, 0x1000
ADDRESS = "198.51.100.2"
PROGRAMS = {"pasta": "pas", "slirp4netns": "slirp4netns"}  # how their processes are called
SERVERS = """
import socket
tcp, udp = socket.create_server(("0.0.0.0", 80)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 53))
print("up", flush=True)
tcp.accept()[0].sendall(b"one\\n")
while True:
    udp.sendto(*udp.recvfrom(99))
"""
Value = TypeVar("Value")
Within = Callable[[Callable[[], Value]], Value]

pytestmark = pytest.mark.usefixtures("outside")


@pytest.fixture
def outside() -> Iterator[Within[Any]]:
    """Call something in a network namespace with a default route; what it starts is in there, too."""

    def begin() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(CLONE_NEWNET) == 0
        busybox = shutil.which("busybox")
        assert busybox
        device = os.open("/dev/net/tun", os.O_RDWR)  # the interface is there as long as this is open
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"d0", IFF_TAP | IFF_NO_PI))
        for words in (
            "link set lo up",
            f"addr add {ADDRESS}/24 dev d0",
            "link set d0 up",
            "route add default via 198.51.100.1",
        ):
            subprocess.run([busybox, "ip", *words.split()], check=True, timeout=30)
        return device

    with ThreadPoolExecutor(1) as thread:
        device = thread.submit(begin).result()
        yield lambda function: thread.submit(function).result()
        os.close(device)


@contextlib.contextmanager
def server(address: str) -> Iterator[int]:
    """Answers each connection; the port."""
    with socket.socket() as listening:
        listening.bind((address, 0))
        listening.listen()
        threading.Thread(target=_answer, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def _answer(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            connection.sendall(b"answer\n")
            connection.close()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_private_network_leads_out_and_not_to_the_hosts_loopback(cowrun: Any, outside: Any, program: str) -> None:
    def check() -> None:
        with server(ADDRESS) as open_port, server("127.0.0.1") as closed:
            script = f"""
                ip -4 addr show eth0 | grep -o 'inet 10.0.2.100/24'; grep 10.0.2.100 /etc/hosts; hostname
                sleep 1 | busybox timeout 9 nc {ADDRESS} {open_port}
                for where in 127.0.0.1 10.0.2.2 10.0.2.100; do sleep 1 | busybox timeout 2 nc $where {closed}; done
                true"""
            done = cowrun.run("--network", program, "--hostname", "box", cowrun.root, "sh", "-c", script)
            assert done.returncode == 0, done
            assert done.stdout.split("\n")[:4] == ["inet 10.0.2.100/24", "10.0.2.100\tbox", "box", "answer"]
            assert done.stdout.count("answer") == 1

    outside(check)


@pytest.mark.parametrize("program", PROGRAMS)
def test_published_ports_lead_inside(cowrun: Any, outside: Any, program: str) -> None:
    def check() -> None:
        published = ("-p", "127.0.0.1:7080:80", "-p", "7053:53/udp", "-p", "90")
        process = cowrun.start("--network", program, *published, "@host", sys.executable, "-c", SERVERS)
        assert process.stdout.readline() == "up\n"
        listing = subprocess.run(
            [*PROGRAM, "ps", "--root", str(cowrun.store)], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        assert "127.0.0.1:7080->80/tcp, 0.0.0.0:7053->53/udp, 0.0.0.0:" in listing
        with socket.create_connection(("127.0.0.1", 7080), 10) as client:
            assert client.recv(99) == b"one\n"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.2)
            wait_until(lambda: _echo(client) == b"two\n")
        process.kill()

    outside(check)


def _echo(client: socket.socket) -> bytes:
    client.sendto(b"two\n", (ADDRESS, 7053))  # pasta of 2023 and slirp4netns do not answer to loopback
    with contextlib.suppress(OSError):
        return client.recv(99)
    return b""


def test_ports_without_a_network_named_need_no_more(cowrun: Any, outside: Any) -> None:
    done = outside(lambda: cowrun.run("-p", "7080:80", cowrun.root, "ip", "addr", "show", "eth0"))
    assert "10.0.2.100/24" in done.stdout, done


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_port_that_is_taken_is_named_and_no_run_is_kept(cowrun: Any, outside: Any, program: str) -> None:
    def check() -> None:
        with server("0.0.0.0") as port:
            done = cowrun.run("--network", program, "-p", f"{port}:80", cowrun.root, "true")
            assert (done.returncode, done.stderr.count("\n")) == (125, 1)
            assert f"-p {port}: the port cannot be published: Address already in use" in done.stderr
            assert cowrun.runs == []

    outside(check)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("end", ["exit", "TERM", "KILL", "KILL of the keeper", "fail"])
def test_nobody_serves_a_network_that_is_no_more(cowrun: Any, outside: Any, program: str, end: str) -> None:
    def check() -> None:
        process = cowrun.start_ready("echo up; read line", "--network", program)
        keepers = [pid for pid in cowrun.processes() if _name(pid) == "cowrun-network"]
        serving = _of_namespace(keepers)
        assert {_name(pid) for pid in serving} >= {"cowrun-network"}
        assert any(_name(pid).startswith(PROGRAMS[program]) for pid in serving)
        if end == "exit":
            process.communicate("\n", timeout=30)
            assert not any(map(_lives, serving))  # the ports are free by now
        elif end == "fail":
            done = cowrun.run("--network", program, cowrun.root, "no-such-command")
            assert done.returncode == 127
            process.kill()
        elif end == "KILL of the keeper":
            os.kill(next(pid for pid in keepers if pid not in serving), signal.SIGKILL)
        else:
            process.send_signal(signal.Signals[f"SIG{end}"])
        wait_until(lambda: not any(map(_lives, serving)))
        process.kill()

    outside(check)


def _of_namespace(keepers: list[int]) -> list[int]:
    """All that are in the pid namespace that the keeper made."""
    namespaces = {os.readlink(f"/proc/{pid}/ns/pid") for pid in keepers} - {os.readlink("/proc/self/ns/pid")}
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/{pid}/ns/pid")
            below = Path(f"/proc/{pid}/status").read_text()
            numbers = next(line for line in below.splitlines() if line.startswith("NSpid:")).split()[1:]
            parents = _ancestors(pid)
            if link in namespaces or (len(numbers) > 2 and parents & set(keepers)):
                found.append(pid)
    return found


def _ancestors(pid: int) -> set[int]:
    found = set()
    while pid > 1:
        with contextlib.suppress(OSError):
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
            found.add(pid)
            continue
        break
    return found


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def test_twenty_runs_at_once_all_succeed_and_leave_nothing(cowrun: Any, outside: Any) -> None:
    """The fixture looks for mounts and processes, too."""

    def check() -> None:
        names = [f"n{number}" for number in range(20)]
        script = "read line; echo $line > /f; cat /f"
        started = [
            cowrun.start("--name", name, "--network", network, cowrun.root, "sh", "-c", script)
            for name, network in zip(names, ["host", "none", *PROGRAMS] * 5, strict=True)
        ]
        for name, process in zip(names, started, strict=True):
            process.stdin.write(f"{name}\n")
            process.stdin.close()
        for name, process in zip(names, started, strict=True):
            assert (process.wait(120), process.stdout.read()) == (0, f"{name}\n"), process.stderr.read()
        assert not cowrun.processes()
        assert {run.name: (run.upper / "f").read_text() for run in cowrun.runs} == {name: f"{name}\n" for name in names}

    outside(check)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_l14_a_signal_at_any_moment_of_the_start_leaves_no_network(cowrun: Any, outside: Any, number: int) -> None:
    def check() -> None:
        for step in range(8):
            process = cowrun.start("--network", "pasta", cowrun.root, "sleep", "1000")
            wait_until(lambda: len(cowrun.processes()) > 1)
            time.sleep(step * 0.03)
            serving = _of_namespace([pid for pid in cowrun.processes() if _name(pid) == "cowrun-network"])
            process.send_signal(number)
            process.wait(10)
            wait_until(lambda: not cowrun.processes(), 5)
            wait_until(lambda found=serving: not any(map(_lives, found)), 5)
        assert cowrun.run(cowrun.root, "true").returncode == 0  # puts away what a killed one was building

    outside(check)
