"""docker-py, model by model: what scripts do with containers, execs, logs, archives, events, images, networks, volumes.

test_docker_clients.py has the first steps; here are the generators, sockets and answers that scripts take apart.
See: https://docker-py.readthedocs.io
"""

from __future__ import annotations

import io
import os
import socket
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import docker.errors
import pytest
from docker.types import IPAMConfig, IPAMPool, Mount

from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge]

Run = Callable[..., Any]
SLEEP = ["sleep", "1000"]


@pytest.fixture
def run(docker_api: Any) -> Iterator[Run]:
    """`run(COMMAND, …)`: a container in the background, removed at the end."""
    made: list[Any] = []

    def start(command: list[str], image: str = "busybox", **options: Any) -> Any:
        made.append(docker_api.containers.run(image, command, detach=True, **options))
        return made[-1]

    yield start
    for container in made:
        with suppress(docker.errors.NotFound):  # the test did it
            container.remove(force=True, v=True)


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def tar(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid = len(data), 0o640, 1000
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


class TestContainers:
    def test_list_with_filters_and_attributes(self, docker_api: Any, run: Run) -> None:
        one = run(SLEEP, name="one", labels={"tier": "web"}, environment={"A": "b"}, ports={"80/tcp": None})
        two = run(["true"], name="two", labels={"tier": "db"})
        two.wait()

        def names(**how: Any) -> list[str]:
            return sorted(container.name for container in docker_api.containers.list(**how))

        assert names() == ["one"] and names(all=True) == ["one", "two"]
        assert names(all=True, filters={"label": "tier=db"}) == ["two"]
        assert names(all=True, filters={"label": ["tier"], "status": "exited"}) == ["two"]
        assert names(all=True, filters={"ancestor": "busybox", "name": "on"}) == ["one"]
        assert names(all=True, filters={"since": "one"}) == ["two"] and names(limit=1) == ["two"]
        assert docker_api.containers.list(sparse=True)[0].status == "running"
        one.reload()
        assert one.labels == {"tier": "web"} and one.image.tags == ["busybox:latest"]
        assert one.ports["80/tcp"][0]["HostPort"].isdigit() and "A=b" in one.attrs["Config"]["Env"]
        assert one.short_id == one.id[:12] and docker_api.containers.get(one.short_id) == one

    def test_wait_for_each_condition(self, docker_api: Any, run: Run) -> None:
        container = docker_api.containers.create("busybox", sh("read line; exit 4"), stdin_open=True)
        try:
            stdin = container.attach_socket(params={"stdin": 1, "stream": 1})
            container.start()
            stdin._sock.sendall(b"go\n")
            assert container.wait(condition="not-running") == {"StatusCode": 4}
            stdin.close()
        finally:
            container.remove(force=True)
        gone = run(sh("exit 5"), name="gone")
        assert gone.wait(timeout=60)["StatusCode"] == 5

    def test_attach_generator_and_socket(self, docker_api: Any) -> None:
        container = docker_api.containers.create("busybox", sh("cat; echo end >&2"), stdin_open=True)
        try:
            output = container.attach(stdout=True, stderr=True, stream=True, demux=True)
            stdin = container.attach_socket(params={"stdin": 1, "stream": 1})
            container.start()
            stdin._sock.sendall(b"through\n")
            assert next(output) == (b"through\n", None)
            stdin._sock.shutdown(socket.SHUT_WR)
            assert list(output) == [(None, b"end\n")]
            stdin.close()
        finally:
            container.remove(force=True)

    def test_attach_with_what_was_said_before(self, docker_api: Any, run: Run) -> None:
        """Seen to fail with logs=1 passed over, and with the stream left open after the log alone was asked for."""
        container = run(sh("echo one; echo two >&2; read line; echo three; cat"), stdin_open=True)
        eventually(lambda: container.logs() == b"one\ntwo\n", "the log")
        assert container.attach(logs=True, stream=False, stdout=True, stderr=False) == b"one\n"
        follower = container.attach(logs=True, stream=True, demux=True)
        assert [next(follower), next(follower)] == [(b"one\n", None), (None, b"two\n")]
        keys = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        keys._sock.sendall(b"go\nand this\n")
        said = b""
        while b"and this\n" not in said:
            assert (piece := keys.read(4096)), f"the stream ended after {said!r}"
            said += piece
        keys._sock.shutdown(socket.SHUT_RDWR)
        container.kill()
        assert b"".join(out for out, _ in follower) == b"three\nand this\n"
        assert container.attach(logs=True) == b"one\ntwo\nthree\nand this\n"

    def test_what_is_refused_before_it_is_made(self, docker_api: Any) -> None:
        """Statuses and texts are dockerd 20.10's."""

        def refused(kind: type[Exception], text: str, **options: Any) -> None:
            with pytest.raises(kind, match=text):
                docker_api.api.create_container("busybox", "true", **options)

        def host(**options: Any) -> Any:
            return docker_api.api.create_host_config(**options)

        api_error, missing = docker.errors.APIError, docker.errors.ImageNotFound
        refused(api_error, "400 .*No such container: nosuch", host_config=host(volumes_from=["nosuch"]))
        refused(api_error, "400 .*cannot be an empty string", host_config=host(volumes_from=[""]))
        refused(missing, "wanted linux/arm64, actual: linux/", platform="linux/arm64")
        created = docker_api.api.create_container("busybox", "true", platform=f"linux/{os.uname().machine}")
        docker_api.api.remove_container(created["Id"])

    def test_logs(self, run: Run) -> None:
        begun = int(time.time()) - 1
        container = run(sh("for i in 1 2 3; do echo $i; done; echo err >&2"))
        container.wait()
        assert container.logs(tail=2) == b"3\nerr\n"
        assert list(container.logs(stream=True, follow=True, stdout=False)) == [b"err\n"]
        assert container.logs(since=begun, stderr=False) == b"1\n2\n3\n" and container.logs(until=begun) == b""
        first = container.logs(timestamps=True, stderr=False).split()[0].decode()
        assert first.startswith("20") and first.endswith("Z")

    def test_logs_that_follow_end_with_the_container(self, run: Run) -> None:
        container = run(sh("echo a; while [ ! -e /go ]; do usleep 10000; done; echo b"))
        lines = container.logs(stream=True, follow=True)
        assert next(lines) == b"a\n"
        container.exec_run(["touch", "/go"])
        assert list(lines) == [b"b\n"]

    def test_stats(self, run: Run) -> None:
        container = run(SLEEP)
        once = container.stats(stream=False)
        assert once["id"] == container.id and once["preread"] < once["read"] and once["cpu_stats"]["online_cpus"] >= 1
        stream = container.stats(stream=True, decode=True)
        first, second = next(stream), next(stream)
        assert first["read"] < second["read"] and set(once["networks"]) == {"eth0"}
        stream.close()

    def test_top_diff_update_rename_restart_kill(self, run: Run) -> None:
        container = run(sh("touch /new; exec sleep 1000"))
        eventually(lambda: {"Path": "/new", "Kind": 1} in (container.diff() or []), "the new file")
        assert container.top()["Titles"] and container.top(ps_args="-o pid,args")["Titles"] == ["PID", "COMMAND"]
        container.update(restart_policy={"Name": "on-failure", "MaximumRetryCount": 3})
        container.rename("renamed")
        container.restart(timeout=0)
        container.reload()
        assert container.name == "renamed" and container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "on-failure"
        container.kill(signal="SIGKILL")
        assert container.wait()["StatusCode"] == 137

    def test_prune(self, docker_api: Any, run: Run) -> None:
        done = docker_api.containers.create("busybox", "true", labels={"mine": ""})
        assert docker_api.containers.prune(filters={"label": "mine"})["ContainersDeleted"] == [done.id]


class TestExec:
    def test_run_in_its_forms(self, run: Run) -> None:
        container = run(SLEEP)
        both = sh("echo out; echo err >&2; exit 3")
        assert container.exec_run(both, demux=True) == (3, (b"out\n", b"err\n"))
        code, stream = container.exec_run(sh("echo 1; echo 2"), stream=True)
        assert code is None and b"".join(stream) == b"1\n2\n"
        assert container.exec_run("id -u", user="1000", workdir="/tmp").output == b"1000\n"
        assert container.exec_run(sh("echo $A; pwd"), environment={"A": "b"}, workdir="/etc").output == b"b\n/etc\n"
        assert container.exec_run("tty", tty=True).output.startswith(b"/dev/")
        assert not container.exec_run(["touch", "/made"], detach=True).output
        eventually(lambda: container.exec_run(["test", "-e", "/made"]).exit_code == 0, "the detached exec's file")

    def test_socket(self, docker_api: Any, run: Run) -> None:
        container = run(SLEEP)
        made = docker_api.api.exec_create(container.id, ["cat"], stdin=True)
        channel = docker_api.api.exec_start(made["Id"], socket=True)
        channel._sock.sendall(b"hello")
        channel._sock.shutdown(socket.SHUT_WR)
        assert channel.read(8 + 5) == b"\x01\x00\x00\x00\x00\x00\x00\x05hello" and channel.read(1) == b""
        channel.close()
        seen = docker_api.api.exec_inspect(made["Id"])
        assert seen["ExitCode"] == 0 and not seen["Running"] and seen["ProcessConfig"]["entrypoint"] == "cat"


class TestArchive:
    def test_put_and_get(self, run: Run) -> None:
        container = run(SLEEP)
        assert container.put_archive("/tmp", b""), "an archive of no bytes is an empty one"
        assert container.put_archive("/tmp", tar(a=b"first", b=b"second"))
        assert container.exec_run(sh("cat /tmp/a; stat -c '%a %u' /tmp/b")).output == b"first640 1000\n"
        pieces, status = container.get_archive("/tmp/b")
        assert (status["name"], status["size"]) == ("b", 6) and status["mode"] & 0o777 == 0o640
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
            file = archive.extractfile("b")
            assert file and file.read() == b"second"

    def test_what_is_not_there(self, run: Run) -> None:
        container = run(SLEEP)
        with pytest.raises(docker.errors.NotFound):
            container.get_archive("/nosuch")
        with pytest.raises(docker.errors.NotFound):
            container.put_archive("/nosuch", tar(a=b""))

    def test_export(self, run: Run) -> None:
        container = run(SLEEP)
        with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as archive:
            assert "bin/busybox" in archive.getnames()


class TestEvents:
    def test_of_one_life(self, docker_api: Any, run: Run) -> None:
        since = time.time()
        run(sh("exit 7"), name="brief").wait()
        filters = {"container": "brief", "type": "container"}

        def told() -> list[dict[str, Any]]:
            return list(docker_api.events(since=since, until=time.time(), filters=filters, decode=True))

        seen = eventually(lambda: [event for event in told() if event["Action"] == "die"] and told(), "the end")
        assert [event["Action"] for event in seen] == ["create", "start", "die"]
        assert seen[-1]["Actor"]["Attributes"]["exitCode"] == "7" and seen[-1]["status"] == "die"

    def test_as_they_happen(self, docker_api: Any, run: Run) -> None:
        stream = docker_api.events(decode=True, filters={"event": "pause"})
        container = run(SLEEP)
        container.pause()
        assert next(stream)["id"] == container.id
        container.unpause()
        stream.close()


class TestImages:
    def test_tag_history_save_load_remove(self, docker_api: Any) -> None:
        image = docker_api.images.get("busybox")
        assert image.tag("saved", "1") and "saved:1" in docker_api.images.get("busybox").tags
        assert [one.tags for one in docker_api.images.list(name="saved")] == [sorted(["busybox:latest", "saved:1"])]
        image.reload()
        data = b"".join(image.save(named="saved:1"))
        docker_api.images.remove("saved:1")
        with pytest.raises(docker.errors.ImageNotFound):
            docker_api.images.get("saved:1")
        assert [one.id for one in docker_api.images.load(data)] == [image.id]
        assert image.history()[0]["Id"] == image.id
        docker_api.images.remove("saved:1")

    def test_commit_and_prune(self, docker_api: Any, run: Run) -> None:
        container = run(sh("echo made > /made"))
        container.wait()
        image = container.commit("made", "1", message="by hand", conf={"Cmd": ["cat", "/made"]})
        assert docker_api.containers.run("made:1", remove=True) == b"made\n"
        container.remove()
        docker_api.images.remove("made:1")
        assert image.id not in [one.id for one in docker_api.images.list(all=True)]
        assert docker_api.images.prune()["ImagesDeleted"] is None


class TestNetworks:
    def test_connect_and_disconnect(self, docker_api: Any, run: Run) -> None:
        pools = IPAMConfig(pool_configs=[IPAMPool(subnet="10.77.0.0/24", gateway="10.77.0.1")])
        network = docker_api.networks.create("own", driver="bridge", ipam=pools, labels={"a": "b"})
        try:
            container = run(SLEEP)
            network.connect(container, aliases=["alias"], ipv4_address="10.77.0.9")
            network.reload()
            assert [one.id for one in network.containers] == [container.id] and network.attrs["Labels"] == {"a": "b"}
            other = run(SLEEP, network="own")
            assert other.exec_run("ping -c 1 alias").exit_code == 0
            assert [one.name for one in docker_api.networks.list(names=["own"])] == ["own"]
            network.disconnect(container)
            container.reload()
            assert list(container.attrs["NetworkSettings"]["Networks"]) == ["bridge"]
            other.remove(force=True)
        finally:
            network.remove()
        assert docker_api.networks.prune()["NetworksDeleted"] is None


class TestVolumes:
    def test_shared_by_two(self, docker_api: Any, run: Run) -> None:
        volume = docker_api.volumes.create("shared", labels={"keep": "no"})
        try:
            run(sh("echo data > /v/f"), volumes={"shared": {"bind": "/v", "mode": "rw"}}).wait()
            read = {"volumes": {"shared": {"bind": "/w", "mode": "ro"}}, "remove": True}
            assert docker_api.containers.run("busybox", ["cat", "/w/f"], **read) == b"data\n"
            assert [one.name for one in docker_api.volumes.list(filters={"label": "keep=no"})] == ["shared"]
            assert docker_api.volumes.get("shared").attrs["Driver"] == "local"
        finally:
            for container in docker_api.containers.list(all=True):
                container.remove()
            volume.remove()

    def test_mounts(self, docker_api: Any) -> None:
        mounts = [Mount("/t", None, type="tmpfs", tmpfs_size=65536), Mount("/v", "named", labels={"x": "y"})]
        out = docker_api.containers.run("busybox", sh("mount | grep -E ' /(t|v) ' | wc -l"), mounts=mounts, remove=True)
        assert out == b"2\n" and docker_api.volumes.get("named").attrs["Labels"] == {"x": "y"}
        assert docker_api.volumes.prune(filters={"all": "true"})["VolumesDeleted"] == ["named"]


def test_the_daemon(docker_api: Any) -> None:
    assert docker_api.ping() and docker_api.version()["Components"]
    usage = docker_api.df()
    assert {"LayersSize", "Images", "Containers", "Volumes", "BuildCache"} <= set(usage)
    assert docker_api.info()["DriverStatus"]
