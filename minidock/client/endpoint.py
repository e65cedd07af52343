"""Which daemon, and how to prove who one is: what -H, --tls… and the environment come to.

For client.py. The rules are docker's: a flag before $MINIDOCK_HOST before $DOCKER_HOST; certificates from the flags,
else from $DOCKER_CERT_PATH or ~/.docker; $DOCKER_TLS_VERIFY, unless it is empty, is --tlsverify; who wants TLS and
names no daemon means the one on tcp://localhost:2376. See: "Protect the Docker daemon socket" in docker's manual.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from minidock.wire.errors import InvalidArgument

DEFAULT_HOST = "unix:///run/minidock.sock"
DEFAULT_TLS_HOST = "tcp://localhost:2376"


class Tls(NamedTuple):
    """Files in PEM; "" for none. ``verify``: the daemon must have a certificate of the authority, for its name."""

    verify: bool
    authority: str
    certificate: str
    key: str


class Endpoint(NamedTuple):
    """A daemon's address, and TLS where that is TCP and TLS was asked for."""

    host: str
    tls: Tls | None = None


def choose(host: str | None, flags: Mapping[str, object], environment: Mapping[str, str] = os.environ) -> Endpoint:
    """``flags``: tls, tlsverify (None: not given), tlscacert, tlscert, tlskey. Raises InvalidArgument."""
    named = host or environment.get("MINIDOCK_HOST") or environment.get("DOCKER_HOST")
    verify = flags.get("tlsverify")
    verify = bool(environment.get("DOCKER_TLS_VERIFY")) if verify is None else bool(verify)
    if not verify and not flags.get("tls"):
        return Endpoint(named or DEFAULT_HOST)
    return Endpoint(named or DEFAULT_TLS_HOST, _material(verify, flags, environment))


def _material(verify: bool, flags: Mapping[str, object], environment: Mapping[str, str]) -> Tls:
    """A file that was named must be there; one that was not is used if it is."""
    folder = environment.get("DOCKER_CERT_PATH") or os.path.join(os.path.expanduser("~"), ".docker")
    found = []
    for flag, name in (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem")):
        given = flags.get(flag)
        path = str(given or os.path.join(folder, name))
        there = os.path.isfile(path)
        if not there and (given or (verify and flag == "tlscacert")):
            raise InvalidArgument(f"TLS: there is no file {path}", f"give --{flag}=FILE")
        found.append(path if there else "")
    authority, certificate, key = found
    return Tls(verify, authority, certificate, key)
