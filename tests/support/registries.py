"""Registries on loopback: Debian's docker-registry, and one of ours that can be told to misbehave.

`real_registry` is the reference implementation, filled by skopeo from archives. `FakeRegistry` serves what `publish`
put into it, notes each request, and lets a test answer in its place (`hook`): wrong bytes, half of them, redirects.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from minidock.image.http import Timing
from tests.support.images import digest, file, gz, image_config, tar
from tests.support.netns import DIES_WITH_US
from tests.support.wait import eventually

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
BUSYBOX = f"docker-archive:{Path(__file__).parents[2]}/rootfs/build/busybox.tar:busybox:latest"  # as skopeo calls it

# For pulls of images that are made by hand: impatient, and two layers.
QUICK = Timing(connect=1, read=0.3, window=0.5, window_bytes=100, attempts=2, pause=0.01, longest_pause=0.05)
BASE = tar(file("base", b"B" * 100_000))
TOP = tar(file("top", b"T" * 1000))


@dataclass(frozen=True)
class Request:
    """A request that came: method, path with query, headers by lower-case name."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """An answer. `cut` closes the connection after so many bytes of the body, `drip` waits between single bytes."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    drip: float = 0


def refusal(status: int, code: str, message: str, **headers: str) -> Reply:
    return Reply(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 200

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the game."""


class FakeRegistry:
    """One registry. `hook(request)` may return a Reply of its own, or None."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}  # by "name:tag" and "name@digest"
        self.requests: list[Request] = []
        self.hook: Callable[[Request], Reply | None] = lambda request: None
        self._server = _Server((address, 0), self._handler())
        self.host = f"{address}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def paths(self, part: str) -> list[str]:
        """The paths of requests that hold `part`."""
        return [request.path for request in self.requests if part in request.path]

    # -- what it holds

    def add_blob(self, data: bytes) -> dict[str, Any]:
        self.blobs[digest(data)] = data
        return {"digest": digest(data), "size": len(data)}

    def add_manifest(self, name: str, tag: str, value: dict[str, Any], kind: str = MANIFEST) -> dict[str, Any]:
        data = json.dumps(value).encode()
        for key in (f"{name}:{tag}", f"{name}@{digest(data)}"):
            self.manifests[key] = (kind, data)
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    def publish(self, name: str, tag: str, layers: Sequence[bytes], **config: Any) -> dict[str, Any]:
        """An image of these (uncompressed) layers; returns the descriptor of its manifest."""
        kind = "application/vnd.oci.image."
        value = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": kind + "config.v1+json", **self.add_blob(image_config(layers, **config))},
            "layers": [{"mediaType": kind + "layer.v1.tar+gzip", **self.add_blob(gz(layer))} for layer in layers],
        }
        return self.add_manifest(name, tag, value)

    # -- how it answers

    def _reply(self, request: Request) -> Reply:
        reply = self.hook(request)
        if reply is not None:
            return reply
        path = request.path.partition("?")[0]
        if path == "/v2/":
            return Reply()
        name, _, last = path.removeprefix("/v2/").rpartition("/")
        if name.endswith("/blobs") and last in self.blobs:
            return Reply(body=self.blobs[last])
        name = name.removesuffix("/manifests")
        found = self.manifests.get(f"{name}@{last}" if ":" in last else f"{name}:{last}")
        if found:
            headers = {"Content-Type": found[0], "Docker-Content-Digest": digest(found[1])}
            return Reply(body=found[1], headers=headers)
        return refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")

    def _handler(registry) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                registry.requests.append(request)
                try:
                    self._send(registry._reply(request))
                except OSError:
                    self.close_connection = True

            do_POST = do_PUT = do_PATCH = do_HEAD = do_GET

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                body = reply.body if reply.cut is None else reply.body[: reply.cut]
                body = b"" if self.command == "HEAD" else body
                self.close_connection = reply.cut is not None
                for at in range(len(body) if reply.drip else 0):
                    self.wfile.write(body[at : at + 1])
                    time.sleep(reply.drip)
                if not reply.drip:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def fake_registry(address: str = "127.0.0.1") -> Iterator[FakeRegistry]:
    registry = FakeRegistry(address)
    try:
        yield registry
    finally:
        registry.close()


CONFIG = """version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
AUTH = "auth: {{htpasswd: {{realm: here, path: {folder}/users}}}}\n"
USERS = "me:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n"  # the password is secret; bcrypt


def free_port() -> int:
    """A port of the loopback that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def real_registry(folder: Path, port: int, prefix: Sequence[str] = (), locked: bool = False) -> Iterator[str]:
    """Debian's docker-registry at 127.0.0.1:`port`; `prefix` is a command that runs a command, in another netns say.

    ``locked``: only for the user me with the password secret.
    """
    folder.mkdir(exist_ok=True)
    config = folder / "config.yml"
    text = CONFIG.format(folder=folder / "data", port=port) + (AUTH.format(folder=folder) if locked else "")
    config.write_text(text)
    (folder / "users").write_text(USERS)
    with (folder / "log").open("wb") as log:
        command = [*DIES_WITH_US, *prefix, "docker-registry", "serve", str(config)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            eventually(lambda: "listening on" in (folder / "log").read_text(), "docker-registry to serve", timeout=30)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def fill(registry: str, source: str, name: str, prefix: Sequence[str] = ()) -> None:
    """Copies an image (skopeo's name for it) into a registry."""
    command = [*prefix, "skopeo", "copy", "-q", "--dest-tls-verify=false", source, f"docker://{registry}/{name}"]
    subprocess.run(command, check=True)
