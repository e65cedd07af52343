"""Who we are to a registry: its challenge (WWW-Authenticate) answered with a token or with basic authentication.

Most registries, Docker Hub among them, send even anonymous clients to a token server, the *realm*. A realm is an
address that somebody else names, so it gets a password only if it is the registry itself, a parent domain of it, or
Docker's own; without a password to send any https realm will do (CVE-2020-15157). A token is for the registry only.

See: https://distribution.github.io/distribution/spec/auth/token/ and /oauth/; RFC 7235 for challenges.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

from minidock.image.http import Response, Transport, origin
from minidock.image.jsonio import Fields, parse_object
from minidock.image.model import Auth
from minidock.wire.errors import Error, ServerError

MAX_ANSWER = 1 << 20
CLIENT = "minidock"
REALMS = {"registry-1.docker.io": "auth.docker.io"}

_SCHEME = re.compile(r"\s*(\w+)\s+(?=\w+\s*=)|\s*(Basic|Negotiate)\s*(?:,|$)", re.ASCII | re.IGNORECASE)
_PARAMETER = re.compile(r'\s*(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*,?', re.ASCII)


def challenges(header: str) -> dict[str, dict[str, str]]:
    """``Bearer realm="…",service="…"`` → {"bearer": {"realm": …, "service": …}}. What can't be read is left out."""
    found: dict[str, dict[str, str]] = {}
    position = 0
    while scheme := _SCHEME.match(header, position):
        position = scheme.end()
        parameters = found.setdefault((scheme[1] or scheme[2]).lower(), {})
        while parameter := _PARAMETER.match(header, position):
            name, quoted, bare = parameter.groups()
            parameters[name.lower()] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            position = parameter.end()
    return found


class Authorizer:
    """The Authorization header for one registry, renewed when it is refused. Shared by the threads of a pull.

    With ``offline`` the token server is asked for an identity token too, which stands for the password later.
    """

    def __init__(
        self, base: str, scopes: Sequence[str], auth: Auth | None, transport: Transport, offline: bool = False
    ) -> None:
        self._base, self._scopes, self._transport, self._offline = base, scopes, transport, offline
        self.identity_token = ""
        self._auth = auth or Auth()
        self._lock = threading.Lock()
        self.header = f"Bearer {auth.registry_token}" if auth and auth.registry_token else ""

    def answer(self, response: Response, sent: str) -> None:
        """Takes a 401 for the header ``sent``: gets another one, unless another thread just did. Raises Error."""
        with self._lock:
            if self.header == sent:
                self.header = self._respond(challenges(response.headers.get("WWW-Authenticate", "")))

    def _respond(self, offered: dict[str, dict[str, str]]) -> str:
        if "bearer" in offered:
            return "Bearer " + self._token(offered["bearer"])
        if "basic" in offered and self._auth.username:
            return self._basic()
        return ""

    def _basic(self) -> str:
        pair = f"{self._auth.username}:{self._auth.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()

    def _token(self, challenge: dict[str, str]) -> str:
        realm = challenge.get("realm", "")
        secret = bool(self._auth.username or self._auth.identity_token)
        check_realm(self._base, realm, secret)
        query = [("service", challenge.get("service", "")), *(("scope", scope) for scope in self._scopes)]
        query += [("account", self._auth.username)] if self._auth.username else []
        query += [("offline_token", "true"), ("client_id", CLIENT)] if self._offline else []
        if self._auth.identity_token:
            response = self._refresh(realm, challenge.get("service", ""))
        else:
            authorization = self._basic() if self._auth.username else ""
            separator = "&" if urlsplit(realm).query else "?"
            response = self._transport.request("GET", realm + separator + urlencode(query), {}, authorization)
        return self._read_token(response, realm)

    def _refresh(self, realm: str, service: str) -> Response:
        """OAuth 2: an identity token (of `docker login`) is changed for an access token (RFC 6749, section 6)."""
        form = {"service": service, "scope": " ".join(self._scopes), "client_id": CLIENT}
        form |= {"grant_type": "refresh_token", "refresh_token": self._auth.identity_token}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._transport.request("POST", realm, headers, body=urlencode(form).encode())

    def _read_token(self, response: Response, realm: str) -> str:
        host = urlsplit(realm).netloc
        body = self._transport.body(response, MAX_ANSWER, "token")
        if response.status != 200:
            raise Refused(f"token server {host} answered {response.status}", response.status)
        try:
            fields = Fields(parse_object(body, "token", MAX_ANSWER), "token")
            token = fields.text("token") or fields.text("access_token")
            self.identity_token = fields.text("refresh_token") if self._offline else ""
        except Error:
            token = ""
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise ServerError(f"token server {host}: its answer holds no token")
        return token


class Refused(ServerError):
    """The token server said no; ``answered`` is its HTTP status."""

    def __init__(self, message: str, answered: int) -> None:
        super().__init__(message)
        self.answered = answered


def check_realm(base: str, realm: str, secret: bool) -> None:
    """Raises ServerError for a token server that must not be asked, or not with ``secret``."""
    try:
        (scheme, host, _), (own_scheme, own, _) = origin(realm), origin(base)
    except ValueError:
        raise ServerError(f"registry {urlsplit(base).netloc}: its token server is no URL") from None
    if scheme not in ("https", "http") or not host or (own_scheme == "https" and scheme != "https"):
        raise ServerError(f"registry {own}: refused its token server {realm[:100]!r}: not https")
    trusted = host == own or REALMS.get(own) == host or ("." in host and own.endswith("." + host))
    if secret and not trusted:
        raise ServerError(
            f"registry {own} names {host} as its token server: credentials are not sent to another host",
            "log out of the registry to pull without credentials",
        )
