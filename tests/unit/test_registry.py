"""The registry client against a registry that misbehaves: right error, bounded time, credentials where they belong.

Client and server only, no store: what a pull leaves on disk is in tests/root/test_pull.py. The faults:
wrong digests and sizes, bodies cut short, 500/502/429, redirects to another host, stalls, hostile manifests.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minidock.image import http, manifest, reference, registry
from minidock.image.auth import challenges, check_realm
from minidock.image.content import Content
from minidock.image.http import Timing
from minidock.image.manifest import Descriptor
from minidock.image.model import Auth, RegistryConfig
from minidock.image.progress import Meter
from minidock.image.registry import Document, Endpoint, Repository, endpoints, is_insecure
from minidock.wire.errors import Error, NotFound, ServerError
from tests.support.figures import Figure
from tests.support.images import digest, file, tar
from tests.support.registries import FakeRegistry, Reply, Request, fake_registry, refusal

QUICK = Timing(connect=1, read=0.3, window=0.5, window_bytes=100, attempts=3, pause=0.01, longest_pause=0.05)
LAYER = tar(file("a", b"A" * 50_000))
BOB = Auth("bob", "secret")


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with fake_registry() as found:
        found.publish("x", "1", [LAYER])
        yield found


def opened(fake: FakeRegistry, name: str = "x:1", auth: Auth | None = None, timing: Timing = QUICK) -> Repository:
    return registry.open_manifest(reference.parse(f"{fake.host}/{name}"), RegistryConfig(), auth, timing)[0]


def got(fake: FakeRegistry, name: str = "x:1", auth: Auth | None = None) -> Document:
    return registry.open_manifest(reference.parse(f"{fake.host}/{name}"), RegistryConfig(), auth, QUICK)[1]


def layer_of(fake: FakeRegistry) -> Descriptor:
    found = manifest.parse(fake.manifests["x:1"][1])
    assert isinstance(found, manifest.Manifest)
    return found.layers[0]


def download(repository: Repository, descriptor: Descriptor, tmp_path: Path) -> bytes:
    (tmp_path / "content").mkdir(exist_ok=True)
    (tmp_path / "tmp").mkdir(exist_ok=True)
    with Content(tmp_path).writer() as writer:
        repository.blob(descriptor, writer, Meter(lambda line: None, "", "", 0))
        writer.close()
        return writer.path.read_bytes()


def on(part: str, *replies: Reply) -> Callable[[Request], Reply | None]:
    """A hook: requests whose path holds `part` get these replies in turn, the last one again and again."""
    left = list(replies)
    return lambda request: (left.pop(0) if len(left) > 1 else left[0]) if part in request.path else None


# -- the way it should go


def test_a_manifest_and_a_layer(fake: FakeRegistry, tmp_path: Path) -> None:
    repository = opened(fake)
    assert got(fake).data == fake.manifests["x:1"][1]
    assert download(repository, layer_of(fake), tmp_path) == fake.blobs[layer_of(fake).digest]


def test_a_manifest_is_asked_for_in_all_four_forms(fake: FakeRegistry) -> None:
    got(fake)
    (asked,) = [request.headers["accept"] for request in fake.requests if "/manifests/" in request.path]
    assert {kind.strip() for kind in asked.split(",")} == {*manifest.MANIFESTS, *manifest.INDEXES}


# -- credentials


def bearer(fake: FakeRegistry, realm: str = "") -> Callable[[Request], Reply | None]:
    """A registry that wants a token, which its /token gives to anybody (and the good one to bob)."""
    challenge = f'Bearer realm="{realm or f"http://{fake.host}/token"}",service="registry",scope="repository:x:pull"'

    def hook(request: Request) -> Reply | None:
        if request.path.startswith("/token"):
            basic = base64.b64encode(b"bob:secret").decode()
            name = "bobs" if request.headers.get("authorization") == f"Basic {basic}" else "anonymous"
            return Reply(body=json.dumps({"token": name}).encode())
        if request.headers.get("authorization") in ("Bearer anonymous", "Bearer bobs"):
            return None
        return Reply(401, b"{}", {"WWW-Authenticate": challenge})

    return hook


@pytest.mark.parametrize(("auth", "token"), [(None, "Bearer anonymous"), (BOB, "Bearer bobs")])
def test_a_token_is_fetched_and_used(fake: FakeRegistry, auth: Auth | None, token: str) -> None:
    fake.hook = bearer(fake)
    got(fake, auth=auth)
    assert fake.requests[-1].headers["authorization"] == token
    (path,) = fake.paths("/token")
    assert "service=registry" in path and "scope=repository%3Ax%3Apull" in path, "one token, for this repository"


def test_an_identity_token_is_exchanged(fake: FakeRegistry) -> None:
    fake.hook = bearer(fake)
    got(fake, auth=Auth(identity_token="refresh me"))
    (request,) = [r for r in fake.requests if r.path.startswith("/token")]
    assert request.method == "POST" and b"refresh_token=refresh+me" in request.body


def test_basic_authentication(fake: FakeRegistry) -> None:
    def hook(request: Request) -> Reply | None:
        known = request.headers.get("authorization") == "Basic " + base64.b64encode(b"bob:secret").decode()
        return None if known else Reply(401, b"{}", {"WWW-Authenticate": 'Basic realm="here"'})

    fake.hook = hook
    assert got(fake, auth=BOB)
    with pytest.raises(
        NotFound, match="pull access denied for .*/x, repository does not exist or may require 'docker login'"
    ):
        got(fake)


def test_a_wrong_password_is_an_access_error(fake: FakeRegistry) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="http://{fake.host}/token"'}
    fake.hook = lambda r: Reply(401) if r.path.startswith("/token") else Reply(401, b"", challenge)
    with pytest.raises(Error, match=r"denied|answered 401"):
        got(fake, auth=BOB)


@pytest.mark.slow
def test_credentials_do_not_follow_a_redirect_to_another_host(
    fake: FakeRegistry, tmp_path: Path, figure: Figure
) -> None:
    """CVE-2020-15157. The storage behind a registry is somebody else's; the control: the registry itself gets them.

    Row 19. Variant: Authorization goes wherever a redirect leads.
    """
    with fake_registry("127.0.0.2") as storage:
        storage.blobs = fake.blobs
        token = bearer(fake)

        def hook(request: Request) -> Reply | None:
            target = {"Location": f"http://{storage.host}{request.path}"}
            return token(request) or (Reply(307, headers=target) if "/blobs/" in request.path else None)

        fake.hook = hook
        assert download(opened(fake, auth=BOB), layer_of(fake), tmp_path)
        assert all("authorization" not in request.headers for request in storage.requests) and storage.requests
        (asked,) = [request for request in fake.requests if "/blobs/" in request.path]
        assert asked.headers["authorization"] == "Bearer bobs"
    figure("registry: redirects to another host", "credentials stay", "none of them sent there, the layer is right")


def test_another_port_is_another_host(fake: FakeRegistry, tmp_path: Path) -> None:
    with fake_registry() as other:
        other.blobs = fake.blobs
        token = bearer(fake)
        fake.hook = lambda r: (
            token(r)
            or (Reply(302, headers={"Location": f"http://{other.host}{r.path}"}) if "/blobs/" in r.path else None)
        )
        assert download(opened(fake), layer_of(fake), tmp_path)
        assert other.requests and all("authorization" not in request.headers for request in other.requests)


def test_credentials_survive_a_redirect_within_the_registry(fake: FakeRegistry, tmp_path: Path) -> None:
    token = bearer(fake)
    moved = f"/v2/x/blobs/{layer_of(fake).digest}"
    fake.hook = lambda r: token(r) or (Reply(307, headers={"Location": moved + "?moved"}) if r.path == moved else None)
    assert download(opened(fake), layer_of(fake), tmp_path)
    assert fake.requests[-1].path.endswith("?moved") and fake.requests[-1].headers["authorization"]


@pytest.mark.parametrize(
    ("base", "realm", "secret", "fine"),
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token", True, True),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", True, True),
        ("https://ghcr.io", "https://ghcr.io/token", True, True),
        ("https://ghcr.io", "https://evil.example/token", True, False),
        ("https://ghcr.io", "https://evil.example/token", False, True),
        ("https://ghcr.io", "https://io/token", True, False),
        ("https://ghcr.io", "https://notghcr.io/token", True, False),
        ("https://ghcr.io", "http://ghcr.io/token", False, False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", True, True),
        ("http://127.0.0.1:5000", "file:///etc/passwd", False, False),
        ("https://ghcr.io", "", False, False),
        ("https://ghcr.io", "https://[::1/token", False, False),
    ],
)
def test_who_may_be_a_token_server(base: str, realm: str, secret: bool, fine: bool) -> None:
    if fine:
        check_realm(base, realm, secret)
    else:
        with pytest.raises(ServerError):
            check_realm(base, realm, secret)


def test_a_password_is_not_sent_to_a_realm_elsewhere(fake: FakeRegistry) -> None:
    with fake_registry("127.0.0.2") as evil:
        fake.hook = bearer(fake, f"http://{evil.host}/token")
        with pytest.raises(ServerError, match="credentials are not sent to another host"):
            got(fake, auth=BOB)
        assert evil.requests == []


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Bearer realm="https://a/b",service="c d"', {"bearer": {"realm": "https://a/b", "service": "c d"}}),
        ('Bearer realm="a\\"b"', {"bearer": {"realm": 'a"b'}}),
        (
            'Basic realm="x", Bearer realm="y" , scope=z',
            {"basic": {"realm": "x"}, "bearer": {"realm": "y", "scope": "z"}},
        ),
        ("Basic", {"basic": {}}),
        ("", {}),
        ("=,=", {}),
        ("Bearer", {}),
    ],
)
def test_challenges_are_read(header: str, found: dict[str, dict[str, str]]) -> None:
    assert challenges(header) == found


# -- redirects


def test_redirects_end(fake: FakeRegistry) -> None:
    fake.hook = lambda request: Reply(302, headers={"Location": request.path}) if "manifests" in request.path else None
    with pytest.raises(ServerError, match="more than 5 redirects"):
        got(fake)


@pytest.mark.parametrize("target", ["http://a/x", "ftp://a/x", "file:///etc/passwd", "https://[", "javascript:x"])
def test_a_redirect_from_https_leads_to_https(target: str) -> None:
    with pytest.raises(ServerError):
        http.redirected("https://registry/v2/", target)
    assert http.redirected("https://registry/v2/", "../x") == "https://registry/x"


# -- servers that fail


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_a_passing_failure_is_tried_again(fake: FakeRegistry, tmp_path: Path, status: int) -> None:
    fake.hook = on("/manifests/", Reply(status), Reply(status), Reply(200, fake.manifests["x:1"][1]))
    assert got(fake)
    fake.hook = on("/blobs/", Reply(status), Reply(200, fake.blobs[layer_of(fake).digest]))
    assert download(opened(fake), layer_of(fake), tmp_path)


@pytest.mark.parametrize("status", [500, 429])
def test_a_lasting_failure_is_told_after_a_few_attempts(fake: FakeRegistry, status: int) -> None:
    fake.hook = on("/manifests/", refusal(status, "TOOMANYREQUESTS", "slow\ndown", **{"Retry-After": "86400"}))
    with pytest.raises(ServerError, match="toomanyrequests: slow down"):
        got(fake)
    assert len(fake.paths("/manifests/")) == QUICK.attempts


def test_the_pause_is_the_one_that_the_registry_asks_for(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry-After in seconds, up to a bound; a date, or nonsense, is passed over. Seen to fail without either."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    timing = replace(QUICK, attempts=5, pause=0.5, longest_pause=20)
    busy = [Reply(429, headers={"Retry-After": text}) for text in ("7", "86400", "Wed, 21 Oct 2026 07:28:00 GMT", "-1")]
    fake.hook = on("/manifests/", *busy, Reply(200, fake.manifests["x:1"][1]))
    ref = reference.parse(f"{fake.host}/x:1")
    opened, _ = registry.open_manifest(ref, RegistryConfig(), None, timing)
    opened.close()
    assert pauses == [7, 20, 2, 4]


def test_a_no_is_not_asked_again(fake: FakeRegistry) -> None:
    fake.hook = on("/manifests/", refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"))
    with pytest.raises(NotFound, match="manifest for .*/x:1 not found: manifest unknown: manifest unknown"):
        got(fake)
    assert len(fake.paths("/manifests/")) == 1


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (
            refusal(404, "NAME_UNKNOWN", "repository name not known to registry"),
            "repository .*/x not found: name unknown",
        ),
        (
            refusal(403, "DENIED", "requested access to the resource is denied"),
            "pull access denied for .*/x.*: denied: req",
        ),
        (Reply(404, b"<html>"), "manifest for .*/x:1 not found: it answered 404"),
        (Reply(418, b"x" * 200_000), "it answered 418"),
        (Reply(204), "it answered 204"),
    ],
)
def test_what_the_registry_says_is_passed_on(fake: FakeRegistry, reply: Reply, says: str) -> None:
    fake.hook = on("/manifests/", reply)
    with pytest.raises(Error, match=says):
        got(fake)


def test_a_missing_layer_is_not_called_a_missing_manifest(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.hook = on("/blobs/", refusal(404, "BLOB_UNKNOWN", "blob unknown to registry"))
    with pytest.raises(ServerError, match=r"blob unknown: blob unknown to registry \(asked for blobs/sha256:"):
        download(opened(fake), layer_of(fake), tmp_path)


def test_a_download_that_breaks_off_is_begun_again(fake: FakeRegistry, tmp_path: Path) -> None:
    whole = fake.blobs[layer_of(fake).digest]
    fake.hook = on("/blobs/", Reply(body=whole, cut=100), Reply(body=whole, cut=0), Reply(body=whole))
    assert download(opened(fake), layer_of(fake), tmp_path) == whole
    fake.hook = on("/blobs/", Reply(body=whole, cut=100))
    with pytest.raises(ServerError, match=r"download layer [0-9a-f]{12} from 127.0.0.1:\d+: "):
        download(opened(fake), layer_of(fake), tmp_path)
    assert len(fake.paths("/blobs/")) == 3 + QUICK.attempts


def test_a_short_body_that_calls_itself_whole_is_noticed(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.hook = on("/blobs/", Reply(body=b"short"))
    with pytest.raises(ServerError, match=r"unexpected end after 5 of \d+ bytes"):
        download(opened(fake), layer_of(fake), tmp_path)


@pytest.mark.parametrize("drip", [10, 0.02])
def test_a_registry_that_stalls_is_given_up(fake: FakeRegistry, tmp_path: Path, drip: float) -> None:
    """One that sends nothing for a while, and one that sends just enough to look alive."""
    fake.hook = on("/blobs/", Reply(body=fake.blobs[layer_of(fake).digest], drip=drip))
    with pytest.raises(ServerError, match=r"timed out|only \d+ bytes came"):
        download(opened(fake), layer_of(fake), tmp_path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "filesystem layer verification failed for digest sha256:"),
        (lambda data: data + b"more", "more than the"),
    ],
)
def test_a_wrong_layer_is_refused(
    fake: FakeRegistry, tmp_path: Path, spoil: Callable[[bytes], bytes], says: str
) -> None:
    """The variant keeps what came without a look at its digest."""
    fake.hook = on("/blobs/", Reply(body=spoil(fake.blobs[layer_of(fake).digest])))
    with pytest.raises(ServerError, match=says):
        download(opened(fake), layer_of(fake), tmp_path)


def test_a_manifest_must_have_its_digest(fake: FakeRegistry) -> None:
    """The variant believes the registry."""
    wanted = digest(fake.manifests["x:1"][1])
    other = json.dumps({"schemaVersion": 2}).encode()
    assert got(fake, f"x@{wanted}").digest == wanted
    fake.hook = on("/manifests/", Reply(body=other))
    with pytest.raises(ServerError, match=f"manifest verification failed for digest {wanted}"):
        got(fake, f"x@{wanted}")
    fake.hook = on("/manifests/", Reply(body=other, headers={"Docker-Content-Digest": wanted}))
    with pytest.raises(ServerError, match="manifest verification failed"):
        got(fake)


def test_a_gigantic_manifest_is_refused(fake: FakeRegistry) -> None:
    fake.hook = on("/manifests/", Reply(body=bytes(manifest.MAX_MANIFEST + 1)))
    with pytest.raises(ServerError, match="larger than"):
        got(fake)


@pytest.mark.parametrize("size", [9 << 20, 10])
def test_a_config_must_have_its_size_and_be_small(fake: FakeRegistry, size: int) -> None:
    descriptor = Descriptor("", digest(b"config"), size)
    fake.blobs[descriptor.digest] = b"config"
    with pytest.raises(Error, match="larger than|verification failed"):
        opened(fake).small_blob(descriptor, 8 << 20, "image config")


def test_no_connection_is_left_open(fake: FakeRegistry, tmp_path: Path) -> None:
    """Nor one that waits for the garbage collector: an exception holds what its frames hold."""
    gc.disable()
    try:
        held = []
        for name in ("x:1", "x:nosuch"):
            try:
                opened(fake, name).close()
            except Error as error:
                held.append(error)
        port = int(fake.host.partition(":")[2])
        assert held and not [p for p in sockets() if p == port]
    finally:
        gc.enable()


def sockets() -> list[int]:
    """The remote ports of this process's connected TCP sockets, but for those that a server of ours accepted."""
    inodes = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the directory's own
            inodes.add(os.readlink(f"/proc/self/fd/{fd}"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(row[2].partition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in inodes]


# -- where a registry is


def test_nobody_there_is_one_clear_line() -> None:
    with fake_registry() as gone:
        pass
    with pytest.raises(ServerError) as caught:
        got(gone)
    assert str(caught.value).startswith(f"reach {gone.host}: connection refused; hint: check the name")
    assert "\n" not in str(caught.value)


def test_a_server_that_is_no_registry(fake: FakeRegistry) -> None:
    fake.hook = on("/v2/", Reply(404, b"<html>nothing here</html>"))
    with pytest.raises(ServerError, match="it answered 404 to /v2/, so it is none"):
        got(fake)


def test_the_ways_to_a_registry() -> None:
    config = RegistryConfig(("http://127.0.0.1:5000/", "https://mirror.example"), ("10.0.0.0/8", "plain.example:80"))
    assert list(endpoints("docker.io", config)) == [
        Endpoint("http://127.0.0.1:5000", False, mirror=True),
        Endpoint("https://mirror.example", True, mirror=True),
        Endpoint("https://registry-1.docker.io", True),
    ]
    assert list(endpoints("ghcr.io", config)) == [Endpoint("https://ghcr.io", True)], "mirrors are Docker Hub's"
    assert [e.base for e in endpoints("10.1.2.3:5000", config)] == ["https://10.1.2.3:5000", "http://10.1.2.3:5000"]


@pytest.mark.parametrize(
    ("domain", "insecure"),
    [
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("localhost:5000", True),
        ("10.1.2.3:5000", True),
        ("plain.example:80", True),
        ("plain.example:81", False),
        ("11.0.0.1:5000", False),
        ("ghcr.io", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
    ],
)
def test_who_may_do_without_tls(domain: str, insecure: bool) -> None:
    assert is_insecure(domain, RegistryConfig((), ("10.0.0.0/8", "plain.example:80"))) is insecure


def hub(*mirrors: str) -> tuple[Repository, Document]:
    return registry.open_manifest(reference.parse("x:1"), RegistryConfig(mirrors), BOB, QUICK)


def test_a_mirror_serves_docker_hub_and_gets_no_credentials(fake: FakeRegistry) -> None:
    fake.publish("library/x", "1", [LAYER])
    fake.hook = bearer(fake)
    with fake_registry() as gone:
        pass
    with fake_registry() as broken:
        broken.hook = lambda request: Reply(500)
        repository, _ = hub(f"http://{gone.host}", f"http://{broken.host}", f"http://{fake.host}")
    assert repository._host == fake.host
    assert not any(r.headers.get("authorization", "").startswith("Basic") for r in fake.requests)


def test_an_insecure_registry_may_have_any_certificate_and_others_may_not(tmp_path: Path, fake: FakeRegistry) -> None:
    pem = tmp_path / "self-signed.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1"]
    subprocess.run([*make, "-keyout", pem, "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", pem)
    fake._server.socket = context.wrap_socket(fake._server.socket, server_side=True)
    assert got(fake).data, "127.0.0.1 is insecure: https is tried first, its certificate does not count"
    strict = Repository(Endpoint(f"https://{fake.host}", verify=True), reference.parse("x:1"), None, QUICK)
    with pytest.raises(ServerError, match="certificate is not trusted"):
        strict.ping()


# -- what a manifest may not ask for


def test_foreign_addresses_in_a_manifest_are_not_visited(fake: FakeRegistry, tmp_path: Path) -> None:
    """CVE-2020-15157: `urls` made the client send its credentials to whoever the manifest named."""
    with fake_registry("127.0.0.2") as evil:
        value = json.loads(fake.manifests["x:1"][1])
        value["layers"][0]["urls"] = [f"http://{evil.host}/layer"]
        found = manifest.parse(json.dumps(value).encode())
        assert isinstance(found, manifest.Manifest)
        del fake.blobs[found.layers[0].digest]
        with pytest.raises(Error):
            download(opened(fake), found.layers[0], tmp_path)
        assert evil.requests == []
