"""An image as data, and what the store is told: credentials, registries.

Frozen, and made in one place each: ``config.parse`` makes an ImageConfig from the untrusted bytes of an image config,
``records.Records`` an Image from rows of the database. Read next: config.py, store.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ImageConfig:
    """What a container of the image is by default. Empty means that the image does not say."""

    env: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    healthcheck: Mapping[str, Any] | None = None
    on_build: tuple[str, ...] = ()


@dataclass(frozen=True)
class History:
    """How one layer came to be; ``empty_layer`` for a step that changed the config only."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True)
class Image:
    """An image that the store holds. ``id`` is the digest of its config, ``size`` the bytes of its files, unpacked."""

    id: str
    tags: tuple[str, ...] = ()  # familiar: "alpine:3.23"
    digests: tuple[str, ...] = ()  # familiar: "alpine@sha256:…"
    created: str = ""  # RFC 3339
    size: int = 0
    architecture: str = ""
    os: str = "linux"
    variant: str = ""
    diff_ids: tuple[str, ...] = ()  # lowest layer first
    config: ImageConfig = field(default_factory=ImageConfig)
    history: tuple[History, ...] = ()
    author: str = ""
    comment: str = ""
    parent: str = ""  # the image it was built or committed on, by its id
    intermediate: bool = False  # it has no name, and others were built on it


@dataclass(frozen=True)
class ImagePlatform:
    """What an image is for, as its config or its line of an index says; empty where that says nothing."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Removed:
    """One line of what `rmi` did: a name taken away, or an image or layer deleted."""

    untagged: str = ""
    deleted: str = ""


@dataclass(frozen=True)
class Found:
    """What a search found: a repository, and what its registry says of it."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


@dataclass(frozen=True)
class Auth:
    """Credentials for one registry, as the client sends them."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class RegistryConfig:
    """``mirrors`` are tried before Docker Hub ("http://127.0.0.1:5000"); ``insecure`` lists hosts ("10.0.0.1:5000") and
    networks ("10.0.0.0/8") that may be spoken to without TLS, or with a certificate that nobody vouches for."""

    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
