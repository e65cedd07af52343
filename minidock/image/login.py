"""`docker login`: whether a registry takes a name and a password. Nothing is kept here; that is the client's affair.

The same way in as for a pull: GET /v2/, the challenge answered (auth.py), GET /v2/ once more. A token server may give
an identity token for the password, to be kept in its place.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from minidock.image import registry
from minidock.image.auth import Authorizer, Refused
from minidock.image.http import Timing, Transport, Unreachable
from minidock.image.model import Auth, RegistryConfig
from minidock.image.reference import DEFAULT_DOMAIN, is_host
from minidock.image.registry import Endpoint
from minidock.wire.errors import Error, InvalidArgument, ServerError, Unauthorized


def host_of(server: str) -> str:
    """The registry behind an address of `login`: a host, or a URL of old (https://index.docker.io/v1/)."""
    text = server if "://" in server else f"//{server}"
    try:
        host = urlsplit(text).netloc
    except ValueError:
        host = ""
    if server and not is_host(host):
        raise InvalidArgument(f"invalid registry address: {server[:100]!r}")
    return DEFAULT_DOMAIN if host in ("", "index.docker.io", "registry-1.docker.io", "docker.io") else host


def check(server: str, auth: Auth, registries: RegistryConfig, timing: Timing) -> str:
    """Whether the registry takes the credentials; its identity token, if any. Raises Unauthorized, ServerError."""
    failure: Error | None = None
    for endpoint in registry.endpoints(host_of(server), registries):
        if endpoint.mirror:
            continue
        try:
            return _try(endpoint, auth, timing)
        except Unreachable as error:
            failure = registry.more_telling(failure, error)
    raise ServerError(failure.message if failure else f"reach {server}: no way to it")


def _try(endpoint: Endpoint, auth: Auth, timing: Timing) -> str:
    transport = Transport(endpoint.verify, timing)
    authorizer, url = Authorizer(endpoint.base, (), auth, transport, offline=True), f"{endpoint.base}/v2/"
    host = urlsplit(url).netloc
    try:
        for last in (False, True):
            response = transport.request("GET", url, {}, authorizer.header)
            if response.status == 401 and not last:
                authorizer.answer(response, authorizer.header)
            transport.discard(response)
            if response.status == 200:
                return authorizer.identity_token
        if response.status not in (401, 403):
            raise ServerError(f"registry {host}: it answered {response.status} to /v2/")
    except Refused as error:
        if error.answered not in (401, 403):
            raise
    finally:
        transport.close()
    raise Unauthorized(f"login to {host}: unauthorized: incorrect username or password")
