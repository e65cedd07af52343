"""A daemon on another machine, through ssh: each connection is an `ssh` that runs `minidock system dial-stdio` there.

For connection.py, which imports this only for ``ssh://``. Who may log in there and use the socket needs nothing else:
no open port, no certificates. The command line is docker's, word for word but for the program. A session of its own
keeps a Ctrl-C from ending ssh before it has told the container; so ssh can ask for no password: use keys, or an agent.
See: docker/cli, cli/connhelper; ssh(1). Read next: ../cli/dial.py, the other end.
"""

from __future__ import annotations

import os
import subprocess
from _socket import socket, socketpair
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from minidock.wire.errors import DaemonUnreachable, InvalidArgument

_PATIENCE = 5  # seconds for a connection that has ended to say why
_FORM = "write ssh://[USER@]HOST[:PORT][/PATH/OF.sock]"


class Target(NamedTuple):
    """What an ssh:// address says."""

    host: str
    user: str
    port: int | None
    path: str

    def command(self) -> list[str]:
        """The ssh that leads there."""
        to = [*(["-l", self.user] if self.user else []), *(["-p", str(self.port)] if self.port else [])]
        there = ["minidock", *([f"--host=unix://{self.path}"] if self.path.strip("/") else [])]
        return ["ssh", "-o", "ConnectTimeout=30", "-T", *to, "--", self.host, *there, "system", "dial-stdio"]


def parse(host: str) -> Target:
    """Raises InvalidArgument, in docker's words."""
    try:
        url = urlsplit(host)
        name, port = url.hostname or "", url.port
    except ValueError as error:
        raise InvalidArgument(f"ssh host connection is not valid: {error}", _FORM) from None
    for wrong, words in (
        (url.password, "plain-text password is not supported"),
        (not name, "no host specified"),
        (url.query, f"extra query after the host: {url.query!r}"),
        (url.fragment, f"extra fragment after the host: {url.fragment!r}"),
        (not _plain(url.path), f"a path that a shell would not read as one word: {url.path!r}"),
    ):
        if wrong:
            raise InvalidArgument(f"ssh host connection is not valid: {words}", _FORM)
    return Target(name, unquote(url.username or ""), port, url.path)


def _plain(path: str) -> bool:
    """ssh joins its arguments and the shell at the other end splits them."""
    return path.isascii() and all(letter.isalnum() or letter in "/._-+@:" for letter in path)


class Tunnel:
    """One connection: ``plain`` is our end of it, ``trouble`` why it broke, once it has."""

    def __init__(self, host: str) -> None:
        self._command = parse(host).command()
        self.plain, theirs = socketpair()
        self._stderr = os.memfd_create("ssh-stderr", os.MFD_CLOEXEC)
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError as error:
            raise DaemonUnreachable(f"run ssh: {(error.strerror or '').lower()}", "install openssh-client") from None
        finally:
            theirs.close()

    def trouble(self) -> str:
        """How ssh ended, and what it said; docker's words."""
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return ""
        said = os.pread(self._stderr, 1 << 16, 0).decode(errors="replace").strip()
        return (
            f"command [{' '.join(self._command)}] has exited with exit status {code}, make sure the URL is valid, "
            f"and minidock is installed on the remote host: stderr={said}"
        )


def tunnel(host: str, timeout: float | None) -> tuple[socket, Tunnel]:
    """A connection to the daemon at an ssh:// address. Raises InvalidArgument, DaemonUnreachable."""
    made = Tunnel(host)
    made.plain.settimeout(timeout)
    return made.plain, made
