"""A registry on 127.0.0.1 that does what a test says: plain, with logins, lying, cutting, slow.

It serves what an OCI layout of the tests holds, and takes uploads. ``log`` has every request. A *fault* gets each
request first and may answer it in its own way; :class:`Request` has what it needs for that.
"""

import base64
import hashlib
import json
import os
import re
import socket
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "lab", "secret"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@dataclass
class Entry:
    """One request of the log."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")


class Request(BaseHTTPRequestHandler):
    """One request. Faults answer with :meth:`answer`, or write to ``wfile`` what no server should."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, *arguments: object) -> None: ...

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass  # what a client does is for the test to judge

    def setup(self) -> None:
        super().setup()
        self.server.registry.connections.append(self.connection)

    @property
    def registry(self) -> "Registry":
        return self.server.registry

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer. Underscores in the names of headers are hyphens."""
        self.send_response(status)
        sent = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def cut(self) -> None:
        """End the connection now."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        entry = Entry(self.command, self.path, dict(self.headers), self.rfile.read(length))
        self.entry = entry
        self.registry.log.append(entry)
        for fault in self.registry.faults:
            if fault(self):
                return
        self.registry.serve(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _handle


Fault = Callable[[Request], bool]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    registry: "Registry"

    def handle_error(self, *arguments: object) -> None: ...


@dataclass
class Registry:
    """What it has, and how it behaves."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    log: list[Entry] = field(default_factory=list)
    login: str = ""  # "basic" or "bearer"
    realm: str = ""  # another one than our own /token
    token: str = "the-token"
    piece: int = 1 << 20  # bytes of a blob that are sent at once
    pause: Callable[[], None] = lambda: None  # between two of them
    connections: list[socket.socket] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.name}"

    def add(self, layout: Path, repository: str = "image") -> "Registry":
        """All blobs of a layout, its tagged manifests by tag and digest."""
        for path in (layout / "blobs/sha256").iterdir():
            self.blobs[f"sha256:{path.name}"] = path.read_bytes()
        for entry in json.loads((layout / "index.json").read_text())["manifests"]:
            data = self.blobs[entry["digest"]]
            tag = entry["annotations"]["org.opencontainers.image.ref.name"]
            self.manifests[repository, tag] = data, entry["mediaType"]
            self._add_manifest(repository, data, entry["mediaType"])
        return self

    def _add_manifest(self, repository: str, data: bytes, media_type: str) -> None:
        self.manifests[repository, digest(data)] = data, media_type
        for entry in json.loads(data).get("manifests", ()):
            self._add_manifest(repository, self.blobs[entry["digest"]], entry["mediaType"])

    def blobs_asked(self) -> Counter[str]:
        """How often each blob was asked for."""
        return Counter(entry.path.rpartition("/")[2] for entry in self.asked("GET", "/blobs/"))

    def asked(self, method: str, part: str) -> list[Entry]:
        return [entry for entry in list(self.log) if entry.method == method and part in entry.path]

    # --- the plain registry

    def serve(self, request: Request) -> None:
        path = urlsplit(request.path).path
        if path == "/token":
            self._serve_token(request)
        elif not self._is_allowed(request):
            challenge = f'Basic realm="{self.name}"' if self.login == "basic" else self._bearer(request)
            request.answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', WWW_Authenticate=challenge)
        elif match := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            self._serve_manifest(request, match[1], match[2])
        elif match := re.fullmatch(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})", path):
            self._serve_blob(request, match[2])
        elif match := re.fullmatch(r"/v2/(.+)/blobs/uploads/(.*)", path):
            self._serve_upload(request, match[1], match[2])
        else:
            request.answer(404)

    def _bearer(self, request: Request) -> str:
        repository = re.sub(r"^/v2/|/(manifests|blobs)/.*$", "", urlsplit(request.path).path)
        realm = self.realm or f"{self.url}/token"
        return f'Bearer realm="{realm}",service="{self.name}",scope="repository:{repository}:pull"'

    def _is_allowed(self, request: Request) -> bool:
        wanted = {"": None, "basic": BASIC, "bearer": f"Bearer {self.token}"}[self.login]
        return wanted is None or request.entry.authorization == wanted

    def _serve_token(self, request: Request) -> None:
        form = parse_qs(request.entry.body.decode())
        if request.entry.authorization == BASIC or form.get("refresh_token") == ["the-identity"]:
            request.answer(200, json.dumps({"token": self.token}).encode(), Content_Type="application/json")
        else:
            request.answer(401)

    def _serve_manifest(self, request: Request, repository: str, name: str) -> None:
        if request.command == "PUT":
            data, media_type = request.entry.body, request.headers["Content-Type"]
            self.manifests[repository, name] = self.manifests[repository, digest(data)] = data, media_type
            request.answer(201, Docker_Content_Digest=digest(data))
        elif found := self.manifests.get((repository, name)):
            data, media_type = found
            request.answer(200, data, Content_Type=media_type, Docker_Content_Digest=digest(data))
        else:
            request.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

    def _serve_blob(self, request: Request, name: str) -> None:
        data = self.blobs.get(name)
        if data is None:
            request.answer(404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}')
            return
        start = first_byte(request)
        if start >= len(data) > 0:
            request.answer(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        if request.command == "HEAD":
            return
        for at in range(start, len(data), self.piece):
            request.wfile.write(data[at : at + self.piece])
            self.pause()

    def _serve_upload(self, request: Request, repository: str, name: str) -> None:
        where = f"/v2/{repository}/blobs/uploads/"
        if request.command == "POST":
            request.answer(202, Location=f"{where}{len(self.log)}?state=1")
        elif request.command == "PATCH":
            self.blobs[where + name] = self.blobs.get(where + name, b"") + request.entry.body
            request.answer(202, Location=f"{where}{name}?state=2")
        else:
            data = self.blobs.pop(where + name, b"") + request.entry.body
            (wanted,) = parse_qs(urlsplit(request.path).query)["digest"]
            if digest(data) != wanted:
                request.answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
                return
            self.blobs[wanted] = data
            request.answer(201, Location=f"/v2/{repository}/blobs/{wanted}")


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def first_byte(request: Request) -> int:
    """Where the range begins that a request asks for."""
    found = re.fullmatch(r"bytes=([0-9]+)-", request.headers.get("Range", ""))
    return int(found[1]) if found else 0


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Registry]:
    """An empty registry; with TLS where a file of key and certificate is given."""
    server = _Server(("127.0.0.1", 0), Request)
    server.registry = registry = Registry(port=server.server_address[1])
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        registry.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for connection in registry.connections:
            connection.close()


def login_file(path: Path, *names: str, **more: Any) -> Path:
    """A config.json of docker with our login at the registries ``names``."""
    entry = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": dict.fromkeys(names, entry)} | more))
    return path


def command(program: str, *arguments: str) -> list[str]:
    """A command line of cowfs or cowrun, as of this checkout."""
    return [sys.executable, "-c", f"from {program} import main; main()", *arguments]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Variables for a command whose user is at ``home`` and configured nothing."""
    home.mkdir(exist_ok=True)
    ours = {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "PATH", "LANG", "LC_"))}
    return {**ours, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "COWFS_ROOT": str(home / "store")} | more
