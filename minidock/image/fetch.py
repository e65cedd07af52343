"""A file from a URL: what ADD takes from elsewhere, and contexts that lie on a web server.

Redirects are followed by http.py, never from https to http; certificates are checked; what comes is bounded, and goes
to a file as it comes. Read next: http.py.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from minidock.wire.errors import InvalidArgument, ServerError

MAX_BYTES = 16 << 30


@dataclass(frozen=True)
class Fetched:
    """``modified``: seconds since the epoch, 0 if the server does not say."""

    modified: int


def is_url(text: str) -> bool:
    """Whether it is to be fetched."""
    return text.lower().startswith(("http://", "https://"))


def file_name(url: str) -> str:
    """The last part of a URL's path; empty if there is none."""
    return posixpath.basename(unquote(urlsplit(url).path)).replace("\0", "")


def fetch(url: str, path: Path) -> Fetched:
    """Writes what is there into a new file (0600). Raises InvalidArgument for an answer other than 200, ServerError."""
    from minidock.image.http import Timing, Transport  # urllib3: 6 MB, for those who need it

    transport = Transport(verify=True, timing=Timing())
    try:
        response = transport.request("GET", url, {})
        if response.status != 200:
            transport.discard(response)
            raise InvalidArgument(f"fetch {url}: it answered {response.status}")
        left = MAX_BYTES
        with path.open("xb") as file:
            path.chmod(0o600)
            for piece in transport.pieces(response):
                left -= len(piece)
                if left < 0:
                    raise ServerError(f"fetch {url}: larger than {MAX_BYTES} bytes")
                file.write(piece)
        return Fetched(_seconds(response.headers.get("Last-Modified", "")))
    except OSError as error:
        raise ServerError(f"fetch {url}: {error.strerror or error}") from error
    finally:
        transport.close()


def _seconds(text: str) -> int:
    from email.utils import parsedate_to_datetime

    try:
        return max(int(parsedate_to_datetime(text).timestamp()), 0)
    except (ValueError, TypeError, OverflowError):
        return 0
