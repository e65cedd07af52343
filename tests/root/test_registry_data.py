"""docker-py's `images.get_registry_data` against Debian's docker-registry: GET /distribution/{name}/json.

The forms of manifests and refusals, one by one: unit/test_inspection.py.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import docker
import docker.errors
import pytest

from minidock.image.manifest import host_platform
from tests.support.daemon import ARCHIVES, Daemon
from tests.support.registries import fill, real_registry

pytestmark = [pytest.mark.registry, pytest.mark.overlay]


def test_what_docker_py_learns_of_a_registry(fresh_daemon: Daemon, tmp_path: Path) -> None:
    """The digest that skopeo sees, the platform, a pull by that digest; then what is not there.

    Seen to fail with the digest of the config in place of the manifest's, and with an index's platforms only.
    """
    enter = fresh_daemon.netns.enter
    api = docker.DockerClient(base_url=fresh_daemon.host, timeout=60)
    with real_registry(tmp_path / "registry", 5001, enter) as host:
        fill(host, f"docker-archive:{ARCHIVES['alpine']}:alpine:3.23", "tools/alpine:1", enter)
        name = f"{host}/tools/alpine:1"
        seen = [*enter, "skopeo", "inspect", "--tls-verify=false", f"docker://{name}"]
        digest = json.loads(subprocess.run(seen, check=True, capture_output=True).stdout)["Digest"]
        data = api.images.get_registry_data(name)
        assert data.id == digest and data.attrs["Descriptor"]["mediaType"].endswith("manifest.v2+json")
        assert data.has_platform("linux") and data.has_platform(f"linux/{host_platform().architecture}")
        assert not data.has_platform("plan9/mips")
        assert not api.images.list(name), "nothing was pulled"
        assert data.pull().attrs["RepoDigests"] == [f"{host}/tools/alpine@{digest}"]
        for missing in (f"{host}/tools/alpine:2", f"{host}/nosuch"):
            with pytest.raises(docker.errors.NotFound, match="manifest unknown"):
                api.images.get_registry_data(missing)
    with pytest.raises(docker.errors.APIError, match="connection refused") as caught:
        api.images.get_registry_data(name)
    assert caught.value.status_code == 500
    fresh_daemon.cli.ok("rmi", f"{host}/tools/alpine@{digest}")
    api.close()


def test_a_registry_with_a_password(fresh_daemon: Daemon, tmp_path: Path) -> None:
    """X-Registry-Auth, of the call and of a login. Seen to fail with the header not read."""
    api = docker.DockerClient(base_url=fresh_daemon.host, timeout=60)
    with real_registry(tmp_path / "registry", 5001, fresh_daemon.netns.enter, locked=True) as host:
        name, me = f"{host}/team/tool:1", {"username": "me", "password": "secret"}
        api.images.get("busybox").tag(name)
        assert "digest: sha256:" in api.images.push(name, auth_config=me)
        for wrong in (None, me | {"password": "wrong"}):
            with pytest.raises(docker.errors.APIError, match="unauthorized") as caught:
                api.images.get_registry_data(name, auth_config=wrong)
            assert caught.value.status_code == 401
        assert api.images.get_registry_data(name, auth_config=me).has_platform("linux")
        api.login("me", "secret", registry=host)
        assert api.images.get_registry_data(name).has_platform("linux")
    api.close()
