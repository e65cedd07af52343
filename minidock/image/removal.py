"""`docker rmi`: which names go, whether the image goes with them, and what stands in the way. Docker's rules.

By name: the name goes; the image too, if that was its last name. By id: all names and the image go, unless it has names
in several repositories (then only by force). Containers that run keep their image, whatever is forced; for those that
don't it takes force, and then the image is gone for everybody but them: they can be started as before, and with the
last of them goes what was kept. An image that others were built on is kept, too; with the last of those it goes along,
unless it has a name. See: moby daemon/images/image_delete.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minidock.image import reference
from minidock.image.model import Removed
from minidock.image.records import Records
from minidock.image.reference import Reference
from minidock.wire.errors import Conflict
from minidock.wire.names import short_id


@dataclass(frozen=True)
class User:
    """A container that has an image, and whether it runs."""

    container: str
    running: bool


InUse = Callable[[str], Sequence[User]]


class Removal:
    """One `rmi` of one image."""

    def __init__(self, records: Records, ident: str, force: bool, in_use: InUse, prune: bool = True) -> None:
        self._records, self._id, self._force, self._prune, self._in_use = records, ident, force, prune, in_use
        self._users = sorted(in_use(ident), key=lambda user: not user.running)  # those that run stand in the way most
        self._removed: list[Removed] = []

    def run(self, text: str) -> list[Removed]:
        """What was removed. ``text`` is what the user wrote. Raises Conflict."""
        if self._id.removeprefix("sha256:").startswith(text.removeprefix("sha256:")):
            self._by_id()
        else:
            self._by_name(reference.parse(text).with_default_tag(), text)
        return self._removed

    def _by_name(self, ref: Reference, text: str) -> None:
        if self._users and not self._force and _one_repository(self._names()):
            raise Conflict(
                f'conflict: unable to remove repository reference "{text}" (must force) - '
                f"container {self._users[0].container[:12]} is using its referenced image {short_id(self._id)}"
            )
        self._untag(ref)
        same = [name for name in self._names() if name.name == ref.name]
        if not any(name.tag for name in same):
            for name in same:
                self._untag(name)
        kept = self._records.children(self._id) or (self._users and (self._users[0].running or not self._force))
        if not self._names() and not kept:
            self._delete()

    def _by_id(self) -> None:
        if self._users and self._users[0].running:
            container = self._users[0].container[:12]
            raise self._conflict("cannot be forced", f"image is being used by running container {container}")
        if self._records.children(self._id):
            raise self._conflict("cannot be forced", "image has dependent child images")
        if not self._force and not _one_repository(self._names()):
            raise self._conflict("must be forced", "image is referenced in multiple repositories")
        if not self._force and self._users:
            container = self._users[0].container[:12]
            raise self._conflict("must be forced", f"image is being used by stopped container {container}")
        self._delete()

    def _conflict(self, how: str, why: str) -> Conflict:
        return Conflict(f"conflict: unable to delete {short_id(self._id)} ({how}) - {why}")

    def _names(self) -> list[Reference]:
        return [*self._records.tags(self._id), *self._records.digests(self._id)]

    def _untag(self, ref: Reference) -> None:
        self._records.untag(ref)
        self._removed.append(Removed(untagged=ref.familiar()))

    def _delete(self) -> None:
        for name in self._names():
            self._untag(name)
        parent = self._records.parent(self._id)
        if self._users:
            self._records.retire(self._id)
        else:
            self._records.delete_image(self._id)
        self._removed.append(Removed(deleted=self._id))
        while self._prune and self._is_left_over(parent):
            below = self._records.parent(parent)
            self._records.delete_image(parent)
            self._removed.append(Removed(deleted=parent))
            parent = below

    def _is_left_over(self, ident: str) -> bool:
        """Whether an image was kept for those that are gone now alone."""
        records = self._records
        named = records.tags(ident) or records.digests(ident)
        return ident in records.ids() and not (named or records.children(ident) or self._in_use(ident))


def _one_repository(names: list[Reference]) -> bool:
    """At most one tag, and all digests in the same repository: then a tag is the image, for the user."""
    return sum(bool(name.tag) for name in names) <= 1 and len({name.name for name in names}) <= 1
