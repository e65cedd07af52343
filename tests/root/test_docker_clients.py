"""The clients that people already have: the real docker CLI and docker-py drive the daemon as they drive dockerd."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge]


@pytest.mark.docker_cli
class TestDockerCli:
    """`docker -H unix://… …`, each command with what it prints and its exit code."""

    def test_the_main_job(self, docker_cli: Cli) -> None:
        script = "cat /etc/alpine-release; hostname; ip addr; ps; mount | head -1"
        out = docker_cli.ok("run", "--rm", "alpine", "sh", "-c", script)
        assert out.startswith("3.23") and "eth0" in out and "overlay on / " in out
        assert docker_cli.ok("run", "--rm", "alpine", "echo", "hi") == "hi"

    @pytest.mark.parametrize(
        ("command", "code"), [("exit 3", 3), ("sh -c 'kill -9 $$'; exit $?", 137), ("nosuch", 127)]
    )
    def test_exit_codes(self, docker_cli: Cli, command: str, code: int) -> None:
        assert docker_cli("run", "--rm", "--network", "none", "busybox", "sh", "-c", command).code == code

    def test_what_can_t_be_executed(self, docker_cli: Cli) -> None:
        assert docker_cli("run", "--rm", "busybox", "nosuch").code == 127
        assert docker_cli("run", "--rm", "busybox", "/etc").code == 126

    def test_streams(self, docker_cli: Cli) -> None:
        data = "".join(f"{n}\n" for n in range(50_000))
        result = docker_cli("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo err >&2", stdin=data)
        assert (result.out, result.err) == (data, "err\n")

    def test_a_terminal(self, docker_cli: Cli) -> None:
        with docker_cli.terminal("run", "--rm", "-it", "alpine", "sh", rows=31, columns=99) as terminal:
            terminal.expect("/ # ")
            terminal.type("stty size\r")
            terminal.expect("31 99")
            terminal.type("exit 4\r")
            assert terminal.wait() == 4

    def test_detached_and_everything_after(self, docker_cli: Cli) -> None:
        script = "echo one; echo two >&2; trap 'exit 6' TERM; while :; do sleep 0.1; done"
        ident = docker_cli.ok("run", "-d", "--name", "worker", "busybox", "sh", "-c", script)
        eventually(lambda: docker_cli("logs", "worker").out == "one\n", "the log")
        assert docker_cli("logs", "worker").err == "two\n"
        assert re.search(r"busybox .*Up .*worker", docker_cli.ok("ps"))
        assert docker_cli.ok("inspect", "-f", "{{.State.Running}} {{.Name}}", ident) == "true /worker"
        assert docker_cli.ok("exec", "worker", "sh", "-c", "echo inside; id -u") == "inside\n0"
        assert docker_cli("exec", "worker", "sh", "-c", "exit 9").code == 9
        missing = docker_cli("exec", "worker", "nosuch")
        assert missing.code == 127 and "executable file not found" in missing.err
        assert "sleep" in docker_cli.ok("top", "worker")
        assert docker_cli("rm", "worker").code == 1
        assert docker_cli.ok("stop", "worker") == "worker"
        assert docker_cli.ok("wait", "worker") == "6"
        assert "Exited (6)" in docker_cli.ok("ps", "-a")
        assert docker_cli.ok("rm", "worker") == "worker"

    def test_exec_on_a_terminal(self, docker_cli: Cli) -> None:
        docker_cli.ok("run", "-d", "--name", "shell", "alpine", "sleep", "1000")
        with docker_cli.terminal("exec", "-it", "shell", "sh", rows=20, columns=70) as terminal:
            terminal.expect("/ # ")
            terminal.type("stty size; exit 2\r")
            terminal.expect("20 70")
            assert terminal.wait() == 2
        docker_cli.ok("rm", "-f", "shell")

    def test_logs_follow_to_the_end(self, docker_cli: Cli) -> None:
        docker_cli.ok(
            "run", "-d", "--name", "slow", "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"
        )
        assert docker_cli.ok("logs", "-f", "slow") == "1\n2\n3"
        docker_cli.ok("rm", "slow")

    def test_create_start_attach(self, docker_cli: Cli) -> None:
        docker_cli.ok("create", "--name", "later", "-i", "busybox", "cat")
        result = docker_cli("start", "-a", "-i", "later", stdin="back")
        assert (result.code, result.out) == (0, "back")
        docker_cli.ok("rm", "later")

    def test_images(self, docker_cli: Cli) -> None:
        listed = docker_cli.ok("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
        assert {"alpine:3.23", "alpine:latest", "busybox:latest"} <= set(listed)
        docker_cli.ok("tag", "busybox", "mine:1")
        assert docker_cli.ok("run", "--rm", "mine:1", "echo", "yes") == "yes"
        assert "Untagged: mine:1" in docker_cli.ok("rmi", "mine:1")
        missing = docker_cli("run", "--pull", "never", "nosuch")
        assert missing.code == 125 and "nosuch" in missing.err

    def test_version_and_info(self, docker_cli: Cli) -> None:
        assert "minidock" in docker_cli.ok("version")
        assert "Storage Driver: overlay2" in docker_cli.ok("info")


class TestDockerPy:
    """`docker.from_env()` and what scripts do with it."""

    def test_run(self, docker_api: Any) -> None:
        assert docker_api.containers.run("alpine", "echo hi", remove=True) == b"hi\n"

    def test_a_failing_command_raises_with_its_code(self, docker_api: Any) -> None:
        import docker.errors

        with pytest.raises(docker.errors.ContainerError) as caught:
            docker_api.containers.run("alpine", ["sh", "-c", "echo why >&2; exit 5"], remove=True)
        assert caught.value.exit_status == 5 and b"why" in caught.value.stderr

    def test_the_life_of_a_container(self, docker_api: Any) -> None:
        container = docker_api.containers.run("alpine", ["sh", "-c", "echo a; sleep 1000"], detach=True, name="py")
        try:
            eventually(lambda: container.logs() == b"a\n", "the log")
            container.reload()
            assert container.status == "running" and container.name == "py"
            assert container.attrs["NetworkSettings"]["IPAddress"]
            assert container.exec_run(["sh", "-c", "echo in; exit 3"]) == (3, b"in\n")
            assert [row[-1] for row in container.top()["Processes"]][-1] == "sleep 1000"
            container.pause()
            container.reload()
            assert container.status == "paused"
            container.unpause()
            container.rename("other")
            container.stop(timeout=0)
            assert container.wait()["StatusCode"] == 137
        finally:
            container.remove(force=True)
        assert docker_api.containers.list(all=True) == []

    def test_streams(self, docker_api: Any) -> None:
        container = docker_api.containers.run("alpine", ["sh", "-c", "echo out; echo err >&2"], detach=True)
        container.wait()
        assert container.logs(stdout=True, stderr=False) == b"out\n"
        assert list(container.logs(stream=True, stderr=False)) == [b"out\n"]
        container.remove()

    def test_not_found_is_not_found(self, docker_api: Any) -> None:
        import docker.errors

        with pytest.raises(docker.errors.NotFound):
            docker_api.containers.get("nosuch")
        with pytest.raises(docker.errors.ImageNotFound):
            docker_api.images.get("nosuch")

    def test_images(self, docker_api: Any) -> None:
        image = docker_api.images.get("alpine:3.23")
        assert "alpine:latest" in image.tags
        assert image.attrs["Architecture"] == "amd64"
        assert docker_api.info()["Images"] >= 2 and docker_api.version()["ApiVersion"] == "1.45"
