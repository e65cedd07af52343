"""`minidock login` and `logout`: the daemon asks the registry whether the password is right, the client keeps it.

Read next: credentials.py, for where.
"""

from __future__ import annotations

import sys

from minidock.cli import credentials
from minidock.cli.terminal import is_terminal
from minidock.cli.verb import Failed, argument, client, flag, tell, value, verb
from minidock.client.distribution import Distribution

INSECURE = "WARNING! Using --password via the CLI is insecure; use --password-stdin"


@verb("login")
@argument("server", "[SERVER]", required=False)
@value("-u", "--username", help="Username", default="")
@value("-p", "--password", help="Password", default="")
@flag("--password-stdin", help="Take the password from stdin")
def login_command(server: str | None, username: str, password: str, password_stdin: bool) -> None:
    """Log in to a registry; without SERVER to Docker Hub"""
    if password and password_stdin:
        raise Failed("--password and --password-stdin are mutually exclusive", 1)
    if password_stdin and not username:
        raise Failed("must provide --username with --password-stdin", 1)
    if password:
        tell(INSECURE)
    if password_stdin:
        password = sys.stdin.read().rstrip("\r\n")
    key = credentials.server_key(server or "")
    username, password = _ask(username, password)
    asked = {"username": username, "password": password, "serveraddress": key}
    told, token = Distribution(client()).login(asked)
    where = credentials.store(key, username, password, token)
    if where:
        tell(f"WARNING! Your credentials are stored unencrypted in '{where}'")
    print(told)


def _ask(username: str, password: str) -> tuple[str, str]:
    """What was not given, from the terminal."""
    if not (username and password) and not is_terminal(0):
        raise Failed("cannot perform an interactive login from a non TTY device; hint: use -u and --password-stdin", 1)
    if not username:
        username = input("Username: ").strip()
    if not password:
        from getpass import getpass

        password = getpass("Password: ")
    if not username or not password:
        raise Failed("username and password are both needed", 1)
    return username, password


@verb("logout")
@argument("server", "[SERVER]", required=False)
def logout_command(server: str | None) -> None:
    """Log out from a registry; without SERVER from Docker Hub"""
    key = credentials.server_key(server or "")
    if not credentials.forget(key):
        print(f"Not logged in to {key}")
        return
    print(f"Removing login credentials for {key}")
