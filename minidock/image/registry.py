"""A registry: manifests and blobs by the OCI distribution protocol (Docker Registry HTTP API V2).

``connect`` finds the way in: mirrors first (Docker Hub only), https always, http only for registries that may be
insecure (127.0.0.0/8 and the --insecure-registry list). What a registry says is believed after its digest was checked.
Server errors and broken connections are tried again a few times; "no" is not. See: OCI distribution-spec, spec.md.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import urllib3

from minidock.image import digest as digests
from minidock.image import manifest
from minidock.image.auth import Authorizer, Refused
from minidock.image.content import BlobWriter
from minidock.image.http import Body, Response, Timing, Transport, Unreachable, origin, redirected
from minidock.image.jsonio import Fields, parse_object
from minidock.image.manifest import Descriptor
from minidock.image.model import Auth, RegistryConfig
from minidock.image.progress import Meter
from minidock.image.reference import DEFAULT_DOMAIN, Reference
from minidock.wire.errors import Error, InvalidArgument, NotFound, ServerError

HUB = "registry-1.docker.io"
ALWAYS_INSECURE = ("127.0.0.0/8", "::1/128")
TRANSIENT = (408, 429, 500, 502, 503, 504)
MAX_ERROR = 64 << 10
MAX_TAGS = 10_000  # of a repository; its list may come in as many pages
MAX_TAG_PAGE = 4 << 20

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Endpoint:
    """One way to a registry: "https://host", whether its certificate counts, and whether it is a mirror."""

    base: str
    verify: bool
    mirror: bool = False


@dataclass(frozen=True)
class Document:
    """A manifest or index as it came."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> str:
        return digests.of(self.data)


def endpoints(domain: str, config: RegistryConfig) -> Iterator[Endpoint]:
    """The ways to a registry, in the order to be tried."""
    if domain == DEFAULT_DOMAIN:
        for mirror in config.mirrors:
            yield Endpoint(mirror.rstrip("/"), not is_insecure(urlsplit(mirror).netloc, config), mirror=True)
        yield Endpoint(f"https://{HUB}", verify=True)
        return
    insecure = is_insecure(domain, config)
    yield Endpoint(f"https://{domain}", verify=not insecure)
    if insecure:
        yield Endpoint(f"http://{domain}", verify=False)


def more_telling(before: Error | None, error: Error) -> Error:
    """Of two ways to a registry that failed: a certificate's fault says more than what plain HTTP ran into after it."""
    return before if before and "certificate" in before.message else error


def is_insecure(domain: str, config: RegistryConfig) -> bool:
    """Whether a registry may be spoken to without a certificate that somebody vouches for."""
    host = urlsplit(f"//{domain}").hostname or ""
    if domain in config.insecure or host in config.insecure or host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
        networks = [ipaddress.ip_network(n, strict=False) for n in (*ALWAYS_INSECURE, *config.insecure) if "/" in n]
    except ValueError:
        return False
    return any(address.version == network.version and address in network for network in networks)


class Denied(NotFound):
    """The registry does not let us in, which it says of repositories that are not there, too.

    ``said``: its words. ``known``: it knows who asks (403); otherwise it does not (401).
    """

    def __init__(self, ref: Reference, said: str, known: bool) -> None:
        super().__init__(
            f"pull access denied for {ref.familiar_name}, repository does not exist or may require "
            f"'docker login': {said}"
        )
        self.said, self.known = said, known


class Repository:
    """One repository of a registry, by one endpoint. Its methods may be called from several threads."""

    def __init__(
        self, endpoint: Endpoint, ref: Reference, auth: Auth | None, timing: Timing, scopes: Sequence[str] = ()
    ) -> None:
        self._endpoint, self._ref, self._timing = endpoint, ref, timing
        self._transport = Transport(endpoint.verify, timing)
        scopes = scopes or (f"repository:{ref.path}:pull",)
        self._authorizer = Authorizer(endpoint.base, scopes, None if endpoint.mirror else auth, self._transport)

    def close(self) -> None:
        self._transport.close()

    def ping(self) -> None:
        """Asks whether a registry is there at all. Raises Unreachable at once: another endpoint may do."""
        response = self._transport.request("GET", f"{self._endpoint.base}/v2/", {})
        if response.status == 401:
            try:
                self._authorizer.answer(response, self._authorizer.header)
            except Refused as error:  # what is asked for next will be refused, too, and says what it was
                if error.answered not in (401, 403):
                    raise
        self._transport.discard(response)
        if response.status not in (200, 401, 403, *TRANSIENT):
            raise ServerError(f"registry {self._host}: it answered {response.status} to /v2/, so it is none")

    def manifest(self, tag_or_digest: str) -> Document:
        """A manifest or index, checked against the digest if asked for by one."""
        response = self._get(f"manifests/{tag_or_digest}", manifest.ACCEPT)
        said = response.headers.get("Docker-Content-Digest", "")
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        document = Document(self._transport.body(response, manifest.MAX_MANIFEST, "manifest"), kind)
        for wanted in (tag_or_digest, said):
            if digests.is_digest(wanted) and wanted != document.digest:
                raise ServerError(f"manifest verification failed for digest {wanted}: got {document.digest}")
        return document

    def tags(self) -> list[str]:
        """All tags of the repository, in the registry's order; the list may come in pages."""
        found: list[str] = []
        url = self._url("tags/list")
        while url:
            response = self._checked(self._patiently("GET", url, {"Accept": "application/json"}), "tags/list")
            following = next_page(url, response.headers.get("Link", ""))
            body = self._transport.body(response, MAX_TAG_PAGE, "tags")
            page = Fields(parse_object(body, "tags", MAX_TAG_PAGE), "tags").texts("tags")
            found += page
            if len(found) > MAX_TAGS:
                raise ServerError(f"registry {self._host}: more than {MAX_TAGS} tags in {self._ref.familiar_name}")
            url = following if page else ""
        return found

    def small_blob(self, descriptor: Descriptor, limit: int, what: str) -> bytes:
        """A blob in memory, checked: an image config."""
        if descriptor.size > limit:
            raise InvalidArgument(f"read {what}: larger than {limit} bytes")
        body = self._transport.body(self._get(f"blobs/{descriptor.digest}"), limit, what)
        if digests.of(body) != descriptor.digest or len(body) != descriptor.size:
            raise ServerError(f"{what} verification failed for digest {descriptor.digest}")
        return body

    def blob(self, descriptor: Descriptor, writer: BlobWriter, meter: Meter) -> None:
        """Downloads a blob into ``writer``, checked while it streams; one that breaks off goes on where it was.

        Attempts are counted anew for each hundredth of the blob that has come: a bad line is slow, and not endless.
        """
        pauses, counted = self._pauses(), 0
        while True:
            try:
                self._download(descriptor, writer, meter)
                break
            except Unreachable as error:
                if writer.size - counted > max(self._timing.window_bytes, descriptor.size // 100):
                    pauses, counted = self._pauses(), writer.size
                pause = next(pauses)
                if pause is None:
                    raise Unreachable(f"download layer {descriptor.short} from {self._host}: {error.message}") from None
                time.sleep(pause)
                meter.add(0)  # which ends it if nobody waits any more
        if writer.digest != descriptor.digest:
            raise ServerError(f"filesystem layer verification failed for digest {descriptor.digest}")

    def _download(self, descriptor: Descriptor, writer: BlobWriter, meter: Meter) -> None:
        for piece in self._transport.pieces(self._rest(descriptor, writer, meter)):
            writer.write(piece)
            meter.add(len(piece))
            if writer.size > descriptor.size:
                raise ServerError(
                    f"layer {descriptor.short}: more than the {descriptor.size} bytes that the manifest says"
                )
        if writer.size < descriptor.size:
            raise Unreachable(f"unexpected end after {writer.size} of {descriptor.size} bytes")

    def _rest(self, descriptor: Descriptor, writer: BlobWriter, meter: Meter) -> Response:
        """The answer with what is missing of a blob; with all of it, if the registry knows no ranges."""
        path, start = f"blobs/{descriptor.digest}", writer.size
        if 0 < start < descriptor.size:
            response = self._patiently("GET", self._url(path), {"Accept": "*/*", "Range": f"bytes={start}-"})
            if response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                return response
            if response.status in (206, 416):
                self._transport.discard(response)
                response = self._patiently("GET", self._url(path), {"Accept": "*/*"})
        else:
            response = self._patiently("GET", self._url(path), {"Accept": "*/*"})
        response = self._checked(response, path)
        writer.restart()
        meter.restart()
        return response

    @property
    def _host(self) -> str:
        return urlsplit(self._endpoint.base).netloc

    def _pauses(self) -> Iterator[float | None]:
        """How long to wait before each further attempt; None with the last one."""
        for attempt in range(self._timing.attempts - 1):
            yield min(self._timing.pause * 2**attempt, self._timing.longest_pause)
        yield None

    def _get(self, path: str, accept: str = "*/*") -> Response:
        """A successful answer to GET."""
        return self._checked(self._patiently("GET", self._url(path), {"Accept": accept}), path)

    def _url(self, path: str) -> str:
        return f"{self._endpoint.base}/v2/{self._ref.path}/{path}"

    def _patiently(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Response:
        """The answer to a request that may be repeated, tried again while that may help."""
        for pause in self._pauses():
            try:
                response = self._authorized(method, url, headers, body)
            except Unreachable:
                if pause is None:
                    raise
            else:
                if response.status not in TRANSIENT or pause is None:
                    return response
                pause = max(pause, min(_retry_after(response), self._timing.longest_pause))
                self._transport.discard(response)
            time.sleep(pause or 0)
        raise ServerError(f"registry {self._host} does not answer")

    def _authorized(self, method: str, url: str, headers: Mapping[str, str], body: Body = None) -> Response:
        for last in (False, True):
            header = self._authorizer.header if origin(url) == origin(self._endpoint.base) else ""
            response = self._transport.request(method, url, headers, header, body)
            if response.status != 401 or last:
                return response
            try:
                self._authorizer.answer(response, header)
            except Refused as error:
                if error.answered in (401, 403):
                    return response
                raise
            self._transport.discard(response)
        raise AssertionError

    def _checked(self, response: Response, path: str) -> Response:
        """The answer, if it is one to work with. Raises Error with Docker's texts."""
        if response.status == 200:
            return response
        code, message = self._explanation(response)
        said = f"{code.lower().replace('_', ' ')}: {message}" if code else f"it answered {response.status}"
        if path.startswith("blobs/") and response.status != 401:
            raise ServerError(f"registry {self._host}: {said} (asked for {path})")
        if response.status in (401, 403) or code in ("DENIED", "UNAUTHORIZED"):
            raise Denied(self._ref, said, response.status == 403 or code == "DENIED")
        if response.status == 404 and code == "NAME_UNKNOWN":
            raise NotFound(f"repository {self._ref.familiar_name} not found: {said}")
        if response.status == 404:
            raise NotFound(f"manifest for {self._ref.familiar()} not found: {said}")
        raise ServerError(f"registry {self._host}: {said}")

    def _explanation(self, response: Response) -> tuple[str, str]:
        """The first error of a registry's answer: (code, message), both empty if it has none that can be read."""
        try:
            body = self._transport.body(response, MAX_ERROR, "error")
            for item in Fields(parse_object(body, "error", MAX_ERROR), "error").items("errors"):
                fields = Fields(item, "error")
                return fields.text("code")[:64], " ".join(fields.text("message").split())[:300]
        except (Error, urllib3.exceptions.HTTPError):
            pass
        return "", ""


def next_page(url: str, link: str) -> str:
    """Where a list goes on: ``<URL>; rel="next"`` (RFC 8288), which must be the same registry's; empty at its end."""
    found = re.match(r'\s*<([^<>]+)>\s*;.*\brel="?next\b', link)
    following = redirected(url, found[1]) if found else ""
    if following and origin(following) != origin(url):
        raise ServerError(f"registry {urlsplit(url).netloc}: the next page of its list is on another host")
    return following


def _retry_after(response: Response) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def open_manifest(
    ref: Reference, config: RegistryConfig, auth: Auth | None, timing: Timing
) -> tuple[Repository, Document]:
    """The repository by the first endpoint that serves what ``ref`` names, and that manifest or index."""
    return _ask_in_turn(ref, config, auth, timing, lambda repository: repository.manifest(ref.digest or ref.tag))


def tags(ref: Reference, config: RegistryConfig, auth: Auth | None, timing: Timing) -> list[str]:
    """All tags of a repository, by the first endpoint that lists them."""
    repository, found = _ask_in_turn(ref, config, auth, timing, Repository.tags)
    repository.close()
    return found


def _ask_in_turn(
    ref: Reference, config: RegistryConfig, auth: Auth | None, timing: Timing, ask: Callable[[Repository], Answer]
) -> tuple[Repository, Answer]:
    failure: Error | None = None
    for endpoint in endpoints(ref.domain, config):
        repository = Repository(endpoint, ref, auth, timing)
        try:
            repository.ping()
            return repository, ask(repository)
        except Error as error:
            repository.close()
            if not (endpoint.mirror or isinstance(error, Unreachable)):
                raise
            failure = more_telling(failure, error)
    assert failure is not None
    raise ServerError(
        failure.message, "check the name and the network; a registry without TLS needs --insecure-registry"
    )
