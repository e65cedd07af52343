# shellcheck shell=bash
# The short tour: what a container is, seen from inside and from outside, in six commands.
#
# Serves: run.sh, where there is no terminal; sourced after it has defined `minidock`. Each command is printed before
# it runs, so that it can be typed again by hand. Read next: ../README.md, the first tour.

show() {
    printf '\n# %s\n$ minidock %s\n' "$1" "$2"
    shift 2
    minidock "$@"
}

tour() {
    show 'a real Alpine, with a host name of its own: its id' \
        "run --rm alpine sh -c 'cat /etc/alpine-release; hostname'" \
        run --rm alpine sh -c 'cat /etc/alpine-release; hostname'
    show 'a process tree of its own, from pid 1 on' 'run --rm alpine ps' run --rm alpine ps
    show 'a network of its own, on the bridge' 'run --rm alpine ip addr show eth0' \
        run --rm alpine ip addr show eth0 || show 'no bridge on this machine; without a network' \
        'run --rm --network none alpine ip addr' run --rm --network none alpine ip addr
    show 'a root of its own: an overlay over the image' "run --rm alpine sh -c 'mount | head -1'" \
        run --rm alpine sh -c 'mount | head -1'
    show 'all of that is one list of kernel steps, carried out in C' 'plan alpine sh' plan alpine sh
    show 'and nothing stays' 'ps -a' ps -a
    printf '\n'
    say "the tour is over; the daemon goes on (make stop ends it)"
    say "next, on a terminal: make run"
}
