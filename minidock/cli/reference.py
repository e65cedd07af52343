"""Image references as the client needs them: split for the API, spelled out for people.

The daemon parses references for itself (minidock/image); the API wants repository and tag apart, and docker prints the
full name after a pull. See: https://github.com/distribution/reference.
"""

from __future__ import annotations

from minidock.cli.verb import Failed
from minidock.wire.errors import InvalidArgument

HUB = "docker.io"


def split(reference: str) -> tuple[str, str]:
    """(repository, tag); a digest counts as a tag, no tag is an empty one. Raises InvalidArgument for an empty name."""
    name, at, digest = reference.partition("@")
    repository, tag = name, ""
    if name.rfind(":") > name.rfind("/"):
        repository, _, tag = name.rpartition(":")
    if not repository:
        raise InvalidArgument(f"invalid reference format: {reference!r}", "give NAME[:TAG], such as alpine:3.23")
    return repository, digest if at else tag


def canonical(repository: str) -> str:
    """``alpine`` → ``docker.io/library/alpine``."""
    domain, slash, _ = repository.partition("/")
    if not slash:
        return f"{HUB}/library/{repository}"
    if "." in domain or ":" in domain or domain == "localhost" or domain != domain.lower():
        return repository
    return f"{HUB}/{repository}"


def full(reference: str) -> str:
    """``alpine`` → ``docker.io/library/alpine:latest``, as docker prints it after a pull."""
    repository, tag = split(reference)
    tag = tag or "latest"
    return f"{canonical(repository)}{'@' if ':' in tag else ':'}{tag}"


def of_transfer(name: str, all_tags: bool, quiet: bool) -> tuple[str, str]:
    """(repository in canonical form, tag) of a pull or a push; an empty tag for all of them. Says what it takes."""
    repository, tag = split(name)
    if all_tags and tag:
        raise Failed("tag can't be used with --all-tags/-a", 1)
    if not tag and not all_tags:
        tag = "latest"
        if not quiet:
            print("Using default tag: latest")
    return canonical(repository), tag


def with_tag(reference: str) -> str:
    """The reference with the tag that it stands for: ``alpine`` → ``alpine:latest``."""
    return reference if split(reference)[1] else f"{reference}:latest"
