"""-p as docker writes it, and what a run's own files say about its network."""

import pytest
from cowrun import files, network
from cowrun.ports import Port, parse_ports
from cowrun.settings import Machine, Options, Settings, settings

from cowfs.errors import NetworkError, UsageError
from cowfs.model import Base, ImageConfig

LOCAL = "search x\nnameserver 127.0.0.53\nnameserver ::1\n"
MIXED = LOCAL + "nameserver 9.9.9.9\n"


def made(**options: object) -> Settings:
    return settings(Options("i", **options), Base("test", (), ImageConfig()), Machine())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "ports"),
    [
        ("80", [Port(0, 80)]),
        ("8080:80", [Port(8080, 80)]),
        ("8080:80/udp", [Port(8080, 80, "udp")]),
        ("127.0.0.1:8080:80", [Port(8080, 80, "tcp", "127.0.0.1")]),
        ("127.0.0.1::80", [Port(0, 80, "tcp", "127.0.0.1")]),
        ("[::1]:8080:80", [Port(8080, 80, "tcp", "::1")]),
        ("8000-8001:80-81", [Port(8000, 80), Port(8001, 81)]),
    ],
)
def test_a_published_port(typed: str, ports: list[Port]) -> None:
    assert list(parse_ports([typed])) == ports


@pytest.mark.parametrize(
    "typed",
    ["", "x", "0", "65536", "80:65536", "8000-8002:80-81", "81-80", "300.1.1.1:1:1", "1:2:3:4", "80/sctp", "-1"],
)
def test_what_is_no_port(typed: str) -> None:
    with pytest.raises(UsageError, match="-p "):
        parse_ports([typed])


def test_as_docker_shows_it() -> None:
    assert str(Port(8080, 80)) == "0.0.0.0:8080->80/tcp"
    assert str(Port(53, 53, "udp", "::1")) == "[::1]:53->53/udp"


def test_the_network_that_is_meant() -> None:
    assert made().network == "host"
    assert made(ports=("80:80",)).network == "private"
    assert made(ports=("80:80",), network="slirp4netns").network == "slirp4netns"
    for name in ("host", "none"):
        with pytest.raises(UsageError, match="-p needs --network private"):
            made(ports=("80:80",), network=name)
    with pytest.raises(UsageError, match="--network bridge: one of host, none, private"):
        made(network="bridge")


@pytest.mark.parametrize(
    ("options", "host", "inside"),
    [
        ({}, MIXED, MIXED),
        ({"network": "none"}, MIXED, "search x\nnameserver 9.9.9.9\n"),
        ({"network": "none"}, LOCAL, "search x\n"),
        ({"network": "private"}, MIXED, "search x\nnameserver 9.9.9.9\n"),
        ({"network": "private"}, LOCAL, "search x\nnameserver 10.0.2.3\n"),
        ({"dns": ("1.1.1.1", "::2")}, MIXED, "search x\nnameserver 1.1.1.1\nnameserver ::2\n"),
    ],
)
def test_resolv_conf(options: dict[str, object], host: str, inside: str) -> None:
    assert files.resolv_conf(made(**options), host) == inside


def test_hosts() -> None:
    added = made(add_host=("db:10.1.2.3", "six=[::6]"))
    assert files.hosts(added, "me", "1.2.3.4\tmine\n") == "1.2.3.4\tmine\n127.0.1.1\tme\n10.1.2.3\tdb\n::6\tsix\n"
    assert files.hosts(made(network="private"), "me", "") == files.STANDARD + "10.0.2.100\tme\n"
    for typed in ("db", ":1.2.3.4", "db:host-gateway"):
        with pytest.raises(UsageError, match="--add-host"):
            made(add_host=(typed,))
    with pytest.raises(UsageError, match="--dns here: no address"):
        made(dns=("here",))


def test_a_program_that_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_PLACES", ())
    with pytest.raises(NetworkError, match="needs pasta or slirp4netns: apt-get install passt"):
        network.PrivateNetwork("private", (), "/")
    with pytest.raises(NetworkError, match="needs slirp4netns: apt-get install slirp4netns"):
        network.PrivateNetwork("slirp4netns", (), "/")
