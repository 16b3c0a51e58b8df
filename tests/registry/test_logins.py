"""Who we are, and whom we tell: challenges, tokens, realms (R02), the files and helpers of docker and podman."""

import base64
import json
import os
from pathlib import Path

import pytest

from cowfs.errors import RegistryError
from cowfs.images.registry import credentials
from cowfs.images.registry.challenge import Challenge, choose, parse
from cowfs.images.registry.settings import Endpoint, Host
from cowfs.images.registry.tokens import Authorizer
from cowfs.images.registry.wire import Wire
from tests.images.layouts import Layout, digest
from tests.images.tars import entry, tar
from tests.registry.conftest import Client, Commands
from tests.support.registry import Registry, login_file

BLOB = b"blob" * 1000
NAME = digest(BLOB)
ONE, TWO = tar(entry(b"one", data=b"1")), tar(entry(b"two", data=b"2"))


@pytest.mark.parametrize("login", ["basic", "bearer"])
def test_a_login_is_needed_and_found(cowfs: Commands, registry: Registry, layout: Layout, login: str) -> None:
    layout.image(ONE, TWO)
    registry.add(layout.path)
    registry.login = login
    name = f"{registry.name}/image:image"
    message = cowfs.refused(name)
    assert "to nobody without a login" in message
    assert f"docker login {registry.name}" in message
    login_file(cowfs.home / ".docker/config.json", registry.name)
    registry.log.clear()
    cowfs.pull(name)
    refused = [entry for entry in registry.log if "/v2/" in entry.path and not entry.authorization]
    assert len(refused) == 1, "the challenge is asked for once"
    assert len(registry.asked("GET", "/token")) == (1 if login == "bearer" else 0)


@pytest.mark.parametrize("login", ["basic", "bearer"])
def test_a_wrong_password_is_said_with_its_file_and_never_shown(
    cowfs: Commands, registry: Registry, login: str
) -> None:
    registry.login = login
    file = cowfs.home / ".docker/config.json"
    wrong = base64.b64encode(b"lab:wrong-password").decode()
    file.parent.mkdir()
    file.write_text(json.dumps({"auths": {registry.name: {"auth": wrong}}}))
    message = cowfs.refused(f"{registry.name}/image")
    assert message == f"{registry.name} refuses image with the credentials of 'lab' from {file}"
    assert len(registry.log) == 2


def test_a_token_is_used_until_it_ends(client: Client, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.login = "bearer"
    client.login(registry.name)
    registry.blobs[NAME] = BLOB
    now = 0.0
    monkeypatch.setattr("cowfs.images.registry.tokens.time.monotonic", lambda: now)
    for wanted, at in ((1, 0.0), (1, 49.0), (2, 51.0)):
        now = at
        assert client.repository(registry.name).document(NAME) == BLOB
        assert len(registry.asked("GET", "/token")) == wanted


def test_a_token_that_ended_early_is_renewed_once(client: Client, registry: Registry) -> None:
    registry.login = "bearer"
    client.login(registry.name)
    registry.blobs[NAME] = BLOB
    client.repository(registry.name).document(NAME)
    registry.token = "another"
    assert client.repository(registry.name).document(NAME) == BLOB
    registry.log.clear()
    registry.faults.append(
        lambda request: (
            "/blobs/" in request.path
            and not request.answer(401, WWW_Authenticate=f'Bearer realm="{registry.url}/token",service="x"')
        )
    )
    with pytest.raises(RegistryError, match="refuses image"):
        client.repository(registry.name).document(NAME)
    assert len(registry.log) <= 5


def test_the_scope_is_the_repository_and_no_more(client: Client, registry: Registry) -> None:
    registry.login = "bearer"
    client.login(registry.name)
    registry.faults.append(
        lambda request: (
            "/v2/" in request.path
            and not request.entry.authorization
            and not request.answer(
                401, WWW_Authenticate=f'Bearer realm="{registry.url}/token",service="s",scope="repository:all:*"'
            )
        )
    )
    registry.blobs[NAME] = BLOB
    client.repository(registry.name).document(NAME)
    assert registry.asked("GET", "/token")[0].path == "/token?service=s&scope=repository%3Aimage%3Apull"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"[]",
        b"{}",
        b"<html>",
        b'{"token":7}',
        b'{"token":"a\\nb"}',
        b'{"token":"t","expires_in":"x"}',
        b"[" * 99999,
    ],
)
def test_what_is_no_token_is_said(client: Client, registry: Registry, sent: bytes) -> None:
    registry.login = "bearer"
    registry.faults.append(lambda request: "/token" in request.path and not request.answer(200, sent))
    with pytest.raises(RegistryError, match="token"):
        client.repository(registry.name).document(NAME)


# --- realms


def realm(text: str, registry: str = "registry.example", **host: object) -> None:
    """What becomes of a challenge with this realm where we have a login: a request, or RegistryError."""

    class Recorded(Wire):
        def send(self, endpoint, method, url, **more):  # type: ignore[no-untyped-def]
            raise AssertionError(f"asked {url} {more}")

    found = credentials.Credentials("lab", "secret", source="a test")
    authorizer = Authorizer(Recorded(), lambda registry, path: found)
    endpoint = Endpoint(registry, "image", Host(**host))  # type: ignore[arg-type]
    authorizer._challenges[registry] = Challenge("bearer", text, "service")
    authorizer.header(endpoint, "repository:image:pull")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://evil.example.net/token", "credentials to be sent to evil.example.net"),
        ("https://registry.example.evil.net/token", "credentials to be sent to"),
        ("https://example/token", "credentials to be sent to example"),
        ("http://registry.example/token", "from https to"),
        ("http://127.0.0.1/token", "from https to"),
        ("https://127.0.0.1/token", "an address of this machine"),
        ("https://localhost/token", "an address of this machine"),
        ("https://[::1]/token", "an address of this machine"),
        ("https://169.254.169.254/latest/meta-data", "an address of this machine"),
        ("http://169.254.169.254/latest/meta-data", "from https to"),
        ("https://0.0.0.0/", "an address of this machine"),
        ("file:///etc/shadow", "no http or https URL"),
        ("", "no http or https URL"),
        ("https://registry.example@evil.net/", "no http or https URL"),
        ("https://registry.example\\@evil.net/", "no http or https URL"),
        ("//registry.example/token", "no http or https URL"),
    ],
)
def test_r02_a_realm_that_gets_no_secret(text: str, words: str) -> None:
    with pytest.raises(RegistryError, match=words):
        realm(text)


@pytest.mark.parametrize(
    ("text", "registry", "host"),
    [
        ("https://registry.example/token", "registry.example", {}),
        ("https://registry.example:8443/token", "registry.example", {}),
        ("https://auth.docker.io/token", "docker.io", {}),
        ("https://gitlab.com/jwt/auth", "registry.gitlab.com", {}),
        ("https://login.other.net/token", "registry.example", {"realm": "login.other.net"}),
        ("http://127.0.0.1:5003/token", "127.0.0.1:5002", {}),
    ],
)
def test_r02_a_realm_that_gets_one(text: str, registry: str, host: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match=r"asked https?://[^ ]+service=service"):
        realm(text, registry, **host)


def test_r02_a_realm_without_tls_on_another_host() -> None:
    with pytest.raises(RegistryError, match="another host and without TLS"):
        realm("http://other.example/token", "registry.example", insecure=True)


def test_r02_nobody_is_asked(cowfs: Commands, registry: Registry, other: Registry) -> None:
    """As it looks to a person; the realm is a host of its own, though on this machine, too."""
    registry.login, registry.realm = "bearer", f"http://localhost:{other.port}/token"
    login_file(cowfs.home / ".docker/config.json", registry.name)
    assert "another host and without TLS" in cowfs.refused(f"{registry.name}/image")
    assert other.log == []


# --- challenges


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Basic realm="x"', Challenge("basic", "x")),
        ("basic", Challenge("basic")),
        (
            'Bearer realm="https://a/t",service="s",scope="a:b:pull,push"',
            Challenge("bearer", "https://a/t", "s", "a:b:pull,push"),
        ),
        ('BEARER Realm=https://a/t , SERVICE="s"', Challenge("bearer", "https://a/t", "s")),
        ('Basic realm="x", Bearer realm="y"', Challenge("bearer", "y")),
        ('Negotiate, Basic realm="a \\"b\\" c"', Challenge("basic", 'a "b" c')),
        ('Bearer realm="x",realm="y"', Challenge("bearer", "x")),
        ("Negotiate abc==", None),
        ("", None),
        ('Bearer realm="unterminated', Challenge("bearer")),
    ],
)
def test_challenges(header: str, found: Challenge | None) -> None:
    assert choose(parse(header)) == found


# --- files and helpers


def entry_of(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:secret".encode()).decode()}


def found_in(home: Path, registry: str, path: str = "a/b", **environ: str) -> str | None:
    found = credentials.find({"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), **environ}, registry, path)
    return found and found.user


def write(file: Path, **content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("key", "registry", "fits"),
    [
        ("registry.example", "registry.example", True),
        ("https://registry.example", "registry.example", True),
        ("https://registry.example/v1/", "registry.example", True),
        ("registry.example/a", "registry.example", True),
        ("registry.example/a/b", "registry.example", True),
        ("registry.example/a/b/c", "registry.example", False),
        ("registry.example/x", "registry.example", False),
        ("registry.example:5000", "registry.example", False),
        ("example", "registry.example", False),
        ("https://index.docker.io/v1/", "docker.io", True),
        ("docker.io", "docker.io", True),
        ("https://index.docker.io/v1/", "registry.example", False),
    ],
)
def test_keys_of_a_config(home: Path, key: str, registry: str, fits: bool) -> None:
    write(home / ".docker/config.json", auths={key: entry_of("lab")})
    assert found_in(home, registry) == ("lab" if fits else None)


def test_the_narrowest_key_counts(home: Path) -> None:
    auths = {"r.example": entry_of("wide"), "r.example/a/b": entry_of("narrow"), "r.example/a": entry_of("middle")}
    write(home / "run/containers/auth.json", auths=auths)
    assert found_in(home, "r.example") == "narrow"
    assert found_in(home, "r.example", "a/c") == "middle"
    assert found_in(home, "r.example", "c") == "wide"


def test_the_order_of_files(home: Path, tmp_path: Path) -> None:
    files = [
        (home / ".docker/config.json", "docker"),
        (home / ".config/containers/auth.json", "podman, kept"),
        (home / "run/containers/auth.json", "podman"),
    ]
    for file, user in files:
        write(file, auths={"r.example": entry_of(user)})
        assert found_in(home, "r.example") == user
    write(tmp_path / "docker/config.json", auths={"r.example": entry_of("elsewhere")})
    for file, _ in files[1:]:
        file.unlink()
    assert found_in(home, "r.example", DOCKER_CONFIG=str(tmp_path / "docker")) == "elsewhere"
    write(tmp_path / "named.json", auths={})
    assert found_in(home, "r.example", REGISTRY_AUTH_FILE=str(tmp_path / "named.json")) is None


def helper(tmp_path: Path, name: str, script: str) -> str:
    """A PATH with the program docker-credential-NAME; what it was asked is in ``asked``."""
    program = tmp_path / "bin" / f"docker-credential-{name}"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nread -r server\necho "$1 $server" >>{tmp_path}/asked\n{script}\n')
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


ANSWER = """echo '{"ServerURL":"x","Username":"helped","Secret":"secret"}'"""


@pytest.mark.parametrize(
    ("content", "registry", "asked"),
    [
        ({"credsStore": "store"}, "r.example", "get r.example\n"),
        ({"credHelpers": {"r.example": "store"}}, "r.example", "get r.example\n"),
        ({"credHelpers": {"r.example": "store"}, "credsStore": "absent"}, "r.example", "get r.example\n"),
        ({"credsStore": "store"}, "docker.io", "get https://index.docker.io/v1/\n"),
    ],
)
def test_helpers(home: Path, tmp_path: Path, content: dict[str, object], registry: str, asked: str) -> None:
    path = helper(tmp_path, "store", ANSWER)
    write(home / ".docker/config.json", auths={registry: entry_of("filed")}, **content)
    assert found_in(home, registry, PATH=path) == "helped"
    assert (tmp_path / "asked").read_text() == asked


def test_a_helper_that_knows_nothing_leaves_it_to_the_file(home: Path, tmp_path: Path) -> None:
    path = helper(tmp_path, "store", 'echo "credentials not found in native keychain"; exit 1')
    write(home / ".docker/config.json", auths={"r.example": entry_of("filed")}, credsStore="store")
    assert found_in(home, "r.example", PATH=path) == "filed"


@pytest.mark.parametrize(
    ("name", "script", "words"),
    [
        ("absent", None, "there is no program docker-credential-absent"),
        ("../../bin/sh", None, "there is no program"),
        ("store", "exit 3", "docker-credential-store failed with status 3"),
        ("store", "echo not json", "is not what a credential helper says"),
        ("store", "echo '[]'", "is not what a credential helper says"),
    ],
)
def test_helpers_that_fail(home: Path, tmp_path: Path, name: str, script: str | None, words: str) -> None:
    path = helper(tmp_path, name, script) if script else os.environ["PATH"]
    write(home / ".docker/config.json", credsStore=name)
    with pytest.raises(RegistryError, match=words):
        found_in(home, "r.example", PATH=path)


def test_an_identity_token_is_exchanged(client: Client, registry: Registry, tmp_path: Path) -> None:
    registry.login = "bearer"
    registry.blobs[NAME] = BLOB
    write(client.home / ".docker/config.json", auths={registry.name: {"identitytoken": "the-identity"}})
    assert client.repository(registry.name).document(NAME) == BLOB
    (asked,) = registry.asked("POST", "/token")
    assert asked.authorization == ""
    assert b"grant_type=refresh_token" in asked.body


def test_a_registry_token_is_used_as_it_is(client: Client, registry: Registry) -> None:
    registry.login = "bearer"
    registry.blobs[NAME] = BLOB
    write(client.home / ".docker/config.json", auths={registry.name: {"registrytoken": registry.token}})
    assert client.repository(registry.name).document(NAME) == BLOB
    assert registry.asked("GET", "/token") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not valid JSON"),
        ("[" * 99999, "is not valid JSON"),
        ("[]", "is not an object"),
        ('{"auths":{"r.example":{"auth":"%%%"}}}', "is not base64"),
    ],
)
def test_a_config_that_is_broken_is_named(home: Path, text: str, words: str) -> None:
    file = home / ".docker/config.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(RegistryError, match=words) as caught:
        found_in(home, "r.example")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    "text", ['{"auths":[]}', '{"auths":{"r.example":7}}', '{"auths":{"r.example":{}}}', "{}", '{"credHelpers":null}']
)
def test_a_config_without_us(home: Path, text: str) -> None:
    file = home / ".docker/config.json"
    file.parent.mkdir()
    file.write_text(text)
    assert found_in(home, "r.example") is None


def test_secrets_are_not_in_a_repr() -> None:
    assert "secret" not in repr(credentials.Credentials("lab", "secret", "secret", "secret", "file"))
