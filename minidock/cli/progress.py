"""Progress of a pull or a load: a line per layer, redrawn, on a terminal; plain lines elsewhere.

For image.py and create.py. The daemon sends objects {status, id, progressDetail: {current, total}}; those with an id
belong to a layer and have a line of their own, the others are printed as they come. Drawn as docker draws them:

    a3ed95caeb02: Downloading [=========>                                         ]  1.2MB/6.4MB
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from minidock.wire.units import decimal_size

_BAR = 50
_ROOM = 110  # columns below which the bar is left out


def show_progress(lines: Iterable[Mapping[str, Any]], file: TextIO) -> None:
    """Prints progress objects until they end. Raises what the iterable raises."""
    if file.isatty():
        _Drawing(file, os.get_terminal_size(file.fileno()).columns or 80).show(lines)
    else:
        for line in lines:
            if text := plain(line):
                file.write(text)
                file.flush()


def plain(line: Mapping[str, Any]) -> str:
    """An object's line where there is no terminal: everything but the bars."""
    if line.get("stream"):
        return str(line["stream"])
    if (line.get("progressDetail") or {}).get("current") or not line.get("status"):
        return ""
    return f"{line['id']}: {line['status']}\n" if line.get("id") else f"{line['status']}\n"


class _Drawing:
    """The lines on the screen: which layer stands where, counted from the first."""

    def __init__(self, file: TextIO, width: int) -> None:
        self._file = file
        self._width = width
        self._rows: dict[str, int] = {}

    def show(self, lines: Iterable[Mapping[str, Any]]) -> None:
        for line in lines:
            layer = str(line.get("id") or "")
            if layer and "progressDetail" in line:
                self._draw(layer, f"{layer}: {line.get('status', '')}{self._bar(line)}")
            elif text := plain(line):
                self._rows.clear()  # what stands above is history from here on
                self._file.write(text)
            self._file.flush()

    def _draw(self, layer: str, text: str) -> None:
        if layer not in self._rows:
            self._rows[layer] = len(self._rows)
            self._file.write("\n")
        up = len(self._rows) - self._rows[layer]
        self._file.write(f"\033[{up}A\r\033[2K{text[: self._width - 1]}\033[{up}B\r")

    def _bar(self, line: Mapping[str, Any]) -> str:
        detail = line.get("progressDetail") or {}
        current, total = detail.get("current") or 0, detail.get("total") or 0
        if not current:
            return ""
        if total <= 0:
            return f"  {decimal_size(current)}"
        done = min(_BAR, current * _BAR // total)
        bar = f" [{'=' * done}{'>' if done < _BAR else ''}{' ' * (_BAR - 1 - done)}]" if self._width > _ROOM else ""
        return f"{bar}  {decimal_size(current)}/{decimal_size(total)}"
