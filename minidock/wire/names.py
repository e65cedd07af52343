"""Ids and names: what is allowed, how ids are shortened, and random names as ``docker run`` gives them.

An id is 64 hexadecimal digits; people use the first 12. A name must not be mistaken for an id. Expressions are compiled
when first used, not at import, here and in all of wire/: the client needs few of them, and waits for each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from minidock.wire.errors import InvalidArgument

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"
_ID = r"[0-9a-f]{64}"
_LIKE_AN_ID = r"[0-9a-f]{64}|[0-9a-f]{12}"
_LONGEST = 255

_ADJECTIVES = (
    "able airy amber bold brave bright brisk calm clear clever cosy crisp daring deft eager early easy fair fancy "
    "fast fine fresh gentle glad golden grand handy happy hardy jolly keen kind light lively loyal lucky mellow "
    "merry mighty modest neat nimble noble patient plucky polite proud quick quiet rapid ready robust shiny silent "
    "smart snug solid spry steady sunny sure swift tidy trusty vivid warm wise witty young zesty"
).split()
_NOUNS = (
    "anchor anvil barge beacon berth boat bollard bosun bow bridge buoy cabin canal canoe capstan cargo clipper "
    "coast compass container crane cutter deck dinghy dock ferry fleet freighter galley hatch harbor hawser helm "
    "hold hull jetty keel ketch lagoon lantern lighthouse locker lugger mast mooring oar pallet pier pilot port "
    "quay raft rigging rudder sail schooner sextant skiff sloop spar stern swell tackle tender tide tiller trawler "
    "tug wharf winch yawl"
).split()


def new_id() -> str:
    """A fresh id. The short form is never all digits, so that it can't be taken for a number (Docker's rule)."""
    while True:
        ident = os.urandom(32).hex()
        if not ident[:12].isdigit():
            return ident


def is_id(text: str) -> bool:
    """Whether it reads as a whole id."""
    return re.fullmatch(_ID, text) is not None


def short_id(ident: str) -> str:
    """The first 12 digits, without the ``sha256:`` of an image id."""
    return ident.removeprefix("sha256:")[:12]


def check_name(name: str) -> str:
    """Returns a container's name without the leading slash. Raises InvalidArgument with Docker's text."""
    bare = name.removeprefix("/")
    if not re.fullmatch(_NAME, bare) or len(bare) > _LONGEST:
        hint = "two characters at least" if len(bare) == 1 else ""
        raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", hint)
    if re.fullmatch(_LIKE_AN_ID, bare):
        raise InvalidArgument(f"Invalid container name ({name}): it reads like an id", "add a letter past f, or a dash")
    return bare


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a word that is none of the known ones; empty if nothing is like it."""
    import difflib

    bare = {name.lstrip("-"): name for name in known}  # or any two flags would be alike
    close = difflib.get_close_matches(word.lstrip("-"), list(bare), 1)
    return f"did you mean {bare[close[0]]}?" if close else ""


def random_name() -> str:
    """Such as ``calm_harbor``."""
    a, b = os.urandom(2)
    return f"{_ADJECTIVES[a % len(_ADJECTIVES)]}_{_NOUNS[b % len(_NOUNS)]}"
