"""A file system whose server answers until it is told not to: what a network file system is whose server went away.

    unshare -m -- python hung.py TARGET FLAG COMMAND…

runs COMMAND with a FUSE file system on TARGET, in which every name is a directory. While the file FLAG exists, no
request is answered: whoever asks waits, and not even SIGKILL ends that, as with a hard NFS mount. The first one that
waits makes FLAG.asked; what was asked meanwhile is answered when FLAG is gone. The server, whose pid is in FLAG.server,
ends with FLAG's folder.

For tests/root/test_faults_hanging.py, as the prefix of a daemon's command line. Imports nothing of ours, so that it is
quick to start.
See: /dev/fuse, fuse(4), include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import errno
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

IN_HEADER = struct.Struct("<IIQQIIIHH")  # length, opcode, unique, node, uid, gid, pid, …
OUT_HEADER = struct.Struct("<IiQ")  # length, -errno, unique
LOOKUP, GETATTR, INIT = 1, 3, 26
SILENT = (2, 36, 42)  # FORGET, INTERRUPT, BATCH_FORGET: nobody waits for an answer
ROOT = 1
PAUSE = 0.05


def _attributes(node: int) -> bytes:
    """struct fuse_attr of a directory."""
    return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)


def _init(node: int, body: bytes) -> bytes:
    return struct.pack("<4IHH2IHHI7I", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0, 0, *[0] * 7)


def _lookup(node: int, body: bytes) -> bytes:
    """Any name is there, and is asked for again each time."""
    child = ROOT + 1 + hash((node, body)) % (1 << 40)
    return struct.pack("<4Q2I", child, 0, 0, 0, 0, 0) + _attributes(child)


def _getattr(node: int, body: bytes) -> bytes:
    return struct.pack("<Q2I", 0, 0, 0) + _attributes(node)


ANSWERS: dict[int, Callable[[int, bytes], bytes]] = {LOOKUP: _lookup, GETATTR: _getattr, INIT: _init}


def serve(device: int, flag: Path) -> None:
    while flag.parent.exists():
        if not select.select([device], [], [], PAUSE)[0]:
            continue
        try:
            request = os.read(device, 1 << 20)
        except OSError as error:
            if error.errno in (errno.EINTR, errno.ENOENT):  # called off before it was read
                continue
            return  # unmounted
        _, opcode, unique, node, *_ = IN_HEADER.unpack_from(request)
        while flag.exists():
            flag.with_suffix(".asked").touch()
            time.sleep(PAUSE)
        if opcode in SILENT:
            continue
        answer = ANSWERS.get(opcode)
        body = answer(node, request[IN_HEADER.size :]) if answer else b""
        header = OUT_HEADER.pack(OUT_HEADER.size + len(body), 0 if answer else -errno.ENOSYS, unique)
        try:
            os.write(device, header + body)
        except OSError:
            continue  # who asked is not there any more


def main(target: str, flag: str, *command: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    subprocess.run(["mount", "-i", "-t", "fuse", "-o", options, "hung", target], check=True, pass_fds=[device])
    if os.fork() == 0:
        Path(flag).with_suffix(".server").write_text(str(os.getpid()))
        serve(device, Path(flag))
        os._exit(0)
    os.close(device)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
