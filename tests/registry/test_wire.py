"""One request and its answer: where a secret goes, whom we follow, how long we wait (R01, R04, R05, R07, R10)."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cowfs.errors import RegistryError
from cowfs.images.registry.wire import ERROR_BODY, Limits
from tests.images.layouts import MANIFEST, Layout, digest
from tests.images.tars import entry, tar
from tests.registry.conftest import Client, Commands
from tests.support.registry import BASIC, Fault, Registry, Request, serving

BLOB = bytes(range(256)) * 1024
ONE = tar(entry(b"one", data=b"1"))


def redirecting(location: str, part: str = "/blobs/", status: int = 307) -> Fault:
    def fault(request: Request) -> bool:
        if part in request.path and request.command == "GET":
            request.answer(status, Location=location.replace("{path}", request.path))
            return True
        return False

    return fault


# --- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_r01_a_secret_stays_with_its_registry(client: Client, registry: Registry, other: Registry, status: int) -> None:
    registry.login = "basic"
    client.login(registry.name)
    other.blobs[digest(BLOB)] = BLOB
    registry.faults.append(
        lambda request: (
            bool(request.entry.authorization) and redirecting(other.url + "{path}?signature=1", status=status)(request)
        )
    )
    assert client.download(registry.name, digest(BLOB), len(BLOB)) == BLOB
    assert [entry.authorization for entry in registry.log] == ["", BASIC]
    assert [entry.authorization for entry in other.log] == [""]


def test_r01_a_secret_does_not_come_back(client: Client, registry: Registry, other: Registry) -> None:
    """Away and back again: from the first step on, somebody else says where we go."""
    registry.login = "basic"
    client.login(registry.name)

    def fault(request: Request) -> bool:
        if request.path.endswith("?back"):
            request.answer(200, BLOB)
            return True
        return bool(request.entry.authorization) and redirecting(other.url + "{path}")(request)

    registry.faults.append(fault)
    other.faults.append(redirecting(registry.url + "{path}?back"))
    assert client.download(registry.name, digest(BLOB), len(BLOB)) == BLOB
    assert [entry.authorization for entry in registry.log] == ["", BASIC, ""]


def test_r01_a_secret_goes_along_within_its_registry(client: Client, registry: Registry) -> None:
    registry.login = "basic"
    client.login(registry.name)
    registry.blobs[digest(BLOB)] = BLOB

    def fault(request: Request) -> bool:
        if request.entry.authorization and not request.path.endswith("?moved"):
            request.answer(307, Location=request.path + "?moved")  # without scheme and host
            return True
        return False

    registry.faults.append(fault)
    assert client.download(registry.name, digest(BLOB), len(BLOB)) == BLOB
    assert registry.log[-1].authorization == BASIC


def test_r01_five_redirects_and_no_more(client: Client, registry: Registry) -> None:
    left = 5
    registry.blobs[digest(BLOB)] = BLOB

    def fault(request: Request) -> bool:
        nonlocal left
        left -= 1
        if left >= 0:
            request.answer(307, Location=f"{request.path}?{left}")
        return left >= 0

    registry.faults.append(fault)
    assert client.download(registry.name, digest(BLOB), len(BLOB)) == BLOB
    left = 30
    registry.log.clear()
    with pytest.raises(RegistryError, match="redirects more than 5 times"):
        client.download(registry.name, digest(BLOB + b"x"), len(BLOB) + 1)
    assert len(registry.log) == 6


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "//user:password@127.0.0.1/x",
        "http://127.0.0.1\\@evil.example/x",
        "http://127.0.0.1:99999/x",
        "gopher:x",
        "http://[::1/x",
        "http://exa mple/x",
    ],
)
def test_r01_what_is_no_place_to_go(client: Client, registry: Registry, location: str) -> None:
    registry.faults.append(redirecting(location))
    with pytest.raises(RegistryError, match="sends us to"):
        client.download(registry.name, digest(BLOB), len(BLOB))
    assert len(registry.log) == 1
    assert client.sleeps == []


def test_r01_a_registry_of_the_network_does_not_send_us_to_this_machine(
    client: Client, registry: Registry, other: Registry
) -> None:
    """Our registry plays the proxy, and so one elsewhere."""
    registry.faults.append(redirecting(other.url + "/x", part="registry.example"))
    client.configure(f'["registry.example"]\ninsecure = true\nproxy = "{registry.url}"\n')
    with pytest.raises(RegistryError, match="an address of this machine"):
        client.download("registry.example", digest(BLOB), len(BLOB))
    assert len(registry.log) == 1
    assert other.log == []


def test_r10_the_body_of_a_redirect_is_not_read(client: Client, registry: Registry) -> None:
    sent = 0
    registry.blobs[digest(BLOB)] = BLOB

    def fault(request: Request) -> bool:
        nonlocal sent
        if request.path.endswith("?moved"):
            return False
        request.send_response(307)
        request.send_header("Location", request.path + "?moved")
        request.send_header("Connection", "close")
        request.close_connection = True
        request.end_headers()
        while sent < 64 << 20:
            request.wfile.write(bytes(64 << 10))
            sent += 64 << 10
        return True

    registry.faults.append(fault)
    assert client.download(registry.name, digest(BLOB), len(BLOB)) == BLOB
    assert sent < 16 << 20


# --- TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody signed but itself."""
    file = tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file, "-out", f"{file}.crt"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    with open(file, "ab") as out:
        out.write(Path(f"{file}.crt").read_bytes())
    return file


@pytest.fixture
def secure(certificate: Path) -> Iterator[Registry]:
    with serving(certificate) as found:
        yield found


def test_r04_a_certificate_that_nobody_vouches_for(client: Client, secure: Registry) -> None:
    client.configure(f'["{secure.name}"]\ninsecure = false\n')
    with pytest.raises(RegistryError, match="cannot be trusted: self-signed certificate") as caught:
        client.download(secure.name, digest(BLOB), len(BLOB))
    assert "ca = FILE" in str(caught.value)
    assert secure.log == []


def test_r04_a_certificate_that_was_configured(client: Client, secure: Registry, certificate: Path) -> None:
    secure.blobs[digest(BLOB)] = BLOB
    client.configure(f'["{secure.name}"]\ninsecure = false\nca = "{certificate}.crt"\n')
    assert client.download(secure.name, digest(BLOB), len(BLOB)) == BLOB


def test_r04_https_is_not_left_for_http(
    client: Client, secure: Registry, registry: Registry, certificate: Path
) -> None:
    secure.faults.append(redirecting(registry.url + "{path}"))
    client.configure(f'["{secure.name}"]\ninsecure = false\nca = "{certificate}.crt"\n')
    with pytest.raises(RegistryError, match="sends us from https to"):
        client.download(secure.name, digest(BLOB), len(BLOB))
    assert registry.log == []


def test_r04_a_token_server_with_a_bad_certificate(client: Client, registry: Registry, secure: Registry) -> None:
    registry.login, registry.realm = "bearer", f"{secure.url}/token"
    client.login(registry.name)
    with pytest.raises(RegistryError, match="cannot be trusted"):
        client.download(registry.name, digest(BLOB), len(BLOB))
    assert secure.log == []


def test_r04_http_where_tls_was_wanted(client: Client, registry: Registry) -> None:
    client.configure(f'["{registry.name}"]\ninsecure = false\n')
    client.limits.head = 1.0
    client.limits.silence = 1.0  # Python's server waits for the end of a line that TLS does not send
    with pytest.raises(RegistryError):
        client.download(registry.name, digest(BLOB), len(BLOB))
    assert registry.log == []


# --- the environment


def test_r05_netrc_proxies_and_bundles_of_the_environment(
    cowfs: Commands, registry: Registry, other: Registry, layout: Layout
) -> None:
    layout.image(ONE)
    registry.add(layout.path)
    (cowfs.home / ".netrc").write_text("machine 127.0.0.1 login planted password planted\n")
    os.chmod(cowfs.home / ".netrc", 0o600)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        cowfs.environ[name] = other.url
    cowfs.environ["REQUESTS_CA_BUNDLE"] = cowfs.environ["CURL_CA_BUNDLE"] = "/nonexistent"
    cowfs.pull(f"{registry.name}/image:image")
    assert {entry.authorization for entry in registry.log} == {""}
    assert other.log == []


def test_r05_a_proxy_that_was_configured(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    """Our registry plays the proxy: it gets whole URLs."""
    layout.image(ONE)
    registry.add(layout.path)

    def fault(request: Request) -> bool:
        request.path = request.path.removeprefix("http://registry.example")
        return False

    registry.faults.append(fault)
    file = cowfs.home / "registries.toml"
    file.write_text(f'proxy = "{registry.url}"\n["registry.example"]\ninsecure = true\n')
    cowfs.environ["COWFS_REGISTRIES"] = str(file)
    cowfs.pull("registry.example/image:image")
    assert {entry.path.partition("/v2/")[0] for entry in registry.log} == {"http://registry.example"}


def test_cookies_are_not_kept(client: Client, registry: Registry) -> None:
    registry.blobs[digest(BLOB)] = BLOB
    registry.faults.append(
        lambda request: len(registry.log) == 1 and not request.answer(503, Set_Cookie="tracked=1", Retry_After="0")
    )
    assert client.download(registry.name, digest(BLOB), len(BLOB)) == BLOB
    assert [entry.headers.get("Cookie") for entry in registry.log] == [None, None]


# --- too slow, too much


class Impatient(Limits):
    """The real ones divided by a hundred."""

    connect, silence, head, window, document = 1.0, 0.3, 0.6, 0.3, 1.0


def test_r07_the_limits_end_a_stall_within_a_minute() -> None:
    """A drip ends when the window is over, silence when nothing came; together within 60 s."""
    assert Limits.window + Limits.silence <= 60
    assert Limits.head <= 60
    assert Limits.rate == 1024


@pytest.mark.parametrize("how", ["drip", "stall", "head"])
def test_r07_who_drips_or_stalls_is_left_and_gone_on_with(client: Client, registry: Registry, how: str) -> None:
    client.limits = Impatient()
    client.renew()
    registry.blobs[digest(BLOB)] = BLOB
    start = len(BLOB) * 99 // 100

    def fault(request: Request) -> bool:
        if len(registry.log) != 1:
            return False
        if how == "head":
            for letter in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                request.wfile.write(bytes([letter]))
                time.sleep(0.05)
        request.send_response(200)
        request.send_header("Content-Length", str(len(BLOB)))
        request.end_headers()
        request.wfile.write(BLOB[:start])
        while how == "stall":
            time.sleep(0.05)
            if len(registry.log) > 1:
                return True
        for at in range(start, len(BLOB)):
            request.wfile.write(BLOB[at : at + 1])
            time.sleep(0.02)
        return True

    registry.faults.append(fault)
    assert client.download(registry.name, digest(BLOB), len(BLOB)) == BLOB
    first, second = registry.log
    asked = int(second.headers.get("Range", "bytes=0-")[6:-1])
    assert asked == 0 if how == "head" else start <= asked < start + 600
    assert client.sleeps == [1.0 if how == "head" else 0.0]
    assert "Range" not in first.headers


def test_r07_a_document_has_a_deadline_besides_a_rate(client: Client, registry: Registry) -> None:
    client.limits = Impatient()
    client.renew()

    def fault(request: Request) -> bool:
        request.send_response(200)
        request.send_header("Content-Length", str(4 << 20))
        request.end_headers()
        while True:
            request.wfile.write(bytes(1024))
            time.sleep(0.02)

    registry.faults.append(fault)
    with pytest.raises(RegistryError, match="takes longer than 1 seconds"):
        client.repository(registry.name).manifest("latest")
    assert len(registry.log) == 1


@pytest.mark.parametrize("part", ["/manifests/", "/token", "error"])
def test_r10_what_has_no_end_is_not_read_to_it(client: Client, registry: Registry, part: str) -> None:
    sent = 0

    def fault(request: Request) -> bool:
        nonlocal sent
        if part not in request.path and part != "error":
            return False
        request.send_response(400 if part == "error" else 200)
        request.send_header("Content-Type", MANIFEST)
        request.send_header("Connection", "close")
        request.close_connection = True
        request.end_headers()
        while sent < 64 << 20:
            request.wfile.write(bytes(64 << 10))
            sent += 64 << 10
        return True

    registry.faults.append(fault)
    registry.login = "bearer" if part == "/token" else ""
    with pytest.raises(RegistryError, match="status 400" if part == "error" else "is larger than"):
        client.repository(registry.name).manifest("latest")
    assert sent < (ERROR_BODY if part == "error" else 4 << 20) + (16 << 20)  # with what lies in socket buffers


def test_r10_more_than_a_hundred_headers(client: Client, registry: Registry) -> None:
    registry.faults.append(lambda request: not request.answer(200, b"{}", **{f"X_{n}": "x" for n in range(150)}))
    with pytest.raises(RegistryError, match="got more than 100 headers"):
        client.repository(registry.name).manifest("latest")


def test_r10_html_instead_of_json(client: Client, registry: Registry) -> None:
    page = b"<html>Please log in to the hotel's network</html>"
    registry.faults.append(lambda request: not request.answer(404, page, Content_Type="text/html"))
    with pytest.raises(Exception, match=r"has no manifest latest of image$"):
        client.repository(registry.name).manifest("latest")


def test_what_a_registry_says_is_shown_in_one_line(cowfs: Commands, registry: Registry) -> None:
    body = b'{"errors":[{"code":"X","message":"\\u001b[31mred\\nline"}]}'
    registry.faults.append(lambda request: not request.answer(404, body))
    assert cowfs.refused(f"{registry.name}/image").endswith(r"(\x1b[31mred\nline)")
