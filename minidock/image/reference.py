"""References: the names of images, as people write them and as minidock keeps them.

    familiar               canonical
    alpine                 docker.io/library/alpine:latest
    alice/tool:1           docker.io/alice/tool:1
    127.0.0.1:5000/x@sha256:…   the same

The grammar and the rule that tells a host from a first path component are those of github.com/distribution/reference,
texts of errors included. A reference is checked here once; whoever holds one may put its parts into a URL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from minidock.image import digest as digests
from minidock.wire.errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
OFFICIAL = "library/"
LONGEST_NAME = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?", re.ASCII)
_PATH = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_HEX = re.compile(r"[a-f0-9]{64}", re.ASCII)


@dataclass(frozen=True)
class Reference:
    """A name with a tag, a digest, both or neither. ``path`` is the repository below the registry."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The canonical repository: ``docker.io/library/alpine``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as people write it: ``alpine``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(OFFICIAL)
        return self.path if "/" in short else short

    def __str__(self) -> str:
        return self.name + self._suffix()

    def familiar(self) -> str:
        """The whole reference as people write it."""
        return self.familiar_name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def with_default_tag(self) -> Reference:
        """``:latest`` if it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag="latest")

    def by_digest(self, digest: str) -> Reference:
        """The same repository at a digest, without a tag."""
        return Reference(self.domain, self.path, digest=digest)


def parse(text: str) -> Reference:
    """A reference as people write it. Raises InvalidArgument with Docker's texts."""
    if _HEX.fullmatch(text):
        raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    rest, at, digest = text.partition("@")
    if at and not digests.is_digest(digest):
        raise InvalidArgument("invalid reference format", f"{digest[:80]!r} is no digest")
    domain, path = _split_domain(rest)
    path, colon, tag = path.partition(":")
    if path.lower() != path:
        raise InvalidArgument(f"invalid reference format: repository name ({path[:300]}) must be lowercase")
    if not (_DOMAIN.fullmatch(domain) and _PATH.fullmatch(path)) or (colon and not _TAG.fullmatch(tag)):
        raise InvalidArgument("invalid reference format", f"{text[:300]!r} does not read as NAME[:TAG]")
    reference = Reference(domain, path, tag, digest)
    if len(reference.name) > LONGEST_NAME:
        raise InvalidArgument(f"repository name must not be more than {LONGEST_NAME} characters")
    return reference


def is_host(text: str) -> bool:
    """Whether it can be a registry: a host, perhaps with a port."""
    return _DOMAIN.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether it may stand behind a colon; what a registry lists may be anything."""
    return _TAG.fullmatch(text) is not None


def names_host(first: str) -> bool:
    """Whether the first component of a name is a registry: if it can be nothing else."""
    return "." in first or ":" in first or first == "localhost" or first.lower() != first


def _split_domain(text: str) -> tuple[str, str]:
    """The first component is a host if it can be nothing else: with a dot, a colon or a capital, or localhost."""
    first, slash, rest = text.partition("/")
    if slash and names_host(first):
        domain, path = first, rest
    else:
        domain, path = DEFAULT_DOMAIN, text
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = OFFICIAL + path
    return domain, path
