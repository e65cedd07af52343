"""Sizes as users write and read them.

Memory is counted in powers of 1024 (``32m`` is 33 554 432 bytes), shown sizes in powers of 1000 (``7.66MB``), both as
Docker does. See: github.com/docker/go-units, whose behaviour the docker CLI shows.
"""

from __future__ import annotations

import re

from minidock.wire.errors import InvalidArgument

_SIZE = r"([0-9]+(?:\.[0-9]+)?) ?([kKmMgGtTpP]?)[iI]?[bB]?"
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def parse_bytes(text: str) -> int:
    """``512``, ``32m``, ``1.5g``, ``64MiB`` → bytes. Raises InvalidArgument."""
    found = re.fullmatch(_SIZE, text.strip())
    if not found or len(text) > 32:
        raise InvalidArgument(f"invalid size: {text!r}", "give a number with a unit of b, k, m, g or t, such as 64m")
    return int(float(found[1]) * 1024 ** _POWERS[found[2].lower()])


def _human(size: float, base: int, names: tuple[str, ...], digits: int) -> str:
    index = 0
    while size >= base and index < len(names) - 1:
        size /= base
        index += 1
    return f"{size:.{digits}g}{names[index]}"


def decimal_size(size: int, digits: int = 3) -> str:
    """Bytes in powers of 1000 with three significant digits, unless others are asked for: ``7.66MB``."""
    return _human(float(size), 1000, _DECIMAL, digits)


def binary_size(size: int) -> str:
    """Bytes in powers of 1024 with four significant digits: ``31.25MiB``."""
    return _human(float(size), 1024, _BINARY, 4)
