"""`login`, `logout` and `search`: registries of a few lines beside a daemon, asked by both clients, ours and docker's.

Each registry is a program in the daemon's network namespace. The credentials of the client: unit/test_credentials.py;
the way to a token in detail: unit/test_registry.py.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from tests.support.daemon import Daemon
from tests.support.registries import real_registry

pytestmark = [pytest.mark.docker_cli]

PREAMBLE = """
import base64, http.server, json, urllib.parse
PASSWORD = "Basic " + base64.b64encode(b"me:secret").decode()
class Base(http.server.BaseHTTPRequestHandler):
    @property
    def given(self):
        return self.headers.get("Authorization")
    @property
    def query(self):
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
    def answer(self, status, value=None, challenge='Basic realm="x"'):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
def serve(handler):
    server = http.server.HTTPServer(("127.0.0.1", 5001), handler)
    print("up", flush=True)
    server.serve_forever()
"""


@contextmanager
def _serving(daemon: Daemon, program: str) -> Iterator[None]:
    """The registry at 127.0.0.1:5001 of the daemon's network."""
    command = [*daemon.netns.enter, "python3", "-c", f"{PREAMBLE}{program}serve(Handler)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout and server.stdout.readline() == b"up\n"
            yield
        finally:
            server.kill()


AUTHORIZED = """
class Handler(Base):
    def do_GET(self):
        good = self.given == PASSWORD
        self.answer(404 if good and len(self.path) > 4 else 200 if good else 401)
"""


def test_login_and_logout(fresh_daemon: Daemon) -> None:
    """The registry decides; a wrong password is one line; what was kept goes along with a pull."""
    minidock = fresh_daemon.cli
    with _serving(fresh_daemon, AUTHORIZED):
        wrong = minidock("login", "-u", "me", "--password-stdin", "127.0.0.1:5001", stdin="wrong\n")
        assert wrong.code == 1
        assert wrong.err == "minidock: login to 127.0.0.1:5001: unauthorized: incorrect username or password\n"
        assert "denied" in minidock("pull", "127.0.0.1:5001/x").err
        done = minidock("login", "-u", "me", "--password-stdin", "127.0.0.1:5001", stdin="secret\n")
        assert (done.code, done.out) == (0, "Login Succeeded\n") and "stored unencrypted" in done.err
        assert "manifest for 127.0.0.1:5001/x:latest not found" in minidock("pull", "127.0.0.1:5001/x").err
        assert minidock.ok("logout", "127.0.0.1:5001") == "Removing login credentials for 127.0.0.1:5001"
        assert "denied" in minidock("pull", "127.0.0.1:5001/x").err
        docker = fresh_daemon.docker("login", "-u", "me", "--password-stdin", "127.0.0.1:5001", stdin="wrong")
        assert docker.code == 1 and "incorrect username or password" in docker.err
        right = fresh_daemon.docker.ok("login", "-u", "me", "--password-stdin", "127.0.0.1:5001", stdin="secret")
        assert "Login Succeeded" in right


TOKENS = """
CHALLENGE = 'Bearer realm="http://127.0.0.1:5001/token",service="here"'
class Handler(Base):
    def do_GET(self):
        if self.path.startswith("/token") and self.given == PASSWORD:
            more = {"refresh_token": "an identity"} if self.query.get("offline_token") == "true" else {}
            self.answer(200 if self.query.get("account") == "me" else 400, {"token": "by-password", **more})
        elif self.given in ("Bearer by-password", "Bearer by-identity"):
            self.answer(404 if self.path != "/v2/" else 200, {})
        else:
            self.answer(401, {}, CHALLENGE)
    def do_POST(self):
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        good = form["grant_type"] == "refresh_token" and form["refresh_token"] == "an identity"
        self.answer(200 if good and form["scope"] == "repository:x:pull" else 401, {"access_token": "by-identity"})
"""


def test_an_identity_token_is_kept_in_place_of_the_password(fresh_daemon: Daemon) -> None:
    """What a token server gives for the password is all that is kept, and opens the registry (POST, RFC 6749)."""
    configs = (fresh_daemon.base / ".minidock/config.json", fresh_daemon.base / ".docker/config.json")
    with _serving(fresh_daemon, TOKENS):
        for cli, config in zip((fresh_daemon.cli, fresh_daemon.docker), configs, strict=True):
            cli.ok("login", "-u", "me", "--password-stdin", "127.0.0.1:5001", stdin="secret")
            kept = json.loads(config.read_text())["auths"]["127.0.0.1:5001"]
            assert kept["identitytoken"] == "an identity" and base64.b64decode(kept["auth"]) == b"me:"
            assert "manifest for 127.0.0.1:5001/x:latest not found" in cli("pull", "127.0.0.1:5001/x").err
            cli.ok("logout", "127.0.0.1:5001")
            assert "pull access denied" in cli("pull", "127.0.0.1:5001/x").err


@pytest.mark.registry
def test_a_build_takes_along_what_opens_the_registries_that_it_pulls_from(fresh_daemon: Daemon, tmp_path: Path) -> None:
    """X-Registry-Config, from docker-py and both CLIs, at a registry that shows nothing without a password.

    Seen to fail with the header not read, and with the registry's host not found among its names.
    """
    fresh_daemon.load("busybox")
    api = docker.DockerClient(base_url=fresh_daemon.host, timeout=60)
    with real_registry(tmp_path / "registry", 5001, fresh_daemon.netns.enter, locked=True) as address:
        base = f"{address}/team/base:1"
        (tmp_path / "context").mkdir()
        (tmp_path / "context/Dockerfile").write_text(f"FROM {base}\nRUN echo built > /x\n")

        def build() -> None:
            image, _ = api.images.build(path=str(tmp_path / "context"), tag="made", rm=True, nocache=True)
            assert image.tags == ["made:latest"]
            fresh_daemon.cli.ok("rmi", "made", base)

        api.images.get("busybox").tag(base)
        with pytest.raises(docker.errors.APIError, match=r"incorrect username or password|unauthorized"):
            api.login("me", "wrong", registry=address)
        assert "errorDetail" in api.images.push(base) and "secret" not in api.images.push(base)
        assert api.login("me", "secret", registry=address)["Status"] == "Login Succeeded"
        assert "digest: sha256:" in api.images.push(base)
        fresh_daemon.cli.ok("rmi", base)
        build()
        api.close()
        api = docker.DockerClient(base_url=fresh_daemon.host, timeout=60)
        with pytest.raises(docker.errors.BuildError, match="denied|unauthorized"):
            build()
        api.close()
        for cli in (fresh_daemon.cli, fresh_daemon.docker):
            refused = cli("build", "-t", "made", str(tmp_path / "context"))
            assert refused.code == 1 and ("denied" in refused.err or "unauthorized" in refused.err)
            cli.ok("login", "-u", "me", "--password-stdin", address, stdin="secret")
            cli.ok("build", "-t", "made", str(tmp_path / "context"))
            cli.ok("logout", address)
            cli.ok("rmi", "made", base)


INDEX = """
RESULTS = [{"name": "tool", "description": "A tool that does more than forty-five characters can say of it",
            "star_count": 12, "is_official": True, "is_automated": False},
           {"name": "me/tool", "description": "", "star_count": 3, "is_official": False, "is_automated": False}]
class Handler(Base):
    def do_GET(self):
        found = RESULTS[:int(self.query["n"])] if self.query.get("q") == "tool" else []
        self.answer(200, {"results": found})
"""


def test_search(fresh_daemon: Daemon) -> None:
    """Both clients print the same, which is what docker 28 prints with dockerd 20.10."""
    with _serving(fresh_daemon, INDEX):
        for cli in (fresh_daemon.cli, fresh_daemon.docker):
            assert [line.rstrip() for line in cli.ok("search", "127.0.0.1:5001/tool").splitlines()] == [
                "NAME      DESCRIPTION                                     STARS     OFFICIAL",
                "tool      A tool that does more than forty-five charac…   12        [OK]",
                "me/tool                                                   3",
            ]
            names = ("search", "--format", "{{.Name}} {{.StarCount}}", "127.0.0.1:5001/tool")
            assert cli.ok(*names, "--filter", "stars=5") == "tool 12"
            assert cli.ok(*names, "--filter", "is-official=false") == "me/tool 3"
            assert cli.ok(*names, "--limit", "1") == "tool 12"
            assert cli.ok("search", "--no-trunc", "--format", "{{.Description}}", "127.0.0.1:5001/tool").endswith(
                "it\n"
            )
            wrong = cli("search", "--limit", "101", "x")
            assert wrong.code == 1 and "Limit 101 is outside the range of [1, 100]" in wrong.err
            assert cli("search", "--filter", "bogus=1", "x").code == 1
