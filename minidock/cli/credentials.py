"""The names and passwords for registries, where `login` keeps them and `pull`, `push` and `run` look for them.

Ours first, then docker's: ~/.minidock/config.json ($MINIDOCK_CONFIG names another folder), ~/.docker/config.json
($DOCKER_CONFIG). Both have docker's form:

    {"auths": {"HOST": {"auth": base64("user:password")}}, "credsStore": "pass", "credHelpers": {"HOST": "ecr-login"}}

An entry may have an "identitytoken" that the registry gave for the password, which is then not kept.

A helper is the program docker-credential-NAME, which keeps the password elsewhere: it is asked over its standard input.
Only ours is ever written, by rename and for the user alone (0600). Docker Hub is called https://index.docker.io/v1/ in
these files. See: https://docs.docker.com/reference/cli/docker/login/ ("Credential stores").
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from minidock.wire.errors import InvalidArgument, ServerError

HUB_KEY = "https://index.docker.io/v1/"
HUB_NAMES = ("", "docker.io", "index.docker.io", "registry-1.docker.io")
TOKEN = "<token>"  # the user name that stands for an identity token
HELPER_SECONDS = 30

Json = dict[str, Any]


def own_file() -> Path:
    """The file that `login` writes."""
    folder = os.environ.get("MINIDOCK_CONFIG")
    return (Path(folder) if folder else Path.home() / ".minidock") / "config.json"


def _docker_file() -> Path:
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def server_key(address: str) -> str:
    """What a registry is called in the files: ``https://index.docker.io/v1/`` or its host."""
    host = address.partition("://")[2] if "://" in address else address
    host = host.partition("/")[0]
    return HUB_KEY if host in HUB_NAMES else host


def header(repository: str) -> str:
    """X-Registry-Auth for a canonical repository (``docker.io/library/x``); empty if there is nothing to send."""
    found = find(server_key(repository.partition("/")[0]))
    if not found:
        return ""
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(json.dumps(found).encode()).decode()


def everything() -> str:
    """X-Registry-Config: all that is kept, by registry, for a build that may pull from any of them."""
    keys: list[str] = []
    for config in (_read(own_file()), _read(_docker_file())):
        for table in ("auths", "credHelpers"):
            found = config.get(table)
            keys += [server_key(name) for name in found] if isinstance(found, dict) else []
    known = {key: entry for key in dict.fromkeys(keys) if (entry := find(key))}
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(json.dumps(known).encode()).decode()


def find(key: str) -> Json:
    """The credentials for a registry as the API takes them; empty if there are none."""
    for path in (own_file(), _docker_file()):
        config = _read(path)
        helper = _text(config, "credHelpers", key) or str(config.get("credsStore") or "")
        found = _ask(helper, key) if helper else {}
        if found := found or _decoded(config, key):
            return {**found, "serveraddress": key}
    return {}


def store(key: str, username: str, password: str, token: str = "") -> str:
    """Keeps credentials, an identity token in place of the password; returns where, if they are readable there."""
    config = _read(own_file())
    helper = _text(config, "credHelpers", key) or str(config.get("credsStore") or "")
    if helper:
        entry = {"ServerURL": key, "Username": TOKEN if token else username, "Secret": token or password}
        _run(helper, "store", json.dumps(entry))
        config.setdefault("auths", {})[key] = {}
    else:
        from base64 import b64encode

        pair = f"{username}:{'' if token else password}"
        kept = {"auth": b64encode(pair.encode()).decode()}
        config.setdefault("auths", {})[key] = kept | ({"identitytoken": token} if token else {})
    _write(config)
    return "" if helper else str(own_file())


def forget(key: str) -> bool:
    """Takes credentials out of our file; False if there were none."""
    config = _read(own_file())
    helper = _text(config, "credHelpers", key) or str(config.get("credsStore") or "")
    auths = config.get("auths")
    known = isinstance(auths, dict) and key in auths
    if known and helper:
        _run(helper, "erase", key)
    if known:
        del config["auths"][key]
        _write(config)
    return known


def _read(path: Path) -> Json:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidArgument(f"read {path}: it is no JSON object", "correct it or move it away")
    return found


def _write(config: Json) -> None:
    path = own_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w") as file:
            json.dump(config, file, indent="\t")
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _text(config: Json, table: str, key: str) -> str:
    found = config.get(table)
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def _decoded(config: Json, key: str) -> Json:
    """An entry of ``auths``; older files have URLs where newer ones have hosts."""
    auths = config.get("auths")
    for name, entry in auths.items() if isinstance(auths, dict) else ():
        if server_key(name) == key and isinstance(entry, dict):
            pair = _pair(str(entry["auth"]), key) if entry.get("auth") else {}
            if entry.get("identitytoken"):
                name = {"username": pair["username"]} if pair else {}
                return {**name, "identitytoken": str(entry["identitytoken"])}
            if pair:
                return pair
    return {}


def _pair(text: str, key: str) -> Json:
    from base64 import b64decode

    try:
        username, colon, password = b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        colon = ""
    if not colon:
        raise InvalidArgument(f"read credentials of {key}: not base64 of USER:PASSWORD", "log in again")
    return {"username": username, "password": password.rstrip("\0")}


def _ask(helper: str, key: str) -> Json:
    answer = _run(helper, "get", key)
    try:
        found = json.loads(answer) if answer else {}
        username, secret = str(found.get("Username", "")), str(found.get("Secret", ""))
    except (ValueError, AttributeError):
        raise ServerError(f"docker-credential-{helper}: its answer is no JSON object") from None
    if username == TOKEN:
        return {"identitytoken": secret}
    return {"username": username, "password": secret} if secret else {}


def _run(helper: str, verb: str, text: str) -> str:
    """What a helper answers; empty if it says that it has no such credentials."""
    import subprocess

    if "/" in helper:
        raise InvalidArgument(f"credential helper {helper!r}: want the NAME of a program docker-credential-NAME")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, verb], input=text, capture_output=True, text=True, timeout=HELPER_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else "it does not answer"
        raise ServerError(f"run {program}: {reason}", "it is named in the configuration of credentials") from None
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout or done.stderr).strip()
    if verb == "get" and "credentials not found" in said:
        return ""
    raise ServerError(f"{program} {verb}: {said[:300] or f'exit code {done.returncode}'}")
