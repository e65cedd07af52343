"""The recorded session with dockerd, command by command: what test_golden_replay.py types again.

For golden_distil.py too, which looks up the recording of each step by its name. The exit codes are those of the same
client with a dockerd. `{folder}` is a folder of the run's own, with a file `f` in it and a Dockerfile in `build`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command line after `docker`."""

    args: tuple[str, ...]
    code: int = 0
    stdin: str | None = None
    terminal: bool = False  # on a terminal without a size
    until: str = ""  # it has no end of its own: ended once a request with this in its target was answered
    signals: tuple[int, ...] = ()  # ...and once it has passed these on to the container
    # (not TERM, which it was sent, too: that ends it, and whether it finds the time to pass it on is chance)


@dataclass(frozen=True)
class Step:
    """What the recording has under one name; ``gone``: a container that must have ended before the next step."""

    name: str
    commands: tuple[Command, ...]
    gone: str = ""


# A line is a step of one command, which is its name; `=N` at the end is its exit code where that is not 0.
BEFORE = """
version
info
run --rm busybox echo hi
run -d --name w1 -p 18080:80 -e A=b -v vol1:/data busybox sh -c 'echo out; echo err >&2; exec sleep 1000'
run --name w2 busybox sh -c 'exit 3' =3
create --name w3 busybox top
start w3
start -a w2 =3
ps
ps -a --filter name=w --format json
ps -q --no-trunc -s
logs w1
logs --tail 1 -t w1
exec w1 sh -c 'echo e; exit 4' =4
exec -d w1 sleep 5
exec -u 1000 -w /tmp -e X=1 w1 id
inspect w1
inspect -s w1
inspect busybox
inspect nosuch =1
top w1
top w1 -o pid,cmd
stats --no-stream
stats --no-stream w1
port w1
pause w1
unpause w1
cp {folder}/f w1:/tmp/f
cp w1:/tmp/f {folder}/g
diff w1
commit -m msg w1 img1:v1
export -o {folder}/e.tar w1
import {folder}/e.tar imp:1
save -o {folder}/s.tar busybox
load -i {folder}/s.tar
images
images -a --filter reference=busy*
tag busybox bb:2
history busybox
rmi bb:2
rmi nosuch =1
pull busybox =1
push bb:3 =1
login -u a -p b 127.0.0.1:1 =1
search foo =1
rename w3 w4
update --memory 100m --memory-swap 200m w4
update --restart always w4
kill -s HUP w4
kill w4 =1
restart -t 1 w1
stop -t 1 w1
wait w1
network ls
network create n1
network connect n1 w1
network inspect n1
network disconnect n1 w1
network rm n1
volume ls
volume create v2
volume inspect v2
volume rm v2
system df
system df -v
events --since 1m --until 0s
container prune -f
network prune -f
volume prune -f
image prune -f
system prune -f
builder prune -f
"""


def steps(attach_signals: tuple[int, ...]) -> list[Step]:
    """The session; ``attach_signals``: what the recorded `attach` passed on."""
    return [
        *map(_line, BEFORE.strip().splitlines()),
        Step("DOCKER_BUILDKIT=0 build", (_command("build -t b1 {folder}/build"),)),
        Step(
            "exec -i piped", (_command("run -d --name w9 busybox sleep 100"), _command("exec -i w9 cat", stdin="abc\n"))
        ),
        Step("run -i piped", (_command("run -i --rm busybox cat", stdin="abc\n"),)),
        Step("run -it (pty)", (_command("run -it --rm busybox sh -c 'stty size; echo tty'", terminal=True),)),
        Step("exec -it (pty)", (_command("exec -it w9 sh -c 'stty size; tty'", terminal=True),)),
        Step("attach", (_command("attach w9", until="/attach", signals=attach_signals),)),
        Step("logs -f", (_command("logs -f w9", until="/logs"),)),
        Step("stats stream", (_command("stats w9", until="/stats"),)),
        Step("rm -f", (_command("rm -f -v w1 w2 w4 w9 nosuch"),)),
        Step("ps after", (_command("ps -a"),)),
    ]


def _command(line: str, code: int = 0, **how: object) -> Command:
    return Command(tuple(shlex.split(line)), code, **how)  # type: ignore[arg-type]


def _line(line: str) -> Step:
    text, _, code = line.partition(" =")
    command = _command(text, int(code or 0))
    gone = "w4" if text == "kill -s HUP w4" else ""
    return Step(" ".join(command.args), (command,), gone)
