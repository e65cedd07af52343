"""The client's verbs on images that leave: push, save, commit; history; and on registries: login, search.

For cli/distribution.py and cli/login.py; a module of its own, as only they need it. Read next: client.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from minidock.client.client import Client, Filters, Json, Query, encode_filters, quote
from minidock.client.connection import Response
from minidock.wire.errors import ServerError

_NOBODY = "e30="  # {} in base64: Docker's daemons want the header with every push


class Distribution:
    """``Distribution(client).push(…)``; errors are those of wire/errors.py."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def push(self, repository: str, tag: str = "", auth: str = "") -> Iterator[Json]:
        """Progress lines; errors are raised where they come. No tag: all tags. ``auth``: X-Registry-Auth."""
        path, headers = f"/images/{quote(repository, keep=b'/:@')}/push", {"X-Registry-Auth": auth or _NOBODY}
        for line in self._client.request("POST", path, {"tag": tag}, headers=headers).lines():
            if line.strip():
                entry: Json = json.loads(line)
                if entry.get("error"):
                    raise ServerError(str(entry["error"]))
                yield entry

    def save(self, images: Sequence[str]) -> Response:
        """An archive of images, to be read piece by piece."""
        return self._client.request("GET", "/images/get", {"names": list(images)})

    def login(self, credentials: Json) -> tuple[str, str]:
        """Has the daemon check username, password and serveraddress at the registry.

        What it says to that, and the identity token that is to be kept in place of the password, if there is one.
        """
        answer = json.loads(self._client.request("POST", "/auth", body=credentials).read())
        return str(answer.get("Status") or "Login Succeeded"), str(answer.get("IdentityToken") or "")

    def search(self, query: Query, filters: Filters, auth: str = "") -> list[Json]:
        """What a registry finds: name, description, star_count, is_official. ``query``: term, limit."""
        asked = {**query, "filters": encode_filters(filters)}
        headers = {"X-Registry-Auth": auth or _NOBODY}
        return list(json.loads(self._client.request("GET", "/images/search", asked, headers=headers).read()))

    def commit(self, query: Query) -> str:
        """The new image's id. ``query``: container, repo, tag, author, comment, changes (a list), pause."""
        return str(json.loads(self._client.request("POST", "/commit", query).read())["Id"])

    def history(self, image: str) -> list[Json]:
        """The image's steps, newest first: Id, Created, CreatedBy, Size, Tags, Comment."""
        path = f"/images/{quote(image, keep=b'/:@')}/history"
        return list(json.loads(self._client.request("GET", path).read()))
