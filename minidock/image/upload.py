"""A repository as a place to send to: is a blob there, can it come from a neighbour, upload it, name the image.

    HEAD blobs/D                     200: it is there, nothing to send
    POST blobs/uploads/?mount=D&from=R   201: the registry took it from its own repository R
    POST blobs/uploads/, PUT Location?digest=D   the whole blob in one body, streamed from the content store
    POST, PATCH Location for each piece, PUT     the same for a registry that refuses the whole in one body
    PUT manifests/TAG                last, when all it names is there

A Location may lead to another host (a storage server); the Authorization header goes to the registry only, and https
never becomes http. An upload that breaks off is begun anew. See: OCI distribution-spec, "Push".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import IO
from urllib.parse import quote, urlencode, urlsplit

from minidock.image import digest as digests
from minidock.image.http import Body, Response, Timing, Unreachable, redirected
from minidock.image.manifest import Descriptor
from minidock.image.model import Auth
from minidock.image.progress import Meter
from minidock.image.reference import Reference
from minidock.image.registry import TRANSIENT, Endpoint, Repository
from minidock.wire.errors import ServerError, Unauthorized

OCTETS = "application/octet-stream"
PIECE, LEAST_PIECE = 8 << 20, 64 << 10  # of an upload in pieces; a piece that is refused for its size is halved
REFUSES_WHOLE = (405, 411, 413, 415, 501)
_WITHOUT_WORDS = {
    401: "unauthorized: authentication required",
    403: "denied: requested access to the resource is denied",
}


class Destination(Repository):
    """A repository that is pushed to. ``sources`` are repositories of the same registry that blobs may come from."""

    def __init__(
        self, endpoint: Endpoint, ref: Reference, auth: Auth | None, timing: Timing, sources: Sequence[str] = ()
    ) -> None:
        scopes = [f"repository:{ref.path}:pull,push", *(f"repository:{source}:pull" for source in sources)]
        super().__init__(endpoint, ref, auth, timing, scopes)
        self._piece = 0  # the size that the registry wants pieces to have; 0 as long as it takes all at once

    def has(self, digest: str) -> bool:
        """Whether the repository has a blob."""
        response = self._patiently("HEAD", self._url(f"blobs/{digest}"), {})
        self._transport.discard(response)
        if response.status == 404:
            return False
        return self._allowed(response, 200).status == 200

    def send(self, blob: Descriptor, source: str, open_blob: Callable[[], IO[bytes]], meter: Meter) -> bool:
        """Puts a blob there; True if the registry took it from ``source``. Raises ServerError, Unauthorized."""
        for pause in self._pauses():
            try:
                location = self._begin(blob, source)
                if location:
                    meter.restart()
                    self._upload(location, blob, open_blob, meter)
                return not location
            except Unreachable as error:
                if pause is None:
                    raise Unreachable(f"upload layer {blob.short} to {self._host}: {error.message}") from None
                time.sleep(pause)
        raise AssertionError

    def _begin(self, blob: Descriptor, source: str) -> str:
        """Where to upload to; empty if the blob could be mounted."""
        query = "?" + urlencode({"mount": blob.digest, "from": source}) if source else ""
        url = self._url(f"blobs/uploads/{query}")
        response = self._patiently("POST", url, {"Content-Length": "0"}, b"")
        location = response.headers.get("Location", "")
        self._allowed(response, 201, 202)
        self._transport.discard(response)
        if response.status == 201 and source:
            return ""
        if response.status != 202 or not location:
            raise ServerError(f"registry {self._host}: it does not say where to upload to")
        return redirected(url, location)

    def _upload(self, location: str, blob: Descriptor, open_blob: Callable[[], IO[bytes]], meter: Meter) -> None:
        """All at once; in pieces once the registry has refused that. Raises Unreachable for what may be tried again."""
        if self._piece:
            with open_blob() as file:
                location = self._send_pieces(location, blob, file, meter)
            self._finish(self._put(location, blob, 0, b""))
            return
        response = self._put(location, blob, blob.size, lambda: _Counted(open_blob(), meter.add))
        if response.status in REFUSES_WHOLE:
            self._transport.discard(response)
            self._piece = PIECE
            raise Unreachable(f"it refuses {blob.size} bytes at once with {response.status}")
        self._finish(response)

    def _put(self, location: str, blob: Descriptor, size: int, body: Body) -> Response:
        separator = "&" if urlsplit(location).query else "?"
        url = f"{location}{separator}digest={quote(blob.digest, safe='')}"
        return self._authorized("PUT", url, {"Content-Type": OCTETS, "Content-Length": str(size)}, body)

    def _send_pieces(self, location: str, blob: Descriptor, file: IO[bytes], meter: Meter) -> str:
        """One request a piece, in order; the address at which the upload is to be finished."""
        sent = 0
        while sent < blob.size:
            piece = file.read(self._piece)
            span = f"{sent}-{sent + len(piece) - 1}"
            headers = {"Content-Type": OCTETS, "Content-Length": str(len(piece)), "Content-Range": span}
            response = self._authorized("PATCH", location, headers, piece)
            if response.status == 413 and self._piece > LEAST_PIECE:
                self._transport.discard(response)
                self._piece //= 2
                file.seek(sent)
                continue
            self._finish(response, 202)
            location = redirected(location, response.headers.get("Location") or location)
            sent += len(piece)
            meter.add(len(piece))
        return location

    def _finish(self, response: Response, wanted: int = 201) -> None:
        if response.status in TRANSIENT:
            self._transport.discard(response)
            raise Unreachable(f"it answered {response.status}")
        self._allowed(response, wanted)
        self._transport.discard(response)

    def put_manifest(self, tag: str, document: bytes, media_type: str) -> None:
        """Names the image. Raises ServerError if the registry understood another digest."""
        response = self._patiently("PUT", self._url(f"manifests/{tag}"), {"Content-Type": media_type}, document)
        self._allowed(response, 201)
        self._transport.discard(response)
        said = response.headers.get("Docker-Content-Digest", "")
        if said and said != digests.of(document):
            raise ServerError(f"registry {self._host}: it took manifest {digests.of(document)} for {said[:80]}")

    def _allowed(self, response: Response, *good: int) -> Response:
        """The answer, if it is one of ``good``. Raises ServerError and Unauthorized in the registry's words."""
        if response.status in good:
            return response
        code, message = self._explanation(response)
        known = _WITHOUT_WORDS.get(response.status, f"it answered {response.status}")
        said = f"{code.lower().replace('_', ' ')}: {message}" if code else known
        if response.status == 401 or code == "UNAUTHORIZED":
            raise Unauthorized(f"push access to {self._ref.familiar_name} refused: {said}", "log in to the registry")
        if response.status == 403 or code == "DENIED":
            raise Unauthorized(f"push access to {self._ref.familiar_name} refused: {said}")
        raise ServerError(f"push {self._ref.familiar_name}: registry {self._host}: {said}")


class _Counted:
    """A file that tells how much of it was sent. A context manager, as files are."""

    def __init__(self, file: IO[bytes], count: Callable[[int], None]) -> None:
        self._file, self._count = file, count

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._count(len(data))
        return data

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
