"""A registry on loopback that serves one OCI layout and does nothing else: ``python -m benchmark.registry LAYOUT``.

Prints its port. Files go from the disk to the socket in the kernel, so that clients are measured and not this.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TAG = "org.opencontainers.image.ref.name"


class Request(BaseHTTPRequestHandler):
    """GET and HEAD of manifests by tag or digest, and of blobs."""

    protocol_version = "HTTP/1.1"
    layout: Path
    tags: dict[str, dict[str, str]]

    def log_message(self, *arguments: object) -> None: ...

    def do_GET(self) -> None:
        parts = self.path.split("/")
        name = self.tags[parts[-1]]["digest"] if parts[-1] in self.tags else parts[-1]
        path = self.layout / "blobs" / name.replace(":", "/")
        if self.path == "/v2/":
            self._head(200, 0, "text/plain")
        elif name.startswith("sha256:") and path.is_file():
            kind = "application/vnd.oci.image.manifest.v1+json" if "manifests" in parts else "application/octet-stream"
            self._head(200, path.stat().st_size, kind, name)
            if self.command == "GET":
                with path.open("rb") as file:
                    self.wfile.flush()
                    self.connection.sendfile(file)
        else:
            self._head(404, 0, "text/plain")

    do_HEAD = do_GET

    def _head(self, status: int, size: int, kind: str, digest: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.send_header("Content-Type", kind)
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()


if __name__ == "__main__":
    Request.layout = Path(sys.argv[1])
    entries = json.loads((Request.layout / "index.json").read_text())["manifests"]
    Request.tags = {entry["annotations"][TAG]: entry for entry in entries}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
