"""The client's verbs on images that leave: push, save, commit; history; and on registries: login, search.

For cli/distribution.py and cli/login.py. Read next: part.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from minidock.client.client import Filters, Json, Query, encode_filters, quote
from minidock.client.connection import Response
from minidock.client.part import Part
from minidock.wire.errors import ServerError

_NOBODY = "e30="  # {} in base64: Docker's daemons want the header with every push


class Distribution(Part):
    """``Distribution(client).push(…)``."""

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
        answer = self._ask("POST", "/auth", body=credentials)
        return str(answer.get("Status") or "Login Succeeded"), str(answer.get("IdentityToken") or "")

    def search(self, query: Query, filters: Filters, auth: str = "") -> list[Json]:
        """What a registry finds: name, description, star_count, is_official. ``query``: term, limit."""
        asked = {**query, "filters": encode_filters(filters)}
        return list(self._ask("GET", "/images/search", asked, auth=auth or _NOBODY))

    def commit(self, query: Query) -> str:
        """The new image's id. ``query``: container, repo, tag, author, comment, changes (a list), pause."""
        return str(self._ask("POST", "/commit", query)["Id"])

    def history(self, image: str) -> list[Json]:
        """The image's steps, newest first: Id, Created, CreatedBy, Size, Tags, Comment."""
        return list(self._ask("GET", f"/images/{quote(image, keep=b'/:@')}/history"))
