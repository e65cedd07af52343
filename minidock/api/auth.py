"""Credentials as clients send them: X-Registry-Auth, X-Registry-Config, the body of ``POST /auth``.

The headers are base64 (in either alphabet, with padding or without) of JSON. Fields that are not known are passed
over, and null is none: docker-py sends an email of null once it has logged in. Serves images.py, build.py and
distribution.py.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from minidock.api.body import parse_json
from minidock.engine.codec import decode, key
from minidock.image.model import Auth
from minidock.wire.errors import InvalidArgument

_HUB = ("index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True)
class Entry:
    """What Docker calls an AuthConfig."""

    username: str = key("username", default="")
    password: str = key("password", default="")
    identity_token: str = key("identitytoken", default="")
    registry_token: str = key("registrytoken", default="")
    server_address: str = key("serveraddress", default="")

    @property
    def auth(self) -> Auth:
        """For the registry."""
        return Auth(self.username, self.password, self.identity_token, self.registry_token)


def registry_auth(header: str) -> Auth | None:
    """X-Registry-Auth. ``{}`` and ``null`` mean nobody."""
    value = _header("X-Registry-Auth", header)
    return decode(Entry, value, "X-Registry-Auth header").auth if value else None


def registry_config(header: str) -> dict[str, Auth]:
    """X-Registry-Config: an object, credentials by registry; by host here."""
    value = _header("X-Registry-Config", header) or {}
    if not isinstance(value, dict):
        raise InvalidArgument("invalid X-Registry-Config header: want an object of objects")
    return {_host_of(name): decode(Entry, entry, "X-Registry-Config header").auth for name, entry in value.items()}


def _header(name: str, text: str) -> Any:
    padded = text.translate(str.maketrans("+/", "-_")) + "=" * (-len(text) % 4)
    try:
        return parse_json(base64.urlsafe_b64decode(padded)) if text else None
    except (binascii.Error, ValueError, InvalidArgument):
        raise InvalidArgument(f"invalid {name} header: want base64 of JSON") from None


def _host_of(address: str) -> str:
    host = address.partition("://")[2] if "://" in address else address
    host = host.partition("/")[0]
    return "docker.io" if host in _HUB else host
