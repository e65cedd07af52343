"""Times on the wire and times for people.

On the wire a time is RFC 3339 with nanoseconds in UTC (``2026-11-21T22:27:11.658198477Z``); never is
``0001-01-01T00:00:00Z``. Inside the program it is an integer of nanoseconds since the epoch, and never is 0.
Queries (``since``, ``until``) may also be Unix seconds, with a fraction, or a Go duration counted back from now.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from minidock.wire.errors import InvalidArgument

NEVER = "0001-01-01T00:00:00Z"
SECOND = 1_000_000_000
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
# Expressions with re.ASCII, so that a digit is one of ten; compiled when first used.
_DURATION = r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+"
_DURATION_PART = r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)"
_SECONDS = r"(\d{1,12})(?:\.(\d{1,9}))?"
_RFC3339 = r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9})\d*)?)?([Zz]|[+-]\d\d:\d\d)?"


def now() -> int:
    """Nanoseconds since the epoch."""
    return time.time_ns()


def rfc3339(ns: int) -> str:
    """Nanoseconds since the epoch → RFC 3339 with nanoseconds, trailing zeros dropped as Go does."""
    if ns == 0:
        return NEVER
    seconds, fraction = divmod(ns, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def parse_rfc3339(text: str) -> int:
    """The opposite. Raises InvalidArgument. A date alone, or a time without a zone, counts as UTC."""
    if text in ("", NEVER):
        return 0
    found = re.fullmatch(_RFC3339, text, re.ASCII)
    if not found:
        raise InvalidArgument(f"invalid time: {text!r}", "give RFC 3339 such as 2026-01-31T10:00:00Z, or Unix seconds")
    date, clock, fraction, zone = found.groups()
    zone = "+00:00" if zone in (None, "Z", "z") else zone
    try:
        seconds = int(datetime.fromisoformat(f"{date}T{clock or '00:00:00'}{zone}").timestamp())
    except ValueError as error:
        raise InvalidArgument(f"invalid time: {text!r}: {error}") from None
    return seconds * SECOND + int((fraction or "").ljust(9, "0"))


def parse_duration(text: str) -> int:
    """A Go duration (``1h30m``, ``1.5s``, ``10ms``) → nanoseconds. Raises InvalidArgument."""
    if text == "0":
        return 0
    if not re.fullmatch(_DURATION, text, re.ASCII):
        raise InvalidArgument(f"invalid duration: {text!r}", "give numbers with units, such as 1m30s or 500ms")
    return sum(int(float(amount) * _UNITS[unit]) for amount, unit in re.findall(_DURATION_PART, text, re.ASCII))


def parse_query_time(text: str) -> int:
    """``since`` and ``until``: Unix seconds with or without a fraction, RFC 3339, or a duration back from now."""
    seconds = re.fullmatch(_SECONDS, text, re.ASCII)
    if seconds:
        return int(seconds[1]) * SECOND + int((seconds[2] or "").ljust(9, "0"))
    if re.fullmatch(_DURATION, text, re.ASCII):
        return now() - parse_duration(text)
    return parse_rfc3339(text)


def human_duration(ns: int) -> str:
    """How long, for people, with Docker's words: ``3 seconds``, ``About a minute``, ``2 hours``."""
    seconds = max(ns, 0) // SECOND
    minutes, hours = seconds // 60, round(seconds / 3600)
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    for limit, unit, name in (
        (48, 1, "hours"),
        (24 * 14, 24, "days"),
        (24 * 60, 24 * 7, "weeks"),
        (24 * 365 * 2, 24 * 30, "months"),
    ):
        if hours < limit:
            return "About an hour" if hours == 1 else f"{hours // unit} {name}"
    return f"{hours // (24 * 365)} years"


def ago(ns: int) -> str:
    """``3 seconds ago`` for a time in nanoseconds since the epoch."""
    return human_duration(now() - ns) + " ago"
