"""What the image has at a volume's place is copied into the volume, if it is empty: once, when a container is created.

The image's side is a view of its layers, in which the place is resolved (an image's VOLUME may name a link, and the
link lead to the host's files: CVE-2022-23648); the volume's side is an fd of its directory. Between them goes a tar,
through a pipe, by the same writer and the same extractor as with ``cp``. Read next: ../image/tarpipe.py.
"""

from __future__ import annotations

import os

from minidock.engine.model import Container, MountPoint
from minidock.image.extract import Extractor, Rules
from minidock.image.model import Image
from minidock.image.store import ImageStore
from minidock.image.tarpipe import piped
from minidock.image.tarstream import TarStream
from minidock.linux import shim

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def fill(images: ImageStore, image: Image, container: Container) -> None:
    """Fills the empty volumes of a new container."""
    points = [point for point in container.definition.mounts if _wants(point)]
    if not points:
        return
    view = shim.overlay_view(str(images.layers_dir), ":".join(images.lowers(image)))
    try:
        for point in points:
            _fill(view, point)
    finally:
        os.close(view)


def _wants(point: MountPoint) -> bool:
    plain = point.type == "volume" and not point.no_copy and not point.driver_options
    return plain and not os.listdir(point.source)


def _fill(view: int, point: MountPoint) -> None:
    try:
        source = shim.openat2(view, point.destination, _DIRECTORY)
    except OSError:  # the image has nothing there, or no directory
        return
    try:
        volume = os.open(point.source, _DIRECTORY | os.O_NOFOLLOW)
        try:
            _copy(source, volume)
            status = os.fstat(source)
            os.fchown(volume, status.st_uid, status.st_gid)
            os.fchmod(volume, status.st_mode & 0o7777)
        finally:
            os.close(volume)
    finally:
        os.close(source)


def _copy(source: int, volume: int) -> None:
    extractor = Extractor(volume, "/", Rules())
    try:
        with piped(lambda writer: writer.tree(source, "")) as pieces:
            stream = TarStream(pieces)
            extractor.unpack(stream)
            stream.drain()
    finally:
        extractor.close()
