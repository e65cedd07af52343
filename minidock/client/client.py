"""class Client: one method per endpoint of the API.

For minidock/cli and for programs. Arguments are what the endpoint takes; results are the decoded JSON with Docker's
keys, or a small tuple where the answer has few parts. Every error is one of wire/errors.py with the daemon's message.
A method that streams gives an iterator or a Response; the connection is free again when it has been read to its end.
Not thread-safe: a Client a thread. The endpoints: Docker Engine API v1.45, ../api/router.py. Read next: connection.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from minidock.client.connection import Connection, Response, Socket
from minidock.client.endpoint import Endpoint, choose
from minidock.wire.errors import Error, InvalidArgument, NotFound, ServerError, from_status
from minidock.wire.version import API_VERSION, VERSION

Json = dict[str, Any]
Query = Mapping[str, object]
Filters = Mapping[str, Sequence[str]]

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
_HEADERS = {"Host": "minidock", "User-Agent": f"minidock/{VERSION}"}
_UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}
_FRAMED = "application/vnd.docker.multiplexed-stream"


class Created(NamedTuple):
    """A new container: its id, and what the daemon warns of."""

    id: str
    warnings: list[str]


class Exit(NamedTuple):
    """How a container ended: its code, and the daemon's own trouble with it if there was any."""

    code: int
    error: str


class Stream(NamedTuple):
    """A hijacked connection: the socket, bytes that came already, and whether stdout and stderr are framed."""

    socket: Socket
    early: bytes
    framed: bool


class Waiting:
    """A wait that the daemon has registered: it is sure to see the next exit. ``result()`` blocks for it."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def fileno(self) -> int:
        """For select and poll: readable when the result is there, or the connection broken."""
        return self._response.connection.socket.fileno()

    def result(self) -> Exit:
        """Raises DaemonUnreachable if the connection breaks first."""
        try:
            body = json.loads(self._response.read())
            return Exit(int(body["StatusCode"]), (body.get("Error") or {}).get("Message", ""))
        except (ValueError, KeyError, TypeError):
            raise ServerError("wait: the daemon's answer is not what it should be") from None


class Client:
    """A client of one daemon, connected to when first needed.

    ``host``: ``unix:///path``, ``tcp://address:port`` or ``ssh://user@host``; an Endpoint where TLS is to be used;
    nothing for what the environment says.
    """

    def __init__(self, host: str | Endpoint | None = None, timeout: float | None = None) -> None:
        self.endpoint = host if isinstance(host, Endpoint) else choose(host, {})
        self.timeout = timeout
        self._idle: Connection | None = None

    # -- requests ------------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Any endpoint: ``path`` without the version; ``body`` is an iterator of bytes, or an object for JSON.

        Raises an Error for an answer of 400 and above. Anything else is the caller's to read.
        """
        sent = {**_HEADERS, **(headers or {})}
        payload: bytes | Iterable[bytes] = b""
        if isinstance(body, Iterator):
            payload = body
            sent["Content-Type"] = "application/x-tar"
        elif body is not None:
            payload = json.dumps(body, separators=(",", ":")).encode()
            sent["Content-Type"] = "application/json"
        connection = self._take()
        response = connection.request(method, f"/v{API_VERSION}{path}{encode_query(query or {})}", sent, payload)
        response.done = self._put
        if response.status >= 400:
            raise from_status(response.status, _message(response))
        return response

    def _take(self) -> Connection:
        idle, self._idle = self._idle, None
        return idle if idle and idle.usable() else Connection(self.endpoint, self.timeout)

    def _put(self, connection: Connection, reusable: bool) -> None:
        if reusable and self._idle is None:
            self._idle = connection
        else:
            connection.close()

    def close(self) -> None:
        """Closes the kept connection. The client can still be used."""
        if self._idle:
            self._idle.close()
        self._idle = None

    def _json(self, method: str, path: str, query: Query | None = None, body: object = None) -> Any:
        data = self.request(method, path, query, body).read()
        try:
            return json.loads(data) if data else {}
        except ValueError:
            raise ServerError(f"{method} {path}: the daemon's answer is no JSON: {data[:80]!r}") from None

    def _do(self, method: str, path: str, query: Query | None = None, body: object = None) -> bool:
        """A request without a result; False if everything was so already (304)."""
        response = self.request(method, path, query, body)
        response.read()
        return response.status != 304

    def _progress(
        self, path: str, query: Query, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Json]:
        """The lines of a pull or load, one object each. An error within them is raised where it comes."""
        response = self.request("POST", path, query, body, headers)
        for line in response.lines():
            if line.strip():
                entry: Json = json.loads(line)
                if entry.get("error"):
                    raise ServerError(str(entry["error"]))
                yield entry

    def _hijack(self, path: str, query: Query | None = None, body: object = None) -> Stream:
        response = self.request("POST", path, query, body, _UPGRADE)
        if response.status not in (101, 200):
            raise ServerError(f"POST {path}: the daemon answered {response.status} instead of giving the connection")
        sock, early = response.hijack()
        sock.settimeout(None)
        return Stream(sock, early, response.headers.get("content-type") == _FRAMED)

    # -- the daemon ----------------------------------------------------------------------------------------------------

    def ping(self) -> bool:
        """True, or DaemonUnreachable."""
        return self._do("GET", "/_ping")

    def version(self) -> Json:
        return self._object("GET", "/version")

    def info(self) -> Json:
        return self._object("GET", "/info")

    def doctor(self) -> list[Json]:
        """Checks of the machine: Name, Status (ok, warn, fail), Detail, Hint. Of minidock, not of Docker."""
        return list(self._object("GET", "/minidock/doctor")["Checks"])

    def leaks(self) -> list[Json]:
        """What exists in the daemon's name and belongs to nobody: Kind, Name, Why. Of minidock, not of Docker."""
        return list(self._object("GET", "/minidock/leaks")["Leaks"])

    def _object(self, method: str, path: str, query: Query | None = None, body: object = None) -> Json:
        found = self._json(method, path, query, body)
        if not isinstance(found, dict):
            raise ServerError(f"{method} {path}: the daemon's answer is no object")
        return found

    # -- containers ----------------------------------------------------------------------------------------------------

    def create(self, config: Json, name: str = "", platform: str = "") -> Created:
        """``config`` is the create body: Docker's Config with HostConfig and NetworkingConfig inside."""
        made = self._object("POST", "/containers/create", {"name": name, "platform": platform}, config)
        return Created(made["Id"], made.get("Warnings") or [])

    def plan(self, config: Json) -> Json:
        """The kernel steps that a start of ``config`` would take; nothing is made. Of minidock, not of Docker."""
        return self._object("POST", "/minidock/plan", body=config)

    def plan_of(self, container: str) -> Json:
        """The steps of a container's last start, each with Errno and Usec. Of minidock, not of Docker."""
        return self._object("GET", f"/minidock{container_path(container)}/plan")

    def start(self, container: str) -> bool:
        """False if it runs already."""
        return self._do("POST", f"{container_path(container)}/start")

    def stop(self, container: str, timeout: int | None = None, signal: str = "") -> bool:
        """``timeout`` in seconds before SIGKILL, -1 for never; False if it was stopped already."""
        return self._do("POST", f"{container_path(container)}/stop", {"t": timeout, "signal": signal})

    def restart(self, container: str, timeout: int | None = None, signal: str = "") -> None:
        self._do("POST", f"{container_path(container)}/restart", {"t": timeout, "signal": signal})

    def kill(self, container: str, signal: str = "") -> None:
        self._do("POST", f"{container_path(container)}/kill", {"signal": signal})

    def rename(self, container: str, name: str) -> None:
        self._do("POST", f"{container_path(container)}/rename", {"name": name})

    def pause(self, container: str) -> None:
        self._do("POST", f"{container_path(container)}/pause")

    def unpause(self, container: str) -> None:
        self._do("POST", f"{container_path(container)}/unpause")

    def remove(self, container: str, force: bool = False, volumes: bool = False) -> None:
        self._do("DELETE", container_path(container), {"force": force, "v": volumes})

    def containers(
        self, all: bool = False, limit: int = 0, size: bool = False, filters: Filters | None = None
    ) -> list[Json]:
        """Newest first. Running ones only, unless ``all``, ``limit`` or a filter on status says otherwise."""
        query = {"all": all, "limit": limit or None, "size": size, "filters": encode_filters(filters)}
        return list(self._json("GET", "/containers/json", query))

    def inspect(self, container: str, size: bool = False) -> Json:
        return self._object("GET", f"{container_path(container)}/json", {"size": size})

    def top(self, container: str, ps_args: str = "") -> Json:
        """``Titles`` and ``Processes``, as ps would print them."""
        return self._object("GET", f"{container_path(container)}/top", {"ps_args": ps_args})

    def logs(self, container: str, query: Query) -> tuple[Response, bool]:
        """The log as a stream of bytes, and whether it is framed. ``query``: stdout, stderr, follow, tail, since, …"""
        response = self.request("GET", f"{container_path(container)}/logs", query)
        return response, response.headers.get("content-type") == _FRAMED

    def attach(
        self, container: str, stdin: bool = False, stdout: bool = True, stderr: bool = True, detach_keys: str = ""
    ) -> Stream:
        query = {"stream": True, "stdin": stdin, "stdout": stdout, "stderr": stderr, "detachKeys": detach_keys}
        return self._hijack(f"{container_path(container)}/attach", query)

    def resize(self, container: str, rows: int, columns: int) -> None:
        self._do("POST", f"{container_path(container)}/resize", {"h": rows, "w": columns})

    def wait(self, container: str, condition: str = "") -> Waiting:
        """Returns when the daemon has registered the wait; ``condition``: not-running, next-exit or removed."""
        return Waiting(self.request("POST", f"{container_path(container)}/wait", {"condition": condition}))

    # -- exec ----------------------------------------------------------------------------------------------------------

    def exec_create(self, container: str, config: Json) -> str:
        """The id of the new exec session."""
        return str(self._object("POST", f"{container_path(container)}/exec", body=config)["Id"])

    def exec_start(self, session: str, config: Json) -> Stream | None:
        """The session's stream, or None if ``config`` says Detach."""
        path = f"/exec/{quote(session)}/start"
        if config.get("Detach"):
            self._do("POST", path, body=config)
            return None
        return self._hijack(path, body=config)

    def exec_resize(self, session: str, rows: int, columns: int) -> None:
        self._do("POST", f"/exec/{quote(session)}/resize", {"h": rows, "w": columns})

    def exec_inspect(self, session: str) -> Json:
        return self._object("GET", f"/exec/{quote(session)}/json")

    # -- images, and what inspect looks at -----------------------------------------------------------------------------

    def images(self, all: bool = False, filters: Filters | None = None) -> list[Json]:
        return list(self._json("GET", "/images/json", {"all": all, "filters": encode_filters(filters)}))

    def inspect_image(self, image: str) -> Json:
        return self._object("GET", f"{_image(image)}/json")

    def inspect_network(self, network: str) -> Json:
        return self._object("GET", f"/networks/{quote(network)}")

    def inspect_volume(self, volume: str) -> Json:
        return self._object("GET", f"/volumes/{quote(volume)}")

    def pull(self, repository: str, tag: str = "", platform: str = "", auth: str = "") -> Iterator[Json]:
        """Progress lines. Without a tag all tags are pulled; a digest counts as a tag. ``auth``: X-Registry-Auth."""
        query = {"fromImage": repository, "tag": tag, "platform": platform}
        return self._progress("/images/create", query, headers={"X-Registry-Auth": auth} if auth else {})

    def load(self, archive: Iterator[bytes], quiet: bool = False, platform: str = "") -> Iterator[Json]:
        """Progress lines; ``archive`` is what `docker save` or an OCI layout in a tar gives."""
        return self._progress("/images/load", {"quiet": quiet, "platform": platform}, archive)

    def import_image(self, rootfs: Iterator[bytes], query: Query) -> str:
        """The new image's id; ``query``: repo, tag, message, changes (a list)."""
        *_, last = self._progress("/images/create", {"fromSrc": "-", **query}, rootfs)
        return str(last.get("status", ""))

    def tag(self, image: str, repository: str, tag: str) -> None:
        self._do("POST", f"{_image(image)}/tag", {"repo": repository, "tag": tag})

    def remove_image(self, image: str, force: bool = False, noprune: bool = False) -> list[Json]:
        """What was done: objects with Untagged or Deleted."""
        return list(self._json("DELETE", _image(image), {"force": force, "noprune": noprune}))


def _message(response: Response) -> str:
    """The daemon's own words, or the status where it gave none."""
    try:
        body = response.read()
    except Error:
        body = b""
    try:
        return str(json.loads(body)["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or f"the daemon answered with status {response.status}"


def container_path(name: str) -> str:
    if not name:
        raise InvalidArgument("invalid container name or ID: value is empty")
    return f"/containers/{quote(name)}"


def _image(name: str) -> str:
    if not name:
        raise NotFound("No such image: the name is empty")
    return f"/images/{quote(name, keep=b'/:@')}"


def quote(text: str, keep: bytes = b"") -> str:
    """Percent-encoding. urllib.parse has it too, and takes 2 ms to import."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _PLAIN or byte in keep else f"%{byte:02X}" for byte in data)


def encode_query(query: Query) -> str:
    """``?a=1&b=x``. True is 1; what is None, False or empty is left out; a list gives its key several times."""
    pairs = []
    for key, value in query.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if item is not None and item is not False and item != "":
                pairs.append(f"{key}={quote('1' if item is True else str(item))}")
    return "?" + "&".join(pairs) if pairs else ""


def encode_filters(filters: Filters | None) -> str:
    """Docker's form: ``{"label": {"a=b": true}}``."""
    if not filters:
        return ""
    return json.dumps({key: dict.fromkeys(values, True) for key, values in filters.items()}, separators=(",", ":"))
