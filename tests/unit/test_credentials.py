"""Where the client keeps and finds passwords: its own file, docker's, and docker's helper programs."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from minidock.cli import credentials
from minidock.wire.errors import Error

HELPER = """#!/bin/sh
read -r key
echo "$1 $key" >>"$0.log"
case "$1 $key" in
"get helped") echo '{"ServerURL":"helped","Username":"h","Secret":"s"}' ;;
"get tokened") echo '{"Username":"<token>","Secret":"t"}' ;;
"get broken") echo 'locked'; exit 2 ;;
get*) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIDOCK_CONFIG", str(tmp_path / "minidock"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()
    helper = tmp_path / "docker-credential-fake"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def docker_config(home: Path, **value: object) -> None:
    (home / "docker/config.json").write_text(json.dumps(value))


def pair(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_kept_for_the_user_alone_and_found_again(home: Path) -> None:
    assert credentials.header("docker.io/library/x") == ""
    assert credentials.store(credentials.server_key(""), "me", "a:b") == str(home / "minidock/config.json")
    credentials.store("127.0.0.1:5000", "you", "p")
    file = home / "minidock/config.json"
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(file.read_text())["auths"]["https://index.docker.io/v1/"] == pair("me:a:b")
    sent = json.loads(base64.urlsafe_b64decode(credentials.header("docker.io/library/x")))
    assert sent == {"username": "me", "password": "a:b", "serveraddress": "https://index.docker.io/v1/"}
    assert credentials.find("127.0.0.1:5000")["username"] == "you" and credentials.find("127.0.0.1") == {}
    assert credentials.forget("127.0.0.1:5000") and not credentials.forget("127.0.0.1:5000")
    assert [path.name for path in file.parent.iterdir()] == ["config.json"]


def test_dockers_file_comes_second_and_is_never_written(home: Path) -> None:
    docker_config(home, auths={"https://here/v2/": pair("old:1"), "token": {"identitytoken": "t"}})
    before = (home / "docker/config.json").read_bytes()
    assert credentials.find("here")["username"] == "old", "older files have URLs"
    assert credentials.find("token") == {"identitytoken": "t", "serveraddress": "token"}
    credentials.store("here", "new", "2")
    assert credentials.find("here")["username"] == "new"
    assert not credentials.forget("token") and (home / "docker/config.json").read_bytes() == before


def test_helpers_are_asked(home: Path) -> None:
    docker_config(home, credHelpers={"helped": "fake"}, credsStore="fake", auths={"plain": pair("a:b")})
    assert credentials.find("helped") == {"username": "h", "password": "s", "serveraddress": "helped"}
    assert credentials.find("tokened") == {"identitytoken": "t", "serveraddress": "tokened"}
    assert credentials.find("plain")["password"] == "b", "what the helper lacks may stand in the file"
    with pytest.raises(Error, match="docker-credential-fake get: locked"):
        credentials.find("broken")
    (home / "minidock").mkdir()
    (home / "minidock/config.json").write_text('{"credsStore": "fake"}')
    assert credentials.store("kept", "u", "p") == "" and credentials.forget("kept")
    log = (home / "docker-credential-fake.log").read_text()
    assert '"Secret": "p"' in log and "erase kept" in log
    assert "p" not in json.loads((home / "minidock/config.json").read_text())["auths"].get("kept", {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "it is no JSON object"),
        ("{", "it is no JSON object"),
        ('{"auths": {"x": {"auth": "?"}}}', "not base64"),
        ('{"credsStore": "nosuch"}', "run docker-credential-nosuch: no such file"),
        ('{"credsStore": "../x"}', "want the NAME of a program"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_error(home: Path, text: str, says: str) -> None:
    (home / "docker/config.json").write_text(text)
    with pytest.raises(Error, match=says):
        credentials.find("x")
