"""The recorded sessions of docker-compose with dockerd: the file and the commands that test_compose_replay.py repeats.

Compose asks in parallel and looks again until something has happened, with the hash of its file, its version and its
folder in the queries: so a fact is about a path without its query, and which of its GETs come is left to it.

    python -m tests.support.golden_compose RECORDING.jsonl.gz > tests/root/golden/compose2.json
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.support import golden
from tests.support.golden import Fact, Facts
from tests.support.golden_distil import exchanges_by_command

PROJECT = "dcw"
FILES = {
    "docker-compose.yml": """
services:
  web:
    image: busybox
    command: sh -c "mkdir -p /www && echo hello > /www/index.html && exec httpd -f -p 80 -h /www"
    environment: {A: b}
    ports: ["18090:80"]
    volumes: ["data:/data"]
    healthcheck: {test: [CMD, wget, -q, -O-, "http://127.0.0.1/"], interval: 1s, timeout: 2s, retries: 5}
  client:
    image: busybox
    command: sh -c "wget -q -O- http://web/ && sleep 1"
    depends_on: [web]
  built:
    build: .
    command: echo built-ok
volumes:
  data:
""",
    "Dockerfile": "FROM busybox\nRUN echo x > /x\n",
}
SESSION = """
up -d
ps
logs --no-color
exec -T web cat /www/index.html
top
port web 80
pause web
unpause web
images
restart -t 1 web
stop -t 1
start
run --rm -T client echo one-off
up --abort-on-container-exit -t 1 client
up -d --scale client=2
kill
rm -f
down -v -t 1
"""


def commands() -> list[tuple[str, ...]]:
    return [tuple(shlex.split(line)) for line in SESSION.strip().splitlines()]


def without_query(target: str) -> str:
    return target.partition("?")[0]


def differences(docker: Mapping[str, Facts], ours: Mapping[str, Facts]) -> Iterator[tuple[str, str, str]]:
    """(command, request, what is not as with docker): what each command does, what the session as a whole sees."""
    for command, said in ours.items():
        for request, text in golden.differences(*(_only(side, False) for side in (docker[command], said))):
            yield command, request, text
    seen, mine = (_union(_only(found, True) for found in side.values()) for side in (docker, ours))
    for request in seen.keys() & mine.keys():
        if mine[request].statuses < seen[request].statuses:  # a look may come too late, or in time, for what is removed
            mine[request].statuses = seen[request].statuses
            seen[request].shape.pop("message", None)
        for _, text in golden.differences({request: seen[request]}, {request: mine[request]}):
            yield "", request, text


def _only(found: Facts, looks: bool) -> Facts:
    return {request: fact for request, fact in found.items() if request.startswith(("GET", "HEAD")) is looks}


def _union(all_of_them: Iterable[Facts]) -> Facts:
    union: Facts = {}
    for found in all_of_them:
        for request, fact in found.items():
            whole = union.setdefault(request, Fact())
            whole.statuses |= fact.statuses
            whole.types |= fact.types
            whole.partial |= fact.partial
            whole.cut |= fact.cut
            for path, kinds in fact.shape.items():
                whole.shape.setdefault(path, set()).update(kinds)
    return union


def distil(path: Path) -> dict[str, Facts]:
    heard = exchanges_by_command(path)
    return {name: golden.facts(heard[name], without_query) for name in map(shlex.join, commands())}


if __name__ == "__main__":
    sys.stdout.write(golden.dump(distil(Path(sys.argv[1]))))
