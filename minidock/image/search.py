"""`docker search`: what a registry's index finds for a word. Docker Hub has one, of private registries few.

    search("tool")              https://index.docker.io/v1/search?q=tool&n=25
    search("host:5000/tool")    https://host:5000/v1/search?q=tool&n=25, or http for a registry that may be insecure

The protocol is that of the old registries (v1), the only one that has a search; nothing else of it is left.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from minidock.image import registry
from minidock.image.auth import Authorizer, Refused
from minidock.image.http import Response, Timing, Transport, Unreachable
from minidock.image.jsonio import Fields, parse_object
from minidock.image.model import Auth, Found, RegistryConfig
from minidock.image.reference import DEFAULT_DOMAIN, OFFICIAL, names_host
from minidock.image.registry import Endpoint
from minidock.wire.errors import Error, InvalidArgument, ServerError

INDEX = "https://index.docker.io"
SCOPE = "registry:catalog:search"
MAX_ANSWER = 4 << 20


def search(term: str, limit: int, auth: Auth | None, registries: RegistryConfig, timing: Timing) -> list[Found]:
    """At most ``limit`` repositories, the best first. Raises InvalidArgument, ServerError."""
    host, name = _split(term)
    failure: Error | None = None
    for endpoint in _endpoints(host, registries):
        try:
            return _ask(endpoint, name, limit, auth, timing)[:limit]
        except Unreachable as error:
            failure = registry.more_telling(failure, error)
    raise ServerError(failure.message if failure else f"search {host}: no way to it")


def _split(term: str) -> tuple[str, str]:
    """(host, what to look for): a host is told from a first path component as in a reference."""
    if "://" in term or not term.strip():
        raise InvalidArgument(f"invalid repository name ({term[:100]}): give a word, or HOST/WORD")
    first, slash, rest = term.partition("/")
    if not slash or not names_host(first):
        return DEFAULT_DOMAIN, term.removeprefix(OFFICIAL)
    hub = first in (DEFAULT_DOMAIN, "index.docker.io")
    return (DEFAULT_DOMAIN, rest.removeprefix(OFFICIAL)) if hub else (first, rest)


def _endpoints(host: str, registries: RegistryConfig) -> list[Endpoint]:
    if host == DEFAULT_DOMAIN:
        return [Endpoint(INDEX, verify=True)]
    return list(registry.endpoints(host, registries))


def _ask(endpoint: Endpoint, name: str, limit: int, auth: Auth | None, timing: Timing) -> list[Found]:
    transport = Transport(endpoint.verify, timing)
    try:
        response = _get(endpoint, f"{endpoint.base}/v1/search?{urlencode({'q': name, 'n': limit})}", auth, transport)
        body = transport.body(response, MAX_ANSWER, "search results")
        if response.status != 200:
            raise ServerError(f"search {endpoint.base}: it answered {response.status}", "it may have no search")
        fields = Fields(parse_object(body, "search results", MAX_ANSWER), "search results")
        return [_found(item) for item in fields.items("results")]
    finally:
        transport.close()


def _get(endpoint: Endpoint, url: str, auth: Auth | None, transport: Transport) -> Response:
    """The answer; a challenge is met once, with what the client sent."""
    authorizer = Authorizer(endpoint.base, (SCOPE,), auth, transport)
    response = transport.request("GET", url, {"Accept": "application/json"}, authorizer.header)
    if response.status != 401:
        return response
    try:
        authorizer.answer(response, authorizer.header)
    except Refused:
        return response
    transport.discard(response)
    return transport.request("GET", url, {"Accept": "application/json"}, authorizer.header)


def _found(item: Any) -> Found:
    fields = Fields(item, "search results")
    stars = fields.size("star_count") if fields.has("star_count") else 0
    flags = (fields.flag("is_official"), fields.flag("is_automated"))
    return Found(fields.text("name"), fields.text("description"), stars, *flags)
