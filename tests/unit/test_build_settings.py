"""What instructions make of an image's config, which arguments count where, and what is told of it in the history."""

from __future__ import annotations

import re
from typing import Any

import pytest

from minidock.build import stages
from minidock.build.arguments import Arguments, platform_arguments
from minidock.build.instructions import parse_text
from minidock.build.settings import Metadata
from minidock.engine.building import cache
from minidock.wire.errors import InvalidArgument


def apply(settings: dict[str, Any], *lines: str, **variables: str) -> tuple[dict[str, Any], list[str]]:
    metadata = Metadata(settings)
    told = [metadata.apply(parse_text(line), metadata.environment() | variables) for line in lines]
    return metadata.settings, told


def test_instructions_and_their_comments_are_dockers() -> None:
    """The comments as dockerd 20.10 writes them into the history; HEALTHCHECK's is Go's dump of a struct there."""
    settings, told = apply(
        {"Env": ["PATH=/bin", "A=0"]},
        "ENV A=1 B=${A}2",
        "LABEL x=$A y='$A'",
        'CMD ["a", "b"]',
        "EXPOSE 80 90-91/udp $P",
        'VOLUME ["/a b", "/c"]',
        "WORKDIR srv",
        "WORKDIR ../opt//x/",
        "USER $A",
        "STOPSIGNAL SIGQUIT",
        'SHELL ["/bin/ash", "-c"]',
        "ENTRYPOINT run $A",
        "ONBUILD RUN echo $A",
        "HEALTHCHECK --interval=5s --retries=2 CMD curl x",
        P="70",
    )
    assert told[:12] == [
        "ENV A=1 B=02",
        "LABEL x=1 y=$A",
        'CMD ["a" "b"]',
        "EXPOSE 70 80 90-91/udp",
        "VOLUME [/a b /c]",
        "WORKDIR /srv",
        "WORKDIR /opt/x",
        "USER 1",
        "STOPSIGNAL SIGQUIT",
        "SHELL [/bin/ash -c]",
        'ENTRYPOINT ["/bin/ash" "-c" "run $A"]',
        "ONBUILD RUN echo $A",
    ]
    assert settings == {
        "Env": ["PATH=/bin", "A=1", "B=02"],
        "Labels": {"x": "1", "y": "$A"},
        "Cmd": ["a", "b"],
        "ExposedPorts": {"80/tcp": {}, "90/udp": {}, "91/udp": {}, "70/tcp": {}},
        "Volumes": {"/a b": {}, "/c": {}},
        "WorkingDir": "/opt/x",
        "User": "1",
        "StopSignal": "SIGQUIT",
        "Shell": ["/bin/ash", "-c"],
        "Entrypoint": ["/bin/ash", "-c", "run $A"],
        "OnBuild": ["RUN echo $A"],
        "Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 5 * 10**9, "Retries": 2},
    }


def test_an_entrypoint_takes_the_bases_command_away_but_not_ones_own() -> None:
    assert "Cmd" not in apply({"Cmd": ["base"]}, "ENTRYPOINT x")[0]
    assert apply({"Cmd": ["base"]}, "CMD mine", "ENTRYPOINT x")[0]["Cmd"] == ["/bin/sh", "-c", "mine"]


def test_ports_as_publish_has_them_are_the_containers() -> None:
    """Docker takes them, although a Dockerfile can't say where a port is published."""
    settings, told = apply({}, "EXPOSE 8080:80 127.0.0.1:90-91:53-54/udp :70 1.2.3.4::71")
    assert list(settings["ExposedPorts"]) == ["71/tcp", "53/udp", "54/udp", "80/tcp", "70/tcp"]
    assert told == ["EXPOSE 1.2.3.4::71 127.0.0.1:90-91:53-54/udp 8080:80 :70"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("EXPOSE 70000", "invalid containerPort: 70000"),
        ("EXPOSE http", "invalid containerPort"),
        ("EXPOSE 9-8", "invalid containerPort"),
        ("EXPOSE 80:http", "invalid containerPort"),
        ("EXPOSE x:80", "invalid containerPort"),
        ("STOPSIGNAL NOSUCH", "invalid signal"),
        ("HEALTHCHECK --interval=5 CMD x", "invalid duration"),
        ("HEALTHCHECK --interval=1ns CMD x", "cannot be less than 1ms"),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries must be"),
        ("VOLUME $none", "VOLUME specified can not be an empty string"),
        ("VOLUME here", "VOLUME here: mount path must be absolute"),
        ("ENV $none=x", "names can not be blank"),
    ],
)
def test_a_value_that_can_not_be(line: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        apply({}, line)


# Arguments


def test_an_argument_counts_from_its_line_on_and_in_its_stage() -> None:
    arguments = Arguments({"GIVEN": "g", "UNUSED": "u", "NONE": None}, platform_arguments("amd64"))
    arguments.declare_global("V", "1")
    arguments.declare_global("GIVEN", "default")
    assert arguments.of_from()["V"] == "1" and arguments.of_from()["GIVEN"] == "g"
    assert arguments.of_from()["TARGETPLATFORM"] == "linux/amd64"
    arguments.begin_stage()
    assert arguments.visible({}) == {}
    arguments.declare("V", None)
    arguments.declare("GIVEN", "other")
    arguments.declare("NONE", "n")
    arguments.declare("TARGETARCH", None)
    assert arguments.visible({}) == {"GIVEN": "g", "NONE": "n", "TARGETARCH": "amd64", "V": "1"}
    assert "V" not in arguments.visible({"V": "by ENV"})
    arguments.begin_stage()
    assert arguments.visible({}) == {} and arguments.unused() == ["UNUSED"]


def test_proxies_need_no_arg_and_are_no_part_of_the_key_unless_one_names_them() -> None:
    arguments = Arguments({"http_proxy": "p", "A": "1"}, {})
    arguments.begin_stage()
    assert arguments.visible({}) == {"http_proxy": "p"} and arguments.key({}) == [] and arguments.unused() == ["A"]
    arguments.declare("http_proxy", None)
    arguments.declare("A", None)
    assert arguments.key({}) == ["A=1", "http_proxy=p"]


# The cache's key


def test_the_key_changes_with_words_config_and_author_and_with_nothing_else() -> None:
    key = cache.key
    first = key(["/bin/sh", "-c", "a b"], {"Env": ["A=1"], "Cmd": ["x"]})
    assert first == key(["/bin/sh", "-c", "a b"], {"Cmd": ["x"], "Env": ["A=1"]})
    others = [
        key(["/bin/sh", "-c", "a", "b"], {"Env": ["A=1"], "Cmd": ["x"]}),
        key(["/bin/sh", "-c", "a b"], {"Env": ["A=2"], "Cmd": ["x"]}),
        key(["/bin/sh", "-c", "a b"], {"Env": ["A=1"]}),
        key(["/bin/sh", "-c", "a b"], {"Env": ["A=1"], "Cmd": ["x"]}, "me"),
    ]
    assert len({first, *others}) == 5


def test_onbuild_triggers_are_instructions() -> None:
    (one,) = stages.load(b"FROM a\nONBUILD COPY . /x").stages[0].steps
    assert parse_text(one.text).name == "COPY"
