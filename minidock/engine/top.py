"""The processes of a container, by the host's ps(1).

ps is run on the host with the user's options, and the rows of the container's processes are kept; so the numbers are
the host's, as Docker shows them. It reads the command lines of all processes, and one whose memory hangs holds it up.
"""

from __future__ import annotations

import asyncio
import re
import shlex

from minidock.engine.requests import Top
from minidock.wire.errors import InvalidArgument, Unavailable

LIMIT = 10  # seconds for ps
_WORD = re.compile(r"[A-Za-z0-9,=_+%.:-]+", re.ASCII)


async def top(pids: set[int], arguments: str) -> Top:
    """``arguments`` are ps's, ``-ef`` by default; they must leave a PID column."""
    try:
        words = shlex.split(arguments or "-ef")
    except ValueError:  # a quotation mark without its other half
        words = [""]
    if any(not _WORD.fullmatch(word) for word in words):
        raise InvalidArgument(f"invalid ps arguments: {arguments!r}", "such as aux, or -o pid,user,args")
    try:
        ps = await asyncio.create_subprocess_exec(
            "ps",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise Unavailable("top: ps is not installed on the host", "apt-get install procps") from None
    try:
        async with asyncio.timeout(LIMIT):
            out, err = await ps.communicate()
    except TimeoutError:
        raise Unavailable(f"top: ps did not end in {LIMIT} s", "look for processes in state D on the host") from None
    finally:
        if ps.returncode is None:  # the client went, too
            ps.kill()
    if ps.returncode:
        raise InvalidArgument(f"ps: {(err.decode(errors='replace').strip() or 'failed').splitlines()[0]}")
    return _parse(out.decode(errors="replace"), pids)


def _parse(text: str, pids: set[int]) -> Top:
    """The last column is the command and may hold spaces; all others do not."""
    lines = text.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output", "add pid to the -o list")
    place = titles.index("PID")
    rows = []
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) > place and fields[place].isdigit() and int(fields[place]) in pids:
            rows.append(tuple(fields))
    return Top(tuple(titles), tuple(rows))
