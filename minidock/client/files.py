"""The client's verbs on a container's files, one method a request.

For `minidock diff`, `export` and `cp`; a module of its own, as only they need it. Read next: client.py.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Iterator

from minidock.client.client import Client, Json, Query, quote
from minidock.client.connection import Response
from minidock.wire.errors import InvalidArgument, NotFound, ServerError


class Files:
    """``Files(client).changes("web")``; errors are those of wire/errors.py."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def changes(self, container: str) -> list[Json]:
        """What differs from the image: Path and Kind (0 changed, 1 added, 2 deleted)."""
        return list(json.loads(self._client.request("GET", _path(container, "changes")).read()) or ())

    def export(self, container: str) -> Response:
        """A tar of all its files."""
        return self._client.request("GET", _path(container, "export"))

    def stat(self, container: str, path: str) -> Json | None:
        """name, size, mode (as Go numbers it), mtime, linkTarget of a path in a container; None if there is none."""
        try:
            response = self._client.request("HEAD", _path(container, "archive"), {"path": path})
        except NotFound:
            self._client.inspect(container)  # raises if it is the container that is missing
            return None
        response.read()
        return _stat(response)

    def get(self, container: str, path: str) -> tuple[Json, Response]:
        """What a path is, and a tar of it."""
        response = self._client.request("GET", _path(container, "archive"), {"path": path})
        return _stat(response), response

    def put(self, container: str, path: str, archive: Iterator[bytes], query: Query) -> None:
        """Unpacks a tar into the directory ``path``; ``query``: noOverwriteDirNonDir, copyUIDGID."""
        self._client.request("PUT", _path(container, "archive"), {"path": path, **query}, archive).read()


def _path(container: str, what: str) -> str:
    if not container:
        raise InvalidArgument("invalid container name or ID: value is empty")
    return f"/containers/{quote(container)}/{what}"


def _stat(response: Response) -> Json:
    found = json.loads(a2b_base64(response.headers.get("x-docker-container-path-stat", "")) or "{}")
    if not isinstance(found, dict) or "name" not in found:
        raise ServerError("archive: the daemon's answer does not say what the path is")
    return found
